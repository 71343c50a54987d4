package bench

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"hirewire.dev/hirewire/latency"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// fanout publishes one event to many subscriptions.
func (b *bench) fanout(ctx context.Context) error {
	b.progress("fan-out to %d subscriptions", b.Subscriptions)
	r, stop, err := b.newRig(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := r.subscribe(ctx, b.Subscriptions); err != nil {
		return err
	}
	events, err := newEvents(1)
	if err != nil {
		return err
	}
	l := newLedger(events.ids, b.Subscriptions)
	r.receiver.ledger.Store(l)
	hangUp, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer hangUp()
	start := time.Now()
	if err := r.publish(events.requests[0]); err != nil {
		return err
	}
	ack := time.Since(start)
	if err := l.await(ctx); err != nil {
		return err
	}
	result := l.result([]time.Time{start}, start)
	b.report.Fanout = &Fanout{Subscriptions: b.Subscriptions, AckMS: latency.Milliseconds(ack), LastMS: result.MaxLatency, Lost: result.Lost, Duplicates: result.Duplicates}
	return nil
}

// historySubscriptions multiply the events of the history part, so that it fills faster.
const historySubscriptions = 10

// history fills the tables through the public API, and compares the rate before and after.
func (b *bench) history(ctx context.Context) error {
	b.progress("history: warming up")
	r, stop, err := b.newRig(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := r.subscribe(ctx, 1); err != nil {
		return err
	}
	measure := func() (*Notify, error) {
		var runs []*Notify
		for range b.Runs {
			run, err := r.saturate(ctx, 1, b.Events)
			if err != nil {
				return nil, err
			}
			runs = append(runs, run)
		}
		return median(runs, byRate), nil
	}
	if _, err := r.saturate(ctx, 1, b.Events/10); err != nil {
		return err
	}
	b.progress("history: the empty run")
	empty, err := measure()
	if err != nil {
		return err
	}
	if err := r.subscribe(ctx, historySubscriptions); err != nil {
		return err
	}
	for done := 0; done < b.HistoryDeliveries; {
		b.progress("history: %d of %d deliveries", done, b.HistoryDeliveries)
		n := min(20_000, (b.HistoryDeliveries-done+historySubscriptions-1)/historySubscriptions)
		if err := r.publishAndAwait(ctx, n, historySubscriptions); err != nil {
			return err
		}
		done += n * historySubscriptions
	}
	for _, s := range r.subscriptions[1:] {
		if _, err := r.clients.Subscriptions.DeleteSubscription(ctx, &notifierv1.DeleteSubscriptionRequest{Id: s.GetId()}); err != nil {
			return err
		}
	}
	b.progress("history: PostgreSQL cleans up after the filling")
	if err := settled(ctx, b.DatabaseURL); err != nil {
		return err
	}
	b.progress("history: the full run")
	full, err := measure()
	if err != nil {
		return err
	}
	b.report.History = &History{
		Deliveries: b.HistoryDeliveries,
		Empty:      Rate{empty.PerSecond, empty.Min, empty.Max}, Full: Rate{full.PerSecond, full.Min, full.Max},
		Ratio: full.PerSecond / empty.PerSecond, RatioMin: full.Min / empty.PerSecond, RatioMax: full.Max / empty.PerSecond,
		Lost: empty.Lost + full.Lost, Duplicates: empty.Duplicates + full.Duplicates,
	}
	return nil
}

// publishBatch is how many events a call of publishAll brings.
const publishBatch = 500

// publishAll publishes events in batches.
func (r *rig) publishAll(ctx context.Context, events *events) error {
	var batches [][]byte
	for at := 0; at < len(events.requests); at += publishBatch {
		var all notifierv1.PublishEventsRequest
		for _, encoded := range events.requests[at:min(at+publishBatch, len(events.requests))] {
			if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(encoded, &all); err != nil {
				return err
			}
		}
		encoded, err := proto.Marshal(&all)
		if err != nil {
			return err
		}
		batches = append(batches, encoded)
	}
	for i := range batches {
		var answer []byte
		if err := r.batches.Invoke(ctx, notifierv1.EventService_PublishEvents_FullMethodName, &batches[i], &answer); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	return nil
}

func (r *rig) publishAndAwait(ctx context.Context, n, subscriptions int) error {
	events, err := newEvents(n)
	if err != nil {
		return err
	}
	l := newLedger(events.ids, subscriptions)
	r.receiver.ledger.Store(l)
	if err := r.publishAll(ctx, events); err != nil {
		return err
	}
	return l.await(ctx)
}

// await waits until everything has arrived, as long as something does.
func (l *ledger) await(ctx context.Context) error {
	left, moved := l.left.Load(), time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if now := l.left.Load(); now != left {
			left, moved = now, time.Now()
		}
		if time.Since(moved) > grace {
			return fmt.Errorf("%d deliveries do not arrive", left)
		}
	}
}

// outage holds events of a paused subscription and measures how fast they drain.
func (b *bench) outage(ctx context.Context) error {
	b.progress("outage: starting")
	r, stop, err := b.newRig(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if err := r.subscribe(ctx, 1); err != nil {
		return err
	}
	id := r.subscriptions[0].GetId()
	if _, err := r.clients.Subscriptions.PauseSubscription(ctx, &notifierv1.PauseSubscriptionRequest{Id: id}); err != nil {
		return err
	}
	b.progress("outage: publishing %d events", b.OutageEvents)
	events, err := newEvents(b.OutageEvents)
	if err != nil {
		return err
	}
	l := newLedger(events.ids, 1)
	r.receiver.ledger.Store(l)
	if err := r.publishAll(ctx, events); err != nil {
		return err
	}
	b.progress("outage: draining")
	start := time.Now()
	if _, err := r.clients.Subscriptions.ResumeSubscription(ctx, &notifierv1.ResumeSubscriptionRequest{Id: id}); err != nil {
		return err
	}
	if err := l.await(ctx); err != nil {
		return err
	}
	published := make([]time.Time, b.OutageEvents)
	for i := range published {
		published[i] = start
	}
	result := l.result(published, start)
	b.report.Outage = &Outage{
		Events: b.OutageEvents, PerSecond: result.PerSecond, Seconds: result.MaxLatency / 1000, Lost: result.Lost, Duplicates: result.Duplicates,
	}
	return nil
}
