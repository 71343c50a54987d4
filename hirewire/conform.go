package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"hirewire.dev/hirewire/internal/conform"
	"hirewire.dev/hirewire/internal/pki"
	"hirewire.dev/webhook"
)

// conformCommand checks a receiver from outside.
type conformCommand struct {
	URL       string `required:"" name:"url" help:"The receiver's webhook address."`
	Secret    string `required:"" env:"HIREWIRE_WEBHOOK_SECRET" placeholder:"whsec_…" help:"The secret that the receiver verifies with."`
	CAFile    string `name:"ca-file" placeholder:"FILE" help:"The authority that signed the receiver's certificate."`
	EventType string `default:"webhook.test" help:"The type of the valid messages. webhook.test has no effect in a receiver that knows it."`
	JSON      bool   `name:"json" help:"Print one JSON object for each check."`

	secret webhook.Secret
}

var errNotConforming = errors.New("the receiver has defects")

// Validate is called by kong.
func (c *conformCommand) Validate() (err error) {
	if c.secret, err = webhook.ParseSecret(c.Secret); err != nil {
		return fmt.Errorf("--secret: %w", err)
	}
	return nil
}

func (c *conformCommand) Run(ctx context.Context) error {
	trust, err := pki.Trust(c.CAFile)
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: trust, DisableCompression: true}
	receiver := &conform.Receiver{URL: c.URL, Secret: c.secret, EventType: c.EventType, Client: conform.NewClient(transport)}
	grades := map[conform.Grade]int{}
	lines := json.NewEncoder(os.Stdout)
	err = receiver.Run(ctx, func(f conform.Finding) {
		grades[f.Grade]++
		if c.JSON {
			_ = lines.Encode(f)
			return
		}
		fmt.Printf("%s  %-28s %s\n", f.Grade, f.Check, f.Got)
		if f.Grade != conform.Pass {
			fmt.Printf("      wanted: %s\n      fix:    %s\n", f.Wanted, f.Fix)
		}
	})
	if err != nil {
		return err
	}
	if !c.JSON {
		fmt.Printf("\n%d passed, %d warnings, %d defects\n", grades[conform.Pass], grades[conform.Warn], grades[conform.Fail])
	}
	if grades[conform.Fail] > 0 {
		return errNotConforming
	}
	return nil
}
