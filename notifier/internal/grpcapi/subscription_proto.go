package grpcapi

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/notifier/internal/subscription"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// field is one field of a Subscription as callers set it.
type field struct {
	name string
	// set takes it over; nil where callers cannot.
	set func(*subscription.Subscription, *notifierv1.Subscription) error
	// fixed says that an update would change what cannot be, and why tells what to do; nil: it is ignored.
	fixed func(subscription.Subscription, *notifierv1.Subscription) bool
	why   string
}

type (
	domain  = subscription.Subscription
	message = notifierv1.Subscription
)

func plain(name string, set func(*domain, *message)) field {
	return field{name: name, set: func(s *domain, in *message) error { set(s, in); return nil }}
}

// fields are all of them: output-only ones are ignored when a caller sends them back (AIP-203).
var fields = []field{
	plain("name", func(s *domain, in *message) { s.Name = in.GetName() }),
	plain("description", func(s *domain, in *message) { s.Description = in.GetDescription() }),
	plain("contact", func(s *domain, in *message) { s.Contact = in.GetContact() }),
	plain("url", func(s *domain, in *message) { s.URL = in.GetUrl() }),
	plain("event_types", func(s *domain, in *message) { s.EventTypes = slices.Clone(in.GetEventTypes()) }),
	plain("filter", func(s *domain, in *message) { s.Filter = in.GetFilter() }),
	plain("max_in_flight", func(s *domain, in *message) { s.MaxInFlight = int(in.GetMaxInFlight()) }),
	plain("rate_limit_per_second", func(s *domain, in *message) { s.RatePerSec = int(in.GetRateLimitPerSecond()) }),
	plain("labels", func(s *domain, in *message) { s.Labels = in.GetLabels() }),
	{name: "payload", set: func(s *domain, in *message) (err error) {
		s.Payload, err = enum("payload", protoToPayload, in.GetPayload())
		return err
	}},
	{name: "format", set: func(s *domain, in *message) (err error) {
		s.Format, err = enum("format", protoToFormat, in.GetFormat())
		return err
	}},
	{name: "ordering", set: func(s *domain, in *message) (err error) {
		s.Ordering, err = enum("ordering", protoToOrdering, in.GetOrdering())
		return err
	}},
	{name: "retry_schedule", set: setSchedule},
	{
		name: "signature", why: "cannot be changed; make another subscription",
		fixed: func(s domain, in *message) bool {
			return in.GetSignature() != 0 && protoToSignature[in.GetSignature()] != s.Signature
		},
	},
	{
		name: "secret", why: "is changed by RotateSecret",
		fixed: func(_ domain, in *message) bool { return in.GetSecret() != "" },
	},
	{
		name: "start_from", why: "is for create; CreateReplay brings past events",
		fixed: func(_ domain, in *message) bool { return in.GetStartFrom() != "" },
	},
	{name: "id"},
	{name: "status"},
	{name: "status_reason"},
	{name: "created_at"},
	{name: "updated_at"},
	{name: "public_key"},
	{name: "owner"},
	{name: "etag"},
}

func setSchedule(s *domain, in *message) error {
	s.Schedule = nil
	for i, d := range in.GetRetrySchedule() {
		if err := d.CheckValid(); err != nil {
			return invalidField(fmt.Sprintf("retry_schedule[%d]", i), "is not a valid duration")
		}
		s.Schedule = append(s.Schedule, d.AsDuration().Truncate(time.Microsecond))
	}
	return nil
}

// maskedFields are the fields that an update names, or else those that it sets.
func maskedFields(in *message, mask *fieldmaskpb.FieldMask) ([]field, error) {
	if paths := mask.GetPaths(); len(paths) > 0 && !slices.Equal(paths, []string{"*"}) {
		var named []field
		for _, path := range paths {
			i := slices.IndexFunc(fields, func(f field) bool { return f.name == path })
			if i < 0 {
				return nil, invalidArgument("update_mask", fmt.Sprintf("there is no field %q", clip(path)))
			}
			named = append(named, fields[i])
		}
		return named, nil
	}
	if len(mask.GetPaths()) > 0 {
		return fields, nil
	}
	var set []field
	in.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == string(fd.Name()) })
		set = append(set, fields[i])
		return true
	})
	return set, nil
}

// clip bounds what of a caller's text goes back to it.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}

// enum turns an enum into the domain's word; the unspecified one into the default, which is empty.
func enum[E interface {
	~int32
	String() string
}, D ~string](name string, words map[E]D, e E) (D, error) {
	if e == 0 {
		return "", nil
	}
	if w, ok := words[e]; ok {
		return w, nil
	}
	return "", invalidField(name, "is not a known value")
}

var (
	protoToStatus = map[notifierv1.Subscription_Status]subscription.Status{
		notifierv1.Subscription_PENDING_VERIFICATION: subscription.PendingVerification,
		notifierv1.Subscription_ACTIVE:               subscription.Active,
		notifierv1.Subscription_PAUSED:               subscription.Paused,
		notifierv1.Subscription_DISABLED:             subscription.Disabled,
	}
	protoToPayload = map[notifierv1.Subscription_Payload]subscription.Payload{
		notifierv1.Subscription_FULL: subscription.Full, notifierv1.Subscription_THIN: subscription.Thin,
	}
	protoToFormat = map[notifierv1.Subscription_Format]subscription.Format{
		notifierv1.Subscription_STANDARD: subscription.Standard, notifierv1.Subscription_CLOUDEVENTS: subscription.CloudEvents,
		notifierv1.Subscription_FORM: subscription.Form, notifierv1.Subscription_XML: subscription.XML,
	}
	protoToOrdering = map[notifierv1.Subscription_Ordering]subscription.Ordering{
		notifierv1.Subscription_BY_EMPLOYEE: subscription.ByEmployee, notifierv1.Subscription_NONE: subscription.Unordered,
	}
	protoToSignature = map[notifierv1.Subscription_Signature]subscription.Signature{
		notifierv1.Subscription_V1: subscription.V1, notifierv1.Subscription_V1A: subscription.V1A,
	}

	statusToProto    = inverse(protoToStatus)
	payloadToProto   = inverse(protoToPayload)
	formatToProto    = inverse(protoToFormat)
	orderingToProto  = inverse(protoToOrdering)
	signatureToProto = inverse(protoToSignature)
)

func subscriptionToProto(s subscription.Subscription) *notifierv1.Subscription {
	out := &notifierv1.Subscription{
		Id: s.ID, Owner: s.Owner, Name: s.Name, Description: s.Description, Contact: s.Contact, Url: s.URL,
		EventTypes: s.EventTypes, Filter: s.Filter, Status: statusToProto[s.Status], StatusReason: s.StatusReason,
		Payload: payloadToProto[s.Payload], Format: formatToProto[s.Format],
		MaxInFlight: int32(s.MaxInFlight), RateLimitPerSecond: int32(s.RatePerSec),
		Ordering: orderingToProto[s.Ordering], Signature: signatureToProto[s.Signature], Labels: s.Labels,
		CreatedAt: timestamppb.New(s.CreatedAt), UpdatedAt: timestamppb.New(s.UpdatedAt), Etag: s.ETag(),
	}
	for _, d := range s.Schedule {
		out.RetrySchedule = append(out.RetrySchedule, durationpb.New(d))
	}
	return out
}

func shownToProto(s subscription.Shown) *notifierv1.Subscription {
	out := subscriptionToProto(s.Subscription)
	out.Secret, out.PublicKey = s.Secret, s.PublicKey
	return out
}
