package banksvc

import (
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"

	"hirewire.dev/bank-svc/internal/grpcapi"
	"hirewire.dev/bank-svc/internal/reconcile"
	"hirewire.dev/bank-svc/internal/sqlstore"
	"hirewire.dev/platform/rest"
	"hirewire.dev/platform/rpc"
	"hirewire.dev/platform/serve"
	bankv1 "hirewire.dev/proto/bank/v1"
	"hirewire.dev/webhook/inbox"
)

// listen binds the addresses and registers what is served there.
func (s *Service) listen(ctx context.Context, store *sqlstore.Store, box *inbox.Inbox, runner *reconcile.Runner, receiver http.Handler, registry *prometheus.Registry, health *serve.Health) error {
	chain, err := rpc.New(rpc.Config{
		Logger: s.log, Metrics: registry, Tracer: otel.Tracer("bank-svc"), Authenticator: s.apiKeys(), Policy: grpcapi.Policy, Errors: grpcapi.Errors,
	})
	if err != nil {
		return err
	}
	gateway, err := rest.New(rest.Config{Chain: chain, OpenAPI: bankv1.OpenAPI, Logger: s.log})
	if err != nil {
		return err
	}
	s.grpc, err = serve.NewGRPC(serve.GRPCConfig{
		Addr: string(s.cfg.GRPCAddr), Health: health, Logger: s.log, TLS: s.grpcTLS(), Unary: chain.Unary, Stream: chain.Stream,
		Reflection: s.cfg.Reflection,
	})
	if err != nil {
		return fmt.Errorf("BANK_GRPC_ADDR: %w", err)
	}
	bankv1.RegisterBankServiceServer(rpc.Registrars{s.grpc, gateway}, grpcapi.New(store, box, store, runner))
	if err := bankv1.RegisterBankServiceHandlerClient(ctx, gateway.Mux(), bankv1.NewBankServiceClient(gateway.Conn())); err != nil {
		return err
	}
	if err := chain.Check(s.grpc.GetServiceInfo()); err != nil {
		return err
	}
	s.http, err = serve.NewHTTP(serve.HTTPConfig{
		Addr: string(s.cfg.HTTPAddr), Handler: routes(receiver, gateway), Health: health, Metrics: registry, Logger: s.log, HSTS: true,
		TLS: &serve.TLS{
			CertFile: string(s.cfg.TLSCert), KeyFile: string(s.cfg.TLSKey), ClientCAFile: string(s.cfg.ClientCA), ClientNames: s.cfg.ClientNames,
		},
	})
	if err != nil {
		return fmt.Errorf("BANK_HTTP_ADDR: %w", err)
	}
	s.group.AddServer("grpc", s.grpc.Run)
	s.group.AddServer("https", s.http.Run)
	return nil
}

// routes sends the webhook's path to the receiver and everything else to REST.
func routes(receiver, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == WebhookPath {
			receiver.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

func (s *Service) grpcTLS() *serve.TLS {
	if s.cfg.GRPCCert == "" {
		return nil
	}
	return &serve.TLS{CertFile: string(s.cfg.GRPCCert), KeyFile: string(s.cfg.GRPCKey)}
}

func (s *Service) apiKeys() rpc.StaticKeys {
	var keys rpc.StaticKeys
	for _, k := range s.cfg.APIKeys {
		keys = append(keys, rpc.StaticKey(rpc.Identity{Name: k.Name, Role: rpc.Role(k.Role)}, k.Key.Reveal())...)
	}
	return keys
}
