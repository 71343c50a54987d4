package subscription

import (
	"net/url"
	"time"
)

// describe is a subscription for the audit: without secrets, and without what in a URL may be one.
func describe(r Record) map[string]any {
	d := map[string]any{
		"id": r.ID, "owner": r.Owner, "name": r.Name, "description": r.Description, "contact": redactURL(r.Contact),
		"url": redactURL(r.URL), "event_types": anys(r.EventTypes), "filter": r.Filter,
		"status": string(r.Status), "status_reason": r.StatusReason, "payload": string(r.Payload), "format": string(r.Format),
		"max_in_flight": float64(r.MaxInFlight), "rate_limit_per_second": float64(r.RatePerSec),
		"ordering": string(r.Ordering), "signature": string(r.Signature), "revision": float64(r.Revision),
	}
	var schedule []string
	for _, wait := range r.Schedule {
		schedule = append(schedule, wait.String())
	}
	d["retry_schedule"] = anys(schedule)
	labels := make(map[string]any, len(r.Labels))
	for k, v := range r.Labels {
		labels[k] = v
	}
	d["labels"] = labels
	var keys []any
	for _, k := range r.Keys {
		key := map[string]any{"id": k.ID, "kind": string(k.Kind)}
		if k.PublicKey != "" {
			key["public_key"] = k.PublicKey
		}
		if !k.ExpiresAt.IsZero() {
			key["expires_at"] = k.ExpiresAt.Format(time.RFC3339Nano)
		}
		keys = append(keys, key)
	}
	d["keys"] = keys
	return d
}

func anys(s []string) []any {
	out := make([]any, len(s))
	for i := range s {
		out[i] = s[i]
	}
	return out
}

// redactURL leaves of a URL where it points to: queries hold tokens.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return raw
	}
	if u.RawQuery != "" {
		u.RawQuery = "***"
	}
	u.User, u.Fragment = nil, ""
	return u.String()
}
