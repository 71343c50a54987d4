package grpcapi

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/bank-svc/internal/sqlstore"
	"hirewire.dev/platform/id"
	bankv1 "hirewire.dev/proto/bank/v1"
)

// ListAccounts implements bankv1.BankServiceServer.
func (s *Service) ListAccounts(ctx context.Context, req *bankv1.ListAccountsRequest) (*bankv1.ListAccountsResponse, error) {
	filter := sqlstore.AccountFilter{EmployeeID: req.GetEmployeeId(), Status: protoToStatus[req.GetStatus()]}
	list := newListing("accounts", req.GetPageSize(), filter.EmployeeID, string(filter.Status))
	after, err := list.begin(req.GetPageToken(), func(at string) bool { return id.Valid("acc", at) })
	if err != nil {
		return nil, err
	}
	all, err := s.accounts.Accounts(ctx, filter, after, list.limit())
	if err != nil {
		return nil, err
	}
	all, next := page(list, all, func(a account.Account) string { return a.ID })
	res := &bankv1.ListAccountsResponse{NextPageToken: next, Accounts: make([]*bankv1.Account, len(all))}
	for i, a := range all {
		res.Accounts[i] = accountToProto(a)
	}
	return res, nil
}

// GetAccount implements bankv1.BankServiceServer.
func (s *Service) GetAccount(ctx context.Context, req *bankv1.GetAccountRequest) (*bankv1.Account, error) {
	a, err := s.accounts.Account(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return accountToProto(a), nil
}

var (
	statusToProto = map[account.Status]bankv1.Account_Status{account.Open: bankv1.Account_OPEN, account.Closed: bankv1.Account_CLOSED}
	protoToStatus = map[bankv1.Account_Status]account.Status{bankv1.Account_OPEN: account.Open, bankv1.Account_CLOSED: account.Closed}
)

func accountToProto(a account.Account) *bankv1.Account {
	return &bankv1.Account{
		Id:              a.ID,
		AccountNumber:   a.Number,
		HolderName:      a.HolderName,
		Currency:        a.Currency,
		Status:          statusToProto[a.Status],
		EmployeeId:      a.EmployeeID,
		EmployeeVersion: int32(a.EmployeeVersion),
		OpenedByEventId: a.OpenedByEventID,
		CreatedAt:       timestamppb.New(a.CreatedAt),
		UpdatedAt:       timestamppb.New(a.UpdatedAt),
	}
}
