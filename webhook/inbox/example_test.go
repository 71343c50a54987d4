package inbox_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"time"

	_ "modernc.org/sqlite"

	"hirewire.dev/webhook"
	"hirewire.dev/webhook/inbox"
)

// A receiver that opens one account for each employee, exactly once, whatever
// the sender repeats and whatever crashes.
func Example() {
	dir, err := os.MkdirTemp("", "inbox")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "bank.db")+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		panic(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := inbox.Migrate(ctx, db, inbox.SQLite); err != nil {
		panic(err)
	}
	if _, err := db.ExecContext(ctx, `CREATE TABLE accounts (employee_id text PRIMARY KEY)`); err != nil {
		panic(err)
	}

	opened := make(chan struct{}, 1)
	box, err := inbox.New(inbox.Config{
		DB: db, Dialect: inbox.SQLite,
		// Events of one employee are applied in order.
		Subject: func(e webhook.Event) (inbox.Subject, error) {
			id, err := employeeID(e)
			return inbox.Subject{Key: id}, err
		},
		// The account and the mark that the event is done are one transaction.
		Handle: func(ctx context.Context, tx *sql.Tx, e *inbox.Event) error {
			if e.Type != "employee.created" {
				return inbox.ErrIgnore
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO accounts (employee_id) VALUES ($1)`, e.Subject.Key)
			return err
		},
		Observe: func(o inbox.Observation) {
			if o.What == inbox.Processed {
				opened <- struct{}{}
			}
		},
	})
	if err != nil {
		panic(err)
	}
	done := make(chan error, 1)
	go func() { done <- box.Run(ctx) }()

	secret := webhook.NewSecret()
	receiver, err := webhook.NewReceiver(webhook.ReceiverConfig{Secrets: []webhook.Secret{secret}, Store: box})
	if err != nil {
		panic(err)
	}
	for range 3 { // the sender did not get the answer, and repeats
		fmt.Println(deliver(receiver, secret))
	}
	<-opened
	var accounts int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM accounts`).Scan(&accounts); err != nil {
		panic(err)
	}
	fmt.Println(accounts, "account")
	cancel()
	fmt.Println(<-done)
	// Output:
	// 200
	// 200
	// 200
	// 1 account
	// <nil>
}

func employeeID(e webhook.Event) (string, error) {
	var data struct {
		Employee struct {
			ID string `json:"id"`
		} `json:"employee"`
	}
	err := json.Unmarshal(e.Data, &data)
	return data.Employee.ID, err
}

func deliver(receiver *webhook.Receiver, secret webhook.Secret) int {
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		panic(err)
	}
	id, at := "evt_01J8Z3N4Y5X6W7V8T9S0R1Q2P3", time.Now()
	body := []byte(`{"type":"employee.created","timestamp":"2026-11-20T09:00:00Z","data":{"employee":{"id":"emp_1"}}}`)
	req := httptest.NewRequest("POST", "/", bytes.NewReader(body))
	req.Header.Set("content-type", "application/json")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	req.Header.Set("webhook-signature", signer.Sign(id, at, body))
	res := httptest.NewRecorder()
	receiver.ServeHTTP(res, req)
	return res.Code
}
