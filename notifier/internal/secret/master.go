// Package secret encrypts what is stored: signing secrets and keys.
//
// They are sealed with a data key, and the data key is stored sealed with the master key, which is never in the database: 32
// bytes from the configuration, or a key in a key management service that a URL names and that is asked only at the start.
// Each sealed text is bound to its subject, such as the id of the row that it belongs to: moved to another row, it does not
// open.
package secret

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"gocloud.dev/secrets"
	_ "gocloud.dev/secrets/awskms" // awskms://
	_ "gocloud.dev/secrets/gcpkms" // gcpkms://
	"gocloud.dev/secrets/localsecrets"
)

// Master is a master key. Close it when it is not needed any more.
type Master struct {
	id     string
	keeper *secrets.Keeper
}

// CheckMaster says what is wrong with the text of a master key, without opening it. The error never repeats it.
func CheckMaster(key string) error {
	_, _, err := parseMaster(key)
	return err
}

func parseMaster(key string) (local []byte, remote *url.URL, err error) {
	if !strings.Contains(key, "://") {
		raw, err := base64.StdEncoding.Strict().DecodeString(key)
		if err != nil || len(raw) != 32 {
			return nil, nil, errors.New("must be the base64 of 32 bytes, or the URL of a key such as awskms://…")
		}
		return raw, nil, nil
	}
	u, err := url.Parse(key)
	if err != nil || u.Scheme == localsecrets.Scheme || !secrets.DefaultURLMux().ValidKeeperScheme(u.Scheme) {
		return nil, nil, errors.New("must be the base64 of 32 bytes, or a URL that begins with awskms:// or gcpkms://")
	}
	return nil, u, nil
}

// OpenMaster opens a master key: the base64 of 32 bytes, or a URL of gocloud.dev/secrets such as awskms://… or gcpkms://….
// The error never repeats the key.
func OpenMaster(ctx context.Context, key string) (Master, error) {
	local, u, err := parseMaster(key)
	if err != nil {
		return Master{}, err
	}
	if local != nil {
		return Master{
			id:     fingerprint("hirewire local master key", string(local)),
			keeper: localsecrets.NewKeeper([32]byte(local)),
		}, nil
	}
	keeper, err := secrets.OpenKeeper(ctx, key)
	if err != nil {
		return Master{}, fmt.Errorf("open the key of %s: %w", u.Scheme, err)
	}
	u.RawQuery = "" // how to reach it, not which it is
	return Master{id: fingerprint("hirewire master key", u.String()), keeper: keeper}, nil
}

// ID names the key without giving it away; it is stored beside what the key sealed.
func (m Master) ID() string { return m.id }

// Close releases the key.
func (m Master) Close() error { return m.keeper.Close() }

func fingerprint(purpose, key string) string {
	sum := sha256.Sum256([]byte(purpose + "\x00" + key))
	return hex.EncodeToString(sum[:8])
}
