package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"hirewire.dev/hirewire/internal/pki"
)

// readyCommand is the health check of a container that has no shell.
type readyCommand struct {
	URL    string `arg:"" help:"The service's readiness address, such as http://127.0.0.1:8001/readyz."`
	CAFile string `help:"The authority that signed the service's certificate." placeholder:"FILE"`
}

func (c *readyCommand) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	trust, err := pki.Trust(c.CAFile)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: trust}}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New("not ready: " + response.Status)
	}
	return nil
}
