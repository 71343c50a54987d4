// Package grpcapi serves a bank's API: it turns messages into the words of the domain and back.
package grpcapi

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"hirewire.dev/bank-svc/internal/account"
	"hirewire.dev/bank-svc/internal/reconcile"
	"hirewire.dev/bank-svc/internal/sqlstore"
	"hirewire.dev/platform/rpc"
	bankv1 "hirewire.dev/proto/bank/v1"
	"hirewire.dev/webhook/inbox"
)

// The roles of a bank's API keys.
const (
	Operator rpc.Role = "operator" // may do everything
	Viewer   rpc.Role = "viewer"   // may read
)

var (
	everybody = rpc.Roles{Operator, Viewer}
	operators = rpc.Roles{Operator}
)

// Policy says who may call each method. A method that is not here is not served, and the start fails.
var Policy = rpc.Policy{
	bankv1.BankService_ListAccounts_FullMethodName:         everybody,
	bankv1.BankService_GetAccount_FullMethodName:           everybody,
	bankv1.BankService_ListInboxEvents_FullMethodName:      everybody,
	bankv1.BankService_GetInboxEvent_FullMethodName:        everybody,
	bankv1.BankService_ReprocessInboxEvent_FullMethodName:  operators,
	bankv1.BankService_ReprocessInboxEvents_FullMethodName: operators,
	bankv1.BankService_CreateReconciliation_FullMethodName: operators,
	bankv1.BankService_GetReconciliation_FullMethodName:    everybody,
	bankv1.BankService_ListReconciliations_FullMethodName:  everybody,
}

// Accounts reads accounts.
type Accounts interface {
	// Account reads one. Errors: account.ErrNotFound.
	Account(ctx context.Context, id string) (account.Account, error)
	// Accounts lists them by id, those after the given one, at most limit.
	Accounts(ctx context.Context, f sqlstore.AccountFilter, after string, limit int) ([]account.Account, error)
}

// Reports reads reconciliations.
type Reports interface {
	// Report reads one. Errors: reconcile.ErrNotFound.
	Report(ctx context.Context, id string) (reconcile.Report, error)
	// Reports lists them, newest first, those before the given one, at most limit.
	Reports(ctx context.Context, before string, limit int) ([]reconcile.Report, error)
}

// Reconciler begins reconciliations.
type Reconciler interface {
	// Request asks for one; the same request id gets the same one. Errors: reconcile.ErrTooMany,
	// reconcile.ErrRequestReused.
	Request(ctx context.Context, dryRun bool, requestID string) (reconcile.Report, error)
}

// Service is the BankService.
type Service struct {
	bankv1.UnimplementedBankServiceServer
	accounts   Accounts
	inbox      Inbox
	reports    Reports
	reconciler Reconciler
}

// New makes the service.
func New(accounts Accounts, inbox Inbox, reports Reports, reconciler Reconciler) *Service {
	return &Service{accounts: accounts, inbox: inbox, reports: reports, reconciler: reconciler}
}

// Errors is the table from the domain's errors to statuses; nil for an error that it does not know.
func Errors(err error) *status.Status {
	for _, s := range []struct {
		err  error
		code codes.Code
	}{
		{account.ErrNotFound, codes.NotFound},
		{inbox.ErrNotFound, codes.NotFound},
		{reconcile.ErrNotFound, codes.NotFound},
		{reconcile.ErrTooMany, codes.ResourceExhausted},
		{reconcile.ErrRequestReused, codes.AlreadyExists},
	} {
		if errors.Is(err, s.err) {
			return status.New(s.code, s.err.Error())
		}
	}
	return nil
}
