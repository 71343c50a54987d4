// Package webhook is both ends of a webhook, as Standard Webhooks describes it
// (https://www.standardwebhooks.com): a sender signs with a [Signer], a
// receiver mounts a [Receiver], which verifies, bounds and hands over what
// arrived. Package inbox adds the durable, deduplicating store behind a
// receiver.
//
// What is signed is "{webhook-id}.{webhook-timestamp}.{body}", with HMAC-SHA256
// ("v1", a [Secret]) or Ed25519 ("v1a", a [PrivateKey] and its [PublicKey]).
// The package is stricter than the public libraries where they leave room:
// short secrets, repeated headers, ids with dots, loose timestamps, unbounded
// lists of signatures and non-canonical base64 are refused.
package webhook
