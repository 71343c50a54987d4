// Verifies messages with the public library: a JSON object {id, timestamp, signature, secret, body} a line on stdin, and for
// each of them "ok" or the error on stdout. The body is base64.
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

for await (const line of createInterface({ input: process.stdin })) {
  const m = JSON.parse(line);
  try {
    new Webhook(m.secret).verify(Buffer.from(m.body, "base64").toString(), {
      "webhook-id": m.id, "webhook-timestamp": m.timestamp, "webhook-signature": m.signature,
    });
    console.log("ok");
  } catch (error) {
    console.log(String(error));
  }
}
