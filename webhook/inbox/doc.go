// Package inbox is the durable half of a webhook receiver, over database/sql on
// PostgreSQL and SQLite. It remembers each message by its id before the sender
// gets its 2xx, so that whatever the sender repeats is taken in once; and it
// calls the application's handler inside the very transaction that marks the
// message as processed, so that its effect happens once, whatever crashes in
// between.
//
// An [Inbox] is a webhook.Store: give it to a webhook.Receiver and call
// [Inbox.Run]. Arrivals that come together are committed together. What has
// been committed is handed to a worker from memory; what no worker holds, after
// a crash or a failure, is claimed from the table under a lease. Messages of
// one key (see [Subject]) are processed in the order of arrival; a failing one
// holds back only its own key. Any number of processes may share a database.
//
// A message is PENDING until it is PROCESSED, IGNORED (nothing to do) or
// QUARANTINED (only a person can help); between tries it is FAILED.
package inbox
