package grpcapi

import (
	"testing"
	"time"

	"hirewire.dev/employee-svc/internal/employee"
)

func TestPageTokenIsOneForEachPlaceAndQuestion(t *testing.T) {
	at := time.Date(2026, 11, 20, 9, 0, 0, 1, time.UTC)
	questions := []employee.Query{
		{},
		{Status: employee.Active},
		{Status: employee.Terminated},
		{UpdatedAfter: at},
		{UpdatedAfter: at.Add(1)},
		{Status: employee.Active, UpdatedAfter: at},
	}
	for i, q := range questions {
		for _, position := range []int64{1, 127, 128, 1 << 40, 1 << 62} {
			token := pageToken(position, q)
			for k, other := range questions {
				other.Limit = 7 // the page size may change
				got, ok := parsePageToken(token, other)
				if ok != (i == k) || ok && got != position {
					t.Errorf("token of %d for question %d is %d, %v for question %d", position, i, got, ok, k)
				}
			}
		}
	}
}

func FuzzPageToken(f *testing.F) {
	q := employee.Query{Status: employee.Active}
	f.Add(pageToken(1, q))
	f.Add(pageToken(1<<62, q))
	f.Add("")
	f.Add("AAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, token string) {
		position, ok := parsePageToken(token, q)
		if ok && (position <= 0 || pageToken(position, q) != token) {
			t.Errorf("%q is another token for %d", token, position)
		}
	})
}
