package notifier

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"

	"hirewire.dev/notifier/internal/subscription"
)

// webhookKeys serves the public keys in force, of all subscriptions that sign with Ed25519 or of the one that the query names:
// {"keys": [{"subscription_id": "sub_…", "public_key": "whpk_…"}]}, newest first for each.
func webhookKeys(catalog *subscription.Catalog) http.Handler {
	type key struct {
		SubscriptionID string `json:"subscription_id"`
		PublicKey      string `json:"public_key"`
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		only := r.URL.Query().Get("subscription_id")
		keys := []key{}
		for id, t := range catalog.Current().Targets {
			if only != "" && only != id {
				continue
			}
			for _, k := range t.PublicKeys {
				keys = append(keys, key{id, k})
			}
		}
		slices.SortStableFunc(keys, func(a, b key) int { return cmp.Compare(a.SubscriptionID, b.SubscriptionID) })
		writeJSON(w, map[string]any{"keys": keys})
	})
}

// webhookSources serves where webhooks come from, for receivers that keep an allowlist: {"addresses": ["203.0.113.0/28"]}.
func webhookSources(addresses []netip.Prefix) http.Handler {
	list := []string{}
	for _, p := range addresses {
		list = append(list, p.String())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, map[string]any{"addresses": list}) })
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=60")
	_ = json.NewEncoder(w).Encode(v) // the client is gone; nobody is left to tell
}
