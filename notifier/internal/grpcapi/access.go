package grpcapi

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/platform/id"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// APIKeys is the ApiKeyService.
type APIKeys struct {
	notifierv1.UnimplementedApiKeyServiceServer
	keys *access.Service
}

// NewAPIKeys makes the service.
func NewAPIKeys(keys *access.Service) *APIKeys { return &APIKeys{keys: keys} }

// CreateApiKey implements notifierv1.ApiKeyServiceServer.
func (s *APIKeys) CreateApiKey(ctx context.Context, req *notifierv1.CreateApiKeyRequest) (*notifierv1.ApiKey, error) {
	k, secret, err := s.keys.Create(ctx, caller(ctx), access.NewKey{
		Name: req.GetApiKey().GetName(), Role: protoToRole[req.GetApiKey().GetRole()],
		Secret: req.GetApiKey().GetSecret(), RequestID: req.GetRequestId(),
	})
	if err != nil {
		return nil, inField("api_key", err)
	}
	out := apiKeyToProto(k)
	out.Secret = secret
	return out, nil
}

// ListApiKeys implements notifierv1.ApiKeyServiceServer.
func (s *APIKeys) ListApiKeys(ctx context.Context, req *notifierv1.ListApiKeysRequest) (*notifierv1.ListApiKeysResponse, error) {
	q := newQuestion("keys")
	after, err := q.parse(req.GetPageToken(), func(at string) bool { return id.Valid("key", at) })
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize())
	list, err := s.keys.List(ctx, after, size+1)
	if err != nil {
		return nil, err
	}
	keys, next, err := page(q, list, size, func(k access.Key) string { return k.ID }, always(apiKeyToProto))
	return &notifierv1.ListApiKeysResponse{ApiKeys: keys, NextPageToken: next}, err
}

// RevokeApiKey implements notifierv1.ApiKeyServiceServer.
func (s *APIKeys) RevokeApiKey(ctx context.Context, req *notifierv1.RevokeApiKeyRequest) (*notifierv1.ApiKey, error) {
	k, err := s.keys.Revoke(ctx, caller(ctx), req.GetId())
	if err != nil {
		return nil, err
	}
	return apiKeyToProto(k), nil
}

var protoToRole = map[notifierv1.ApiKey_Role]access.Role{
	notifierv1.ApiKey_ADMIN: access.Admin, notifierv1.ApiKey_PUBLISHER: access.Publisher,
	notifierv1.ApiKey_BANK: access.Bank, notifierv1.ApiKey_VIEWER: access.Viewer,
}

var roleToProto = inverse(protoToRole)

func inverse[K, V comparable](m map[K]V) map[V]K {
	out := make(map[V]K, len(m))
	for k, v := range m {
		out[v] = k
	}
	return out
}

func apiKeyToProto(k access.Key) *notifierv1.ApiKey {
	out := &notifierv1.ApiKey{Id: k.ID, Name: k.Name, Role: roleToProto[k.Role], CreatedAt: timestamppb.New(k.CreatedAt)}
	if !k.RevokedAt.IsZero() {
		out.RevokedAt = timestamppb.New(k.RevokedAt)
	}
	return out
}
