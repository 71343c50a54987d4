// Package ingest takes events in: it stores each with one delivery for every subscription that wants it, before it answers.
package ingest
