// Signs messages with the public library: {id, timestamp, secret, body} a line on stdin, the signature a line on stdout.
import { createInterface } from "node:readline";
import { Webhook } from "standardwebhooks";

for await (const line of createInterface({ input: process.stdin })) {
  const m = JSON.parse(line);
  console.log(new Webhook(m.secret).sign(m.id, new Date(Number(m.timestamp) * 1000), Buffer.from(m.body, "base64").toString()));
}
