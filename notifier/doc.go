// Package notifier takes events in and delivers them as signed webhooks: one service, ready to run in any process.
package notifier
