package grpcapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/event/structjson"
	"hirewire.dev/notifier/internal/schema"
	"hirewire.dev/platform/rpc"
	notifierv1 "hirewire.dev/proto/notifier/v1"
	"hirewire.dev/webhook"
)

// The bounds of what is published.
const (
	maxPublish   = 1000
	maxPayload   = 256 << 10
	maxAhead     = 5 * time.Minute // the publisher's clock may be that much ahead
	maxPublishIV = 20              // violations that are listed
)

// PublishEvents implements notifierv1.EventServiceServer.
func (s *Events) PublishEvents(ctx context.Context, req *notifierv1.PublishEventsRequest) (*notifierv1.PublishEventsResponse, error) {
	in := req.GetEvents()
	switch {
	case len(in) == 0:
		return nil, invalidArgument("events", "must have at least one entry")
	case len(in) > maxPublish:
		return nil, status.Errorf(codes.ResourceExhausted, "events: %d in one call; at most %d are allowed", len(in), maxPublish)
	}
	p := publishing{now: s.conf.Now(), retention: s.conf.Retention, events: make([]event.Event, 0, len(in))}
	for i, e := range in {
		p.take(i, e)
	}
	if len(in) > 1 {
		p.refuseTwins()
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	out := &notifierv1.PublishEventsResponse{EventIds: make([]string, len(in))}
	for i := range p.events {
		out.EventIds[i] = p.events[i].ID
	}
	if err := s.conf.Publisher.Publish(ctx, p.events); err != nil {
		conflict, ok := errors.AsType[*event.ConflictError](err)
		if !ok {
			return nil, err
		}
		s.conf.Conflict()
		i := slices.Index(out.GetEventIds(), conflict.ID)
		return nil, inOneField(codes.AlreadyExists, fmt.Sprintf("events[%d].id", i), "an event with other content has it").Err()
	}
	return out, nil
}

// publishing turns the events of a call into the domain's, and gathers what is wrong with them.
type publishing struct {
	now       time.Time
	retention time.Duration
	events    []event.Event

	violations []rpc.Violation
	// What would have been said if the arguments were valid.
	reserved, old, large error
}

func (p *publishing) add(i int, field, reason string) {
	if len(p.violations) < maxPublishIV {
		p.violations = append(p.violations, rpc.Violation{Field: fmt.Sprintf("events[%d]%s", i, field), Reason: reason})
	}
}

// err is the first thing to say: what is malformed before what is not allowed.
func (p *publishing) err() error {
	switch {
	case p.large != nil:
		return p.large
	case len(p.violations) > 0:
		return rpc.Invalid(p.violations...).Err()
	case p.reserved != nil:
		return p.reserved
	default:
		return p.old
	}
}

func (p *publishing) take(i int, in *notifierv1.Event) {
	if in == nil {
		p.add(i, "", "is missing")
		return
	}
	if !webhook.ValidID(in.GetId()) {
		p.add(i, ".id", "must be 1 to 64 of A-Z, a-z, 0-9, _ and -")
	}
	if t := in.GetTraceparent(); t != "" && !isTraceparent(t) {
		p.add(i, ".traceparent", "must be a W3C trace context such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	}
	at := p.time(i, in)
	p.data(i, in)
	if len(p.violations) > 0 {
		return
	}
	e := event.Event{ID: in.GetId(), Type: in.GetType(), OccurredAt: at, Traceparent: in.GetTraceparent()}
	employee := in.GetData().GetFields()["employee"].GetStructValue().GetFields()
	e.EmployeeID = employee["id"].GetStringValue()
	e.Version = int64(employee["version"].GetNumberValue())
	e.Payload = event.AppendPayload(make([]byte, 0, 640), e.ID, e.Type, e.OccurredAt, func(dst []byte) []byte {
		return structjson.Append(dst, in.GetData())
	})
	p.size(i, len(e.Payload))
	p.events = append(p.events, e)
}

func (p *publishing) size(i, size int) {
	if size > maxPayload {
		p.large = status.Errorf(codes.ResourceExhausted, "events[%d]: it has %d bytes; at most %d are allowed", i, size, maxPayload)
	}
}

func (p *publishing) time(i int, in *notifierv1.Event) time.Time {
	stamp := in.GetTimestamp()
	if stamp == nil {
		p.add(i, ".timestamp", "is required")
		return time.Time{}
	}
	if stamp.CheckValid() != nil {
		p.add(i, ".timestamp", "is out of range")
		return time.Time{}
	}
	at := stamp.AsTime().Truncate(time.Microsecond)
	switch {
	case at.After(p.now.Add(maxAhead)):
		p.add(i, ".timestamp", "must not be in the future")
	case at.Before(p.now.Add(-p.retention)):
		p.old = status.Errorf(codes.FailedPrecondition, "events[%d].timestamp: it is older than what is kept (%s)", i, p.retention)
	}
	return at
}

func (p *publishing) data(i int, in *notifierv1.Event) {
	t, err := schema.Lookup(in.GetType())
	switch {
	case errors.Is(err, schema.ErrReserved):
		p.reserved = status.Errorf(codes.PermissionDenied, "events[%d].type: %s", i, err)
		return
	case err != nil:
		p.add(i, ".type", err.Error())
		return
	}
	found := t.Check(in.GetData())
	for _, v := range found {
		p.add(i, "."+v.Path, v.Reason)
	}
	if len(found) > 0 && in.GetData() != nil {
		p.size(i, len(structjson.Append(nil, in.GetData()))) // too large comes before what else is wrong with it
	}
}

// refuseTwins finds ids that occur twice in the call.
func (p *publishing) refuseTwins() {
	seen := make(map[string]int, len(p.events))
	for i := range p.events {
		if first, ok := seen[p.events[i].ID]; ok {
			p.add(i, ".id", fmt.Sprintf("is that of events[%d] too", first))
			continue
		}
		seen[p.events[i].ID] = i
	}
}

// isTraceparent says whether s is a trace context of version 00 (W3C Trace Context, section 3.2).
func isTraceparent(s string) bool {
	if len(s) != 55 || s[:3] != "00-" || s[35] != '-' || s[52] != '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if i != 2 && i != 35 && i != 52 && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return strings.Trim(s[3:35], "0") != "" && strings.Trim(s[36:52], "0") != "" // no trace, no span
}
