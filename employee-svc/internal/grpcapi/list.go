package grpcapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"hirewire.dev/employee-svc/internal/employee"
	"hirewire.dev/platform/rpc"
	employeev1 "hirewire.dev/proto/employee/v1"
)

const (
	defaultPage = 50
	maxPage     = 1000
)

// ListEmployees implements the service.
func (s *Server) ListEmployees(ctx context.Context, req *employeev1.ListEmployeesRequest) (*employeev1.ListEmployeesResponse, error) {
	q := employee.Query{Limit: min(int(req.GetPageSize()), maxPage), Status: statusFromProto(req.GetStatus())}
	if q.Limit == 0 {
		q.Limit = defaultPage
	}
	if after := req.GetUpdatedAfter(); after != nil {
		if !after.IsValid() {
			return nil, rpc.Invalid(rpc.Violation{Field: "updated_after", Reason: "must be a time from year 1 to 9999"}).Err()
		}
		q.UpdatedAfter = after.AsTime()
	}
	if token := req.GetPageToken(); token != "" {
		var ok bool
		if q.After, ok = parsePageToken(token, q); !ok {
			return nil, rpc.Invalid(rpc.Violation{Field: "page_token", Reason: "is not from an answer to the same question"}).Err()
		}
	}
	page, err := s.store.List(ctx, q)
	if err != nil {
		return nil, err
	}
	reply := &employeev1.ListEmployeesResponse{Employees: make([]*employeev1.Employee, len(page.Employees))}
	for i := range page.Employees {
		reply.Employees[i] = toProto(page.Employees[i])
	}
	if page.Next != 0 {
		reply.NextPageToken = pageToken(page.Next, q)
	}
	return reply, nil
}

// filterSum is the size of the sum over what is asked for.
const filterSum = 8

// pageToken is the position where q goes on. Clients must not look inside.
func pageToken(position int64, q employee.Query) string {
	raw := append(sumFilter(q), binary.AppendUvarint(nil, uint64(position))...)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// parsePageToken is the inverse: ok is false for all but what pageToken gives for the same question. The page size is no
// part of it, and neither is how long ago it was given.
func parsePageToken(token string, q employee.Query) (position int64, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) <= filterSum || !bytes.Equal(raw[:filterSum], sumFilter(q)) {
		return 0, false
	}
	u, n := binary.Uvarint(raw[filterSum:])
	if n <= 0 || u == 0 || u > 1<<62 || pageToken(int64(u), q) != token {
		return 0, false
	}
	return int64(u), true
}

func sumFilter(q employee.Query) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(q.Status))
	if !q.UpdatedAfter.IsZero() {
		b = q.UpdatedAfter.AppendFormat(b, time.RFC3339Nano)
	}
	sum := sha256.Sum256(b)
	return sum[:filterSum]
}
