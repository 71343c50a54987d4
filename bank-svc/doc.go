// Package banksvc is one bank: it is told of employees by webhooks, keeps an account for each of them, and reconciles its
// accounts with the source of truth. Several banks run from one program, or in one process, each with its own Config.
package banksvc
