package grpcapi

import (
	"hirewire.dev/notifier/internal/access"
	"hirewire.dev/platform/rpc"
	notifierv1 "hirewire.dev/proto/notifier/v1"
)

// The roles in the combinations that there are. A bank sees and changes only its own; the handlers see to that.
var (
	admins     = roles(access.Admin)
	publishers = roles(access.Admin, access.Publisher)
	owners     = roles(access.Admin, access.Bank)
	readers    = roles(access.Admin, access.Bank, access.Viewer)
	overseers  = roles(access.Admin, access.Viewer)
)

func roles(list ...access.Role) (r rpc.Roles) {
	for _, role := range list {
		r = append(r, rpc.Role(role))
	}
	return r
}

// Policy says who may call each method. A method that is not here is not served, and the start fails.
var Policy = rpc.Policy{
	notifierv1.EventService_PublishEvents_FullMethodName:  publishers,
	notifierv1.EventService_GetEvent_FullMethodName:       readers,
	notifierv1.EventService_ListEvents_FullMethodName:     readers,
	notifierv1.EventService_ListEventTypes_FullMethodName: {rpc.AnyRole},
	notifierv1.EventService_EraseEmployee_FullMethodName:  admins,

	notifierv1.SubscriptionService_CreateSubscription_FullMethodName: owners,
	notifierv1.SubscriptionService_GetSubscription_FullMethodName:    readers,
	notifierv1.SubscriptionService_ListSubscriptions_FullMethodName:  readers,
	notifierv1.SubscriptionService_UpdateSubscription_FullMethodName: owners,
	notifierv1.SubscriptionService_DeleteSubscription_FullMethodName: owners,
	notifierv1.SubscriptionService_VerifySubscription_FullMethodName: owners,
	notifierv1.SubscriptionService_PauseSubscription_FullMethodName:  owners,
	notifierv1.SubscriptionService_ResumeSubscription_FullMethodName: owners,
	notifierv1.SubscriptionService_RotateSecret_FullMethodName:       owners,
	notifierv1.SubscriptionService_SendTestEvent_FullMethodName:      owners,

	notifierv1.DeliveryService_ListDeliveries_FullMethodName:  readers,
	notifierv1.DeliveryService_GetDelivery_FullMethodName:     readers,
	notifierv1.DeliveryService_RetryDelivery_FullMethodName:   owners,
	notifierv1.DeliveryService_CreateReplay_FullMethodName:    owners,
	notifierv1.DeliveryService_GetReplay_FullMethodName:       readers,
	notifierv1.DeliveryService_CancelReplay_FullMethodName:    owners,
	notifierv1.DeliveryService_WatchDeliveries_FullMethodName: readers,
	notifierv1.DeliveryService_Listen_FullMethodName:          owners,
	notifierv1.DeliveryService_GetBalance_FullMethodName:      readers,

	notifierv1.ApiKeyService_CreateApiKey_FullMethodName: admins,
	notifierv1.ApiKeyService_ListApiKeys_FullMethodName:  overseers,
	notifierv1.ApiKeyService_RevokeApiKey_FullMethodName: admins,

	notifierv1.AuditService_ListAuditEntries_FullMethodName: overseers,
}
