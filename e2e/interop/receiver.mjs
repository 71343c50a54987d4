// A receiver as docs/receivers.md builds it, with the public library. Arguments: certificate, key, secret.
// Prints its port, then for each webhook "verified ID" or "refused REASON".
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { Webhook } from "standardwebhooks";

const [cert, key, secret] = process.argv.slice(2);
const webhook = new Webhook(secret);

const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString();
  let event;
  try {
    event = webhook.verify(body, request.headers);
  } catch (error) {
    console.log(`refused ${error}`);
    response.writeHead(401).end();
    return;
  }
  if (event.type === "webhook.verification") {
    const mac = createHmac("sha256", Buffer.from(secret.replace("whsec_", ""), "base64")).update(event.data.challenge).digest("base64");
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ challenge: event.data.challenge, response: `v1,${mac}` }));
    return;
  }
  console.log(`verified ${event.id}`);
  response.writeHead(204).end();
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
