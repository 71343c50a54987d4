package banksvc

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"hirewire.dev/bank-svc/internal/intake"
	"hirewire.dev/platform/sqldb"
	"hirewire.dev/webhook/inbox"
)

// newInbox makes the inbox over the bank's database, and its gauges.
func (s *Service) newInbox(db *sqldb.DB, in *intake.Intake, registry *prometheus.Registry) (*inbox.Inbox, error) {
	dialect := inbox.PostgreSQL
	if db.Engine == sqldb.SQLite {
		dialect = inbox.SQLite
	}
	box, err := inbox.New(inbox.Config{
		DB: db.DB.DB, Dialect: dialect, Reader: db.Reader().DB,
		Subject: intake.Subject, Prepare: in.Prepare, HandleBatch: in.Handle,
		// The group gives its workers 4 s to stop.
		DrainTimeout: 2 * time.Second, CommitTimeout: 4 * time.Second,
		Observe: s.metrics.handled(s.log),
	})
	if err != nil {
		return nil, err
	}
	registry.MustRegister(backlog{box})
	return box, nil
}

// backlog shows what the inbox has not done yet, counted when it is asked for.
type backlog struct{ box *inbox.Inbox }

var (
	backlogEvents = prometheus.NewDesc("bank_inbox_backlog", "Events in the inbox that are not done, by status.", []string{"status"}, nil)
	backlogAge    = prometheus.NewDesc("bank_inbox_oldest_seconds", "Age of the oldest event that is neither done nor quarantined; 0 when there is none.", nil, nil)
)

const backlogTimeout = 2 * time.Second

// Describe implements prometheus.Collector.
func (b backlog) Describe(ch chan<- *prometheus.Desc) {
	ch <- backlogEvents
	ch <- backlogAge
}

// Collect implements prometheus.Collector. While the database is away there is nothing to show.
func (b backlog) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), backlogTimeout) // a collector is given none
	defer cancel()
	n, err := b.box.Backlog(ctx)
	if err != nil {
		return
	}
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	gauge(backlogEvents, float64(n.Pending), "PENDING")
	gauge(backlogEvents, float64(n.Failed), "FAILED")
	gauge(backlogEvents, float64(n.Quarantined), "QUARANTINED")
	age := 0.0
	if !n.Oldest.IsZero() {
		age = time.Since(n.Oldest).Seconds()
	}
	gauge(backlogAge, age)
}
