package filter

import (
	"encoding/json"

	"hirewire.dev/notifier/internal/event"
	"hirewire.dev/notifier/internal/subscription"
)

// Candidate shows a stored event to a filter. Its data are read from the payload when a filter asks for them; an event
// without a payload has none.
func Candidate(e *event.Event) *subscription.Candidate {
	var data map[string]any
	return &subscription.Candidate{
		ID: e.ID, Type: e.Type, EmployeeID: e.EmployeeID, Version: e.Version, OccurredAt: e.OccurredAt,
		Data: func() map[string]any {
			if data == nil {
				data = map[string]any{}
				var body struct {
					Data *map[string]any `json:"data"`
				}
				body.Data = &data
				if json.Unmarshal(e.Payload, &body) != nil || data == nil {
					data = map[string]any{}
				}
			}
			return data
		},
	}
}
