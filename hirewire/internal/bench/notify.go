package bench

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hirewire.dev/hirewire/internal/pki"
	"hirewire.dev/hirewire/latency"
	"hirewire.dev/platform/id"
	"hirewire.dev/webhook"
)

// grace is how long arrivals are waited for after the last publish.
const grace = 60 * time.Second

// notifyParts take raw and notify in turn, so that their ratio is of the same minute, and the runs at a set pace.
func (b *bench) notifyParts(ctx context.Context) error {
	rigs := map[int]*rig{}
	for _, n := range []int{1, 3} {
		b.progress("warming up with %s", count(strconv.Itoa(n), "subscription"))
		r, stop, err := b.newRig(ctx)
		if err != nil {
			return err
		}
		defer stop()
		if err := r.subscribe(ctx, n); err != nil {
			return err
		}
		if _, err := r.saturate(ctx, n, b.Events/10); err != nil { // warm connections, caches and statements
			return err
		}
		rigs[n] = r
	}
	if b.wants("paced") { // first, or what the database has to clean up after the other runs would be counted here
		if err := b.pacedRuns(ctx, rigs[1]); err != nil {
			return err
		}
	}
	var raw []float64
	runs := map[int][]*Notify{}
	for i := range b.Runs {
		if b.wants("raw") || b.wants("notify") {
			b.progress("raw, run %d of %d", i+1, b.Runs)
			rate, err := rigs[1].measureRaw(ctx, b.Events)
			if err != nil {
				return err
			}
			raw = append(raw, rate)
		}
		for _, n := range []int{1, 3} {
			if !b.wants("notify") {
				continue
			}
			b.progress("notify, %s, run %d of %d", count(strconv.Itoa(n), "subscription"), i+1, b.Runs)
			run, err := rigs[n].saturate(ctx, n, b.Events)
			if err != nil {
				return err
			}
			run.Ratio = run.PerSecond / raw[i]
			runs[n] = append(runs[n], run)
		}
	}
	if len(raw) > 0 {
		b.report.Raw = medianRate(raw)
	}
	if b.wants("notify") {
		b.report.Notify = map[string]*Notify{"1": median(runs[1], byRate), "3": median(runs[3], byRate)}
	}
	if b.wants("held") {
		if err := b.held(ctx, rigs[1]); err != nil {
			return err
		}
	}
	return nil
}

// pacedRuns publish at set paces.
func (b *bench) pacedRuns(ctx context.Context, r *rig) error {
	b.report.Paced = map[string]*Notify{}
	for _, rate := range []int{100, 1000} {
		var runs []*Notify
		for i := range b.Runs {
			b.progress("paced at %d events a second, run %d of %d", rate, i+1, b.Runs)
			run, err := r.paced(ctx, 1, float64(rate), rate*b.PacedSeconds)
			if err != nil {
				return err
			}
			runs = append(runs, run)
		}
		b.report.Paced[strconv.Itoa(rate)] = median(runs, byLatency)
	}
	return nil
}

// held publishes at 80 % of the maximum.
func (b *bench) held(ctx context.Context, r *rig) error {
	var most float64
	if b.report.Notify != nil {
		most = b.report.Notify["1"].PerSecond
	} else {
		b.progress("publishers held to 80 %% of the maximum: finding the maximum")
		run, err := r.saturate(ctx, 1, b.Events)
		if err != nil {
			return err
		}
		most = run.PerSecond
	}
	var runs []*Notify
	for i := range b.Runs {
		b.progress("publishers held to 80 %% of the maximum, run %d of %d", i+1, b.Runs)
		run, err := r.paced(ctx, 1, .8*most, b.Events)
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	b.report.Held = median(runs, byLatency)
	return nil
}

// saturate has every client publish one event after the other.
func (r *rig) saturate(ctx context.Context, subscriptions, n int) (*Notify, error) {
	return r.measure(ctx, subscriptions, n, func(publish func(i int)) {
		var next atomic.Int64
		var wait sync.WaitGroup
		for range r.Clients {
			wait.Go(func() {
				for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
					publish(i)
				}
			})
		}
		wait.Wait()
	})
}

// paced publishes at a rate, as long as there are idle publishers; waiting for one counts.
func (r *rig) paced(ctx context.Context, subscriptions int, rate float64, n int) (*Notify, error) {
	return r.measure(ctx, subscriptions, n, func(publish func(i int)) {
		start := time.Now()
		var wait sync.WaitGroup
		for i := 0; i < n && ctx.Err() == nil; i++ {
			due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
			if wait := time.Until(due); wait > 0 {
				time.Sleep(wait) //nolint:forbidigo // a timer and a channel are less exact, and this ends by itself
			}
			wait.Go(func() { publish(i) })
		}
		wait.Wait()
	})
}

// measure publishes n events as run wants it and waits until all have arrived.
func (r *rig) measure(ctx context.Context, subscriptions, n int, run func(publish func(i int))) (*Notify, error) {
	events, err := newEvents(n)
	if err != nil {
		return nil, err
	}
	l := newLedger(events.ids, subscriptions)
	r.receiver.ledger.Store(l)
	published := make([]time.Time, n)
	hangUp, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer hangUp()
	var failed atomic.Pointer[error]
	notifier, database := r.cpu()
	start := time.Now()
	run(func(i int) {
		published[i] = time.Now()
		if err := r.publish(events.requests[i]); err != nil {
			failed.CompareAndSwap(nil, &err)
		}
	})
	if err := failed.Load(); err != nil {
		return nil, fmt.Errorf("publish: %w", *err)
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(grace):
	}
	notifierAfter, databaseAfter := r.cpu()
	result := l.result(published, start)
	deliveries := float64(n * subscriptions)
	result.CPUNotifier = latency.Milliseconds(notifierAfter-notifier) / deliveries
	result.CPUPostgres = latency.Milliseconds(databaseAfter-database) / deliveries
	result.CPU = result.CPUNotifier + result.CPUPostgres
	result.CPUPerEvent = result.CPU * float64(subscriptions)
	for _, pid := range r.running.PIDs {
		result.MemoryMiB = max(result.MemoryMiB, peakMemory(pid))
	}
	return result, nil
}

// dial connects the publishers, which are not read from while they are idle, and so not kept for long.
func (r *rig) dial(ctx context.Context) (hangUp func(), err error) {
	access := r.running.Plan.Description.Notifier
	r.publishers = make(chan *publisher, r.Clients)
	hangUp = func() {
		close(r.publishers)
		for p := range r.publishers {
			_ = p.close()
		}
	}
	for range r.Clients {
		p, err := dialPublisher(ctx, access.GRPC, access.PublisherKey)
		if err != nil {
			hangUp()
			return nil, err
		}
		r.publishers <- p
	}
	return hangUp, nil
}

// publish makes one call, by a publisher that is idle.
func (r *rig) publish(request []byte) error {
	p := <-r.publishers
	defer func() { r.publishers <- p }()
	return p.publish(request)
}

func (r *rig) cpu() (notifier, database time.Duration) {
	for _, pid := range r.running.PIDs {
		notifier += cpuTime(pid)
	}
	return notifier, postgresCPU(r.postmaster)
}

func (l *ledger) result(published []time.Time, start time.Time) *Notify {
	var latencies []time.Duration
	last := start
	lost := 0
	for s := range l.arrivals {
		for i, at := range published {
			nanos := l.arrivals[s][i].Load()
			if nanos == 0 {
				lost++
				continue
			}
			arrived := time.Unix(0, nanos)
			latencies = append(latencies, arrived.Sub(at))
			if arrived.After(last) {
				last = arrived
			}
		}
	}
	slices.Sort(latencies)
	n := &Notify{
		PerSecond: float64(len(latencies)) / max(last.Sub(start).Seconds(), 1e-9), Lost: lost, Duplicates: int(l.duplicates.Load()),
		P50: quantile(latencies, .50), P95: quantile(latencies, .95), P99: quantile(latencies, .99), MaxLatency: quantile(latencies, 1),
	}
	n.Min, n.Max = n.PerSecond, n.PerSecond
	return n
}

// measureRaw POSTs signed bodies to the receiver with nothing behind them: the ceiling.
func (r *rig) measureRaw(ctx context.Context, n int) (float64, error) {
	events, err := newEvents(1)
	if err != nil {
		return 0, err
	}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = id.New("evt")
	}
	l := newLedger(ids, 1)
	r.receiver.ledger.Store(l)
	signer, err := webhook.NewSigner(r.secret)
	if err != nil {
		return 0, err
	}
	trust, err := pki.Trust(r.running.Plan.Description.CAFile)
	if err != nil {
		return 0, err
	}
	client := &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: r.Clients, DisableCompression: true, TLSClientConfig: trust,
	}}
	defer client.CloseIdleConnections()
	body := bytes.Repeat([]byte("x"), len(events.requests[0]))
	var next atomic.Int64
	var failed atomic.Pointer[error]
	start := time.Now()
	var wait sync.WaitGroup
	for range r.Clients {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				if err := post(ctx, client, r.receiver.url(0), ids[i], signer, body); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		return 0, fmt.Errorf("post: %w", *err)
	}
	return float64(n) / time.Since(start).Seconds(), ctx.Err()
}

func post(ctx context.Context, client *http.Client, url, eventID string, signer *webhook.Signer, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	now := time.Now()
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("webhook-id", eventID)
	request.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	request.Header.Set("webhook-signature", signer.Sign(eventID, now, body))
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

func decodeSecret(secret webhook.Secret) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.TrimPrefix(secret.Reveal(), "whsec_"))
}
