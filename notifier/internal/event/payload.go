package event

import (
	"encoding/json"
	"time"
)

// AppendPayload appends the standard body of an event, {"id","type","timestamp","data"} in this order, for which data
// appends a JSON object. These bytes are what is stored, signed and sent: the same event gives the same bytes.
func AppendPayload(dst []byte, id, typ string, at time.Time, data func(dst []byte) []byte) []byte {
	dst = append(dst, `{"id":`...)
	dst = AppendString(dst, id)
	dst = append(dst, `,"type":`...)
	dst = AppendString(dst, typ)
	dst = append(dst, `,"timestamp":"`...)
	dst = AppendTime(dst, at)
	dst = append(dst, `","data":`...)
	return append(data(dst), '}')
}

// AppendTime appends t as RFC 3339 in UTC, with as many digits of a second as it has, up to microseconds.
func AppendTime(dst []byte, t time.Time) []byte {
	return t.UTC().Truncate(time.Microsecond).AppendFormat(dst, "2006-01-02T15:04:05.999999Z")
}

// New makes an event of the notifier's own, or of a publisher whose data has been checked. The employee's id and version
// are taken from data.employee, where there is one.
func New(id, typ string, at time.Time, data map[string]any) Event {
	at = at.UTC().Truncate(time.Microsecond)
	e := Event{ID: id, Type: typ, OccurredAt: at}
	if employee, ok := data["employee"].(map[string]any); ok {
		e.EmployeeID, _ = employee["id"].(string)
		switch v := employee["version"].(type) {
		case float64:
			e.Version = int64(v)
		case int64:
			e.Version = v
		case int:
			e.Version = int64(v)
		}
	}
	e.Payload = AppendPayload(make([]byte, 0, 512), id, typ, at, func(dst []byte) []byte { return AppendValue(dst, data) })
	return e
}

// Data is the data of the payload as encoding/json reads it; nil when there is none.
func (e *Event) Data() map[string]any {
	var body struct {
		Data map[string]any `json:"data"`
	}
	if err := json.Unmarshal(e.Payload, &body); err != nil {
		return nil
	}
	return body.Data
}
