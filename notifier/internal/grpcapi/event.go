package grpcapi

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/notifier/internal/audit"
	"hirewire.dev/notifier/internal/delivery"
	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/filter"
	"hirewire.dev/notifier/internal/history"
	"hirewire.dev/notifier/internal/schema"
	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// Publisher stores events.
type Publisher interface {
	// Publish stores the events with a delivery for each subscription that wants them, and returns after the commit: all of
	// them or none. Events that are known with the same content are no harm.
	//
	// Errors: event.ErrConflict.
	Publish(ctx context.Context, events []event.Event) error
}

// EventsConfig is what the EventService is made of. All fields are required.
type EventsConfig struct {
	Publisher Publisher
	History   history.Store
	Snapshots delivery.Snapshots
	// Now is the time by the database's clock.
	Now func() time.Time
	// Retention is how old an event may be when it is published.
	Retention time.Duration
	// Conflict is told of each call that came with a known id and other content.
	Conflict func()
}

// Events is the EventService.
type Events struct {
	notifierv1.UnimplementedEventServiceServer
	conf EventsConfig
}

// NewEvents makes the service.
func NewEvents(conf EventsConfig) *Events { return &Events{conf: conf} }

// GetEvent implements notifierv1.EventServiceServer.
func (s *Events) GetEvent(ctx context.Context, req *notifierv1.GetEventRequest) (*notifierv1.Event, error) {
	e, err := s.conf.History.Event(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	if !s.concerns(caller(ctx), &e) {
		return nil, event.ErrNotFound
	}
	return eventToProto(&e)
}

// concerns says whether an event is there for a caller: for a bank, if one of its subscriptions matches it.
func (s *Events) concerns(by access.Caller, e *event.Event) bool {
	if by.Owner == "" {
		return true
	}
	if _, err := schema.Lookup(e.Type); err != nil {
		return false // the notifier's own, for one subscription alone
	}
	c := filter.Candidate(e)
	for _, t := range s.conf.Snapshots.Current().Targets {
		if t.Owner == by.Owner && t.Match(c) {
			return true
		}
	}
	return false
}

// maxLooks is how many pieces of the feed one call looks through for what its caller wants.
const maxLooks = 20

// ListEvents implements notifierv1.EventServiceServer.
func (s *Events) ListEvents(ctx context.Context, req *notifierv1.ListEventsRequest) (*notifierv1.ListEventsResponse, error) {
	asked := newQuestion("events", req.GetType(), req.GetEmployeeId())
	at, err := asked.parse(req.GetPageToken(), isPosition)
	if err != nil {
		return nil, err
	}
	if !isTypePattern(req.GetType()) {
		return nil, invalidArgument("type", "must be one of the event types, or a first word with \".*\"")
	}
	q := history.EventQuery{Type: req.GetType(), EmployeeID: req.GetEmployeeId(), Limit: pageSize(req.GetPageSize())}
	if at != "" {
		q.After, _ = strconv.ParseInt(at, 10, 64)
	}
	out := &notifierv1.ListEventsResponse{}
	for looks, full := 0, false; looks < maxLooks && !full; looks++ {
		page, err := s.conf.History.Events(ctx, q)
		if err != nil {
			return nil, err
		}
		if q.After, full, err = s.list(ctx, out, page, q.Limit); err != nil {
			return nil, err
		}
	}
	out.NextPageToken = asked.token(strconv.FormatInt(q.After, 10))
	return out, nil
}

// list adds to an answer what concerns the caller of a piece of the feed, and says where to go on. It is full when it has as
// many as were asked for, or as fit, or there is no more.
func (s *Events) list(ctx context.Context, out *notifierv1.ListEventsResponse, page history.Page, size int) (after int64, full bool, err error) {
	bytes := proto.Size(out)
	for i := range page.Events {
		e := &page.Events[i]
		if err := ctx.Err(); err != nil {
			return 0, false, err // a bank's filters take their time
		}
		if !s.concerns(caller(ctx), e) {
			continue
		}
		listed, err := eventToProto(e)
		if err != nil {
			return 0, false, err
		}
		bytes += proto.Size(listed)
		if len(out.Events) == size || len(out.Events) > 0 && bytes > maxAnswer {
			out.HasMore = true
			return e.Position - 1, true, nil
		}
		out.Events = append(out.Events, listed)
	}
	out.HasMore = page.More
	return page.Next, len(out.Events) == size || !page.More, nil
}

// isPosition says whether text is a position of the feed, as a token has it.
func isPosition(text string) bool {
	n, err := strconv.ParseInt(text, 10, 64)
	return err == nil && n >= 0 && strconv.FormatInt(n, 10) == text
}

// isTypePattern says whether there can be events of such a type.
func isTypePattern(pattern string) bool {
	if pattern == "" {
		return true
	}
	for _, t := range schema.Types() {
		if event.MatchesType(pattern, t.Name) {
			return true
		}
	}
	_, err := schema.Lookup(pattern)
	return err == schema.ErrReserved //nolint:errorlint // Lookup returns it as it is.
}

// ListEventTypes implements notifierv1.EventServiceServer.
func (s *Events) ListEventTypes(context.Context, *notifierv1.ListEventTypesRequest) (*notifierv1.ListEventTypesResponse, error) {
	out := &notifierv1.ListEventTypesResponse{}
	for _, t := range schema.Types() {
		var doc structpb.Struct
		if err := doc.UnmarshalJSON(t.JSON); err != nil {
			return nil, err
		}
		out.EventTypes = append(out.EventTypes, &notifierv1.EventType{
			Name: t.Name, Version: int32(t.Version), Description: t.Description, Schema: &doc,
		})
	}
	return out, nil
}

// EraseEmployee implements notifierv1.EventServiceServer.
func (s *Events) EraseEmployee(ctx context.Context, req *notifierv1.EraseEmployeeRequest) (*notifierv1.EraseEmployeeResponse, error) {
	by := caller(ctx)
	erased, err := s.conf.History.Erase(ctx, req.GetEmployeeId(), audit.Entry{
		ID: id.New("aud"), At: s.conf.Now(), Actor: by.Name, Action: "EraseEmployee", Resource: req.GetEmployeeId(), RequestID: by.CallID,
	})
	if err != nil {
		return nil, err
	}
	return &notifierv1.EraseEmployeeResponse{EventsErased: erased.Events, DeliveriesCancelled: erased.Cancelled}, nil
}
