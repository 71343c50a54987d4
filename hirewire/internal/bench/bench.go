package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"

	"hirewire.dev/hirewire/stack"
	"hirewire.dev/platform/serve"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

// Options say what to measure and how much of it.
type Options struct {
	// Only names the parts to run; empty: all but history and outage.
	Only []string
	// DatabaseURL is a PostgreSQL server's; empty: SQLite.
	DatabaseURL string
	// Command, when set, runs each service in a process of its own.
	Command func(kind string) *exec.Cmd
	// HTTP delivers over plain HTTP instead of HTTPS.
	HTTP bool
	// Clients publish at the same time, each over a connection of its own.
	Clients int
	// Events are published in each run.
	Events int
	// Employees are created in each run of the chain.
	Employees int
	// Runs is how often each figure is taken.
	Runs int
	// PacedSeconds is how long each paced run lasts.
	PacedSeconds int
	// Subscriptions of the fan-out.
	Subscriptions int
	// HistoryDeliveries are in the tables for the history part.
	HistoryDeliveries int
	// OutageEvents are held and then drained.
	OutageEvents int
	// Progress is told what is being done.
	Progress func(format string, args ...any)
	Log      *slog.Logger
}

// Parts in the order in which they run.
var Parts = []string{"raw", "notify", "held", "paced", "chain", "fanout", "history", "outage"}

func (o Options) wants(part string) bool {
	if len(o.Only) == 0 {
		return part != "history" && part != "outage"
	}
	return slices.Contains(o.Only, part)
}

// CheckParts refuses a part that there is not.
func CheckParts(parts []string) error {
	for _, part := range parts {
		if !slices.Contains(Parts, part) {
			return fmt.Errorf("part %q is not known; there are %s", part, strings.Join(Parts, ", "))
		}
	}
	return nil
}

// Run measures what opts ask for. Its sizes are 1 or more.
func Run(ctx context.Context, opts Options) (*Report, error) {
	report := &Report{Setup: Setup{
		Engine: "sqlite", Scheme: "https", Processes: opts.Command != nil, Cores: runtime.NumCPU(), Clients: opts.Clients,
		CPUOf: "the whole process, publishers and receiver included",
	}}
	if opts.DatabaseURL != "" {
		report.Setup.Engine = "postgres"
	}
	if opts.HTTP {
		report.Setup.Scheme = "http"
	}
	if opts.Command != nil {
		report.Setup.CPUOf = "the notifier and PostgreSQL"
	}
	b := &bench{Options: opts, report: report}
	for _, part := range []struct {
		names []string
		run   func(context.Context) error
	}{
		{[]string{"raw", "notify", "held", "paced"}, b.notifyParts},
		{[]string{"chain"}, b.chain},
		{[]string{"fanout"}, b.fanout},
		{[]string{"history"}, b.history},
		{[]string{"outage"}, b.outage},
	} {
		if !slices.ContainsFunc(part.names, opts.wants) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", b.doing, err)
		}
	}
	return report, nil
}

type bench struct {
	Options
	report *Report
	doing  string
}

// progress tells what is being done, for people to see now and in an error.
func (b *bench) progress(format string, args ...any) {
	b.doing = fmt.Sprintf(format, args...)
	b.Progress("%s", b.doing)
}

// rig is a notifier with a receiver and publishers around it.
type rig struct {
	*bench
	running       *stack.Running
	clients       *stack.Clients
	receiver      *receiver
	secret        webhook.Secret
	postmaster    int
	batches       *grpc.ClientConn
	publishers    chan *publisher // those that are idle, while something is measured
	subscriptions []*notifierv1.Subscription
}

// newRig starts a notifier and a receiver. stop ends them.
func (b *bench) newRig(ctx context.Context) (_ *rig, _ func(), err error) {
	dir, err := os.MkdirTemp("", "hirewire-bench-")
	if err != nil {
		return nil, nil, err
	}
	var undo []func()
	stop := func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}
	undo = append(undo, func() { os.RemoveAll(dir) })
	defer func() {
		if err != nil {
			stop()
		}
	}()
	r := &rig{bench: b, secret: webhook.NewSecret()}
	r.running, err = stack.Start(ctx, stack.Config{Dir: dir, DatabaseURL: b.DatabaseURL, Env: b.env()}, stack.Options{Kinds: []string{"notifier"}, Command: b.Command, Log: b.Log})
	if err != nil {
		return nil, nil, err
	}
	undo = append(undo, func() { _ = r.running.Stop() })
	if b.DatabaseURL != "" {
		r.postmaster = postmaster(ctx, b.DatabaseURL)
	}
	if r.clients, err = r.running.Plan.Description.Dial(); err != nil {
		return nil, nil, err
	}
	undo = append(undo, func() { _ = r.clients.Close() })
	if r.receiver, err = b.newReceiver(ctx, dir, r.secret); err != nil {
		return nil, nil, err
	}
	undo = append(undo, r.receiver.stop)
	access := r.running.Plan.Description.Notifier
	if r.batches, err = serve.DialGRPC(serve.ClientConfig{Addr: access.GRPC, Key: access.PublisherKey, Options: []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.ForceCodecV2(encoded{}))}}); err != nil {
		return nil, nil, err
	}
	undo = append(undo, func() { _ = r.batches.Close() })
	return r, stop, nil
}

// env of the services: plain HTTP has to be allowed.
func (b *bench) env() map[string]map[string]string {
	if !b.HTTP {
		return nil
	}
	return map[string]map[string]string{"notifier": {"NOTIFIER_ALLOW_HTTP": "true"}}
}

func (b *bench) newReceiver(ctx context.Context, dir string, secret webhook.Secret) (*receiver, error) {
	key, err := decodeSecret(secret)
	if err != nil {
		return nil, err
	}
	if b.HTTP {
		return startReceiver(ctx, nil, key)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return nil, err
	}
	return startReceiver(ctx, &pair, key)
}

// subscribe makes n subscriptions and waits until they are active.
func (r *rig) subscribe(ctx context.Context, n int) error {
	for i := len(r.subscriptions); i < n; i++ {
		s, err := r.clients.Subscriptions.CreateSubscription(ctx, &notifierv1.CreateSubscriptionRequest{Subscription: &notifierv1.Subscription{
			Name: "bench-" + strconv.Itoa(i), Url: r.receiver.url(i), Secret: r.secret.Reveal(), EventTypes: []string{"employee.*"},
		}})
		if err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
		r.subscriptions = append(r.subscriptions, s)
	}
	for _, s := range r.subscriptions {
		if err := r.awaitActive(ctx, s.GetId()); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) awaitActive(ctx context.Context, id string) error {
	for end := time.Now().Add(time.Minute); ; {
		s, err := r.clients.Subscriptions.GetSubscription(ctx, &notifierv1.GetSubscriptionRequest{Id: id})
		if err != nil {
			return err
		}
		if s.GetStatus() == notifierv1.Subscription_ACTIVE {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("subscription %s is %s: %s", id, s.GetStatus(), s.GetStatusReason())
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
