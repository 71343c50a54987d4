package watch

import (
	"context"
	"log/slog"
	"time"
)

const (
	// relayEvery is how often replicas tell each other.
	relayEvery = 500 * time.Millisecond
	// presenceEvery is how often a replica says that it has watchers, and asks whether others have; presenceTime is for how
	// long that holds.
	presenceEvery = 2 * time.Second
	presenceTime  = 10 * time.Second
	// maxOutbox is how many attempts are told at a time. The others are missed.
	maxOutbox = 1000
	// tellingTime is how long a telling can be read.
	tellingTime = time.Minute
)

// Board is where replicas tell each other of attempts.
type Board interface {
	// Present says whether this replica has watchers, and answers whether another has said so lately.
	Present(ctx context.Context, replica string, here bool, lately time.Duration) (elsewhere bool, err error)
	// Tell puts up what the others are to see, under a number that grows with each call, and takes down what is older than
	// keep.
	Tell(ctx context.Context, replica string, seq int64, list []Seen, keep time.Duration) error
	// Told is what the others put up after what was read of them: for each replica the last number. It notes what it reads.
	// When read is nil, it gives nothing and notes how far each is.
	Told(ctx context.Context, replica string, read map[string]int64) (list []Seen, now map[string]int64, err error)
}

// Relay lets watchers see what other replicas do. It costs a question now and then while nobody watches.
type Relay struct {
	hub     *Hub
	board   Board
	replica string
	log     *slog.Logger

	seq  int64
	read map[string]int64 // nil while nobody watches here
}

// NewRelay makes a Relay for the hub of a replica.
func NewRelay(hub *Hub, board Board, replica string, log *slog.Logger) *Relay {
	return &Relay{hub: hub, board: board, replica: replica, log: log}
}

// Run relays until ctx ends.
func (r *Relay) Run(ctx context.Context) error {
	ticker := time.NewTicker(relayEvery)
	defer ticker.Stop()
	var asked time.Time
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := r.round(ctx, &asked)
		if err != nil && !failing && ctx.Err() == nil {
			r.log.WarnContext(ctx, "replicas cannot tell each other of attempts; trying on", "error", err)
		}
		failing = err != nil
	}
}

func (r *Relay) round(ctx context.Context, asked *time.Time) error {
	here := r.hub.watched()
	if now := time.Now(); now.Sub(*asked) >= presenceEvery || here && r.read == nil {
		elsewhere, err := r.board.Present(ctx, r.replica, here, presenceTime)
		if err != nil {
			return err
		}
		r.hub.setOthers(elsewhere)
		*asked = now
	}
	if list := r.hub.takeOutbox(); len(list) > 0 {
		r.seq++
		if err := r.board.Tell(ctx, r.replica, r.seq, list, tellingTime); err != nil {
			return err
		}
	}
	if !here {
		r.read = nil
		return nil
	}
	list, read, err := r.board.Told(ctx, r.replica, r.read)
	if err != nil {
		return err
	}
	r.read = read
	r.hub.hear(list)
	return nil
}

// watched says whether anybody watches here.
func (h *Hub) watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.watchers) > 0
}

// setOthers says whether anybody watches elsewhere.
func (h *Hub) setOthers(others bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.others == others {
		return
	}
	if h.others = others; others {
		h.active.Add(1)
	} else {
		h.active.Add(-1)
		h.outbox, h.lost = nil, 0
	}
}

// takeOutbox is what to tell, and how much of it was lost.
func (h *Hub) takeOutbox() []Seen {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.outbox
	if len(list) > 0 {
		list[len(list)-1].Missed += h.lost
		h.lost = 0
	}
	h.outbox = nil
	return list
}

// hear tells the watchers here what another replica said.
func (h *Hub) hear(list []Seen) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range list {
		h.tell(s)
	}
}
