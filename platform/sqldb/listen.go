package sqldb

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lib/pq"
)

const (
	listenPing      = 15 * time.Second
	listenPingLimit = 5 * time.Second
	listenFirstWait = 50 * time.Millisecond
	listenMaxWait   = 5 * time.Second
)

// Listen calls wake with the payload of each NOTIFY on channel, and with ""
// each time it has connected, since notifications may have been missed before.
// It connects again for as long as ctx lives and then returns nil. It calls
// wake from one goroutine; wake must not block. On SQLite, where no other
// process is woken, it only waits for ctx.
//
// A notification is a hint that saves waiting: keep a slow poll as the safety
// net. Send with `SELECT pg_notify($1, $2)`; inside a transaction that makes
// commits wait for each other, so on a hot path send after the commit.
func (db *DB) Listen(ctx context.Context, channel string, wake func(payload string)) error {
	if db.source == nil {
		<-ctx.Done()
		return nil
	}
	wait := listenFirstWait
	for ctx.Err() == nil {
		connected := time.Now()
		_ = db.listenOnce(ctx, channel, wake) // whatever it was, connecting anew is the answer
		if time.Since(connected) > listenMaxWait {
			wait = listenFirstWait
		}
		timer := time.NewTimer(wait/2 + rand.N(wait)) //nolint:gosec // jitter
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		wait = min(2*wait, listenMaxWait)
	}
	return nil
}

// listenOnce listens until the connection fails or ctx ends.
func (db *DB) listenOnce(ctx context.Context, channel string, wake func(string)) error {
	notes := make(chan *pq.Notification, 64)
	conn, err := pq.NewListenerConn(db.source.dsn, notes) // bounded by connect_timeout
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	ended := make(chan struct{})
	defer func() {
		stop()
		cancel()
		_ = conn.Close()
		for range notes { // until the connection's goroutine has ended
		}
		<-ended
	}()
	listening := make(chan struct{})
	go func() { // replies are waited for here, so that notes flow meanwhile
		defer close(ended)
		if !ask(conn, "LISTEN "+pq.QuoteIdentifier(channel)) {
			return
		}
		close(listening)
		ticker := time.NewTicker(listenPing)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if !ask(conn, "") {
				return
			}
		}
	}()
	for {
		select {
		case <-listening:
			listening = nil
			wake("")
		case n, ok := <-notes:
			if !ok {
				return fmt.Errorf("listen: %w", conn.Err())
			}
			wake(n.Extra)
		case <-ended:
			return fmt.Errorf("listen: %w", errConnLost)
		}
	}
}

// ask runs a query and closes the connection when that fails or hangs.
func ask(conn *pq.ListenerConn, query string) bool {
	timer := time.AfterFunc(listenPingLimit, func() { _ = conn.Close() })
	defer timer.Stop()
	_, err := conn.ExecSimpleQuery(query)
	if err != nil {
		_ = conn.Close()
	}
	return err == nil
}
