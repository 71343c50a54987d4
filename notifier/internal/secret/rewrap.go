package secret

import (
	"context"
	"fmt"
)

// Text is a sealed text where it is stored.
type Text struct {
	Place   string // which kind of row
	ID      string // which row
	Subject string // what it was sealed for
	KeyID   string // the data key that it opens with
	Sealed  []byte
}

// Texts are all sealed texts that are stored.
type Texts interface {
	// SealedOtherwise are at most limit texts that open with another data key than the given one.
	SealedOtherwise(ctx context.Context, keyID string, limit int) ([]Text, error)
	// Reseal puts another sealed form in the place of a text, unless that has changed meanwhile.
	Reseal(ctx context.Context, was Text, keyID string, sealed []byte) error
	// ReplaceDataKey stores a data key in another sealed form.
	ReplaceDataKey(ctx context.Context, k DataKey) error
}

// resealAtOnce is how many texts are read at a time.
const resealAtOnce = 200

// Rewrap seals everything anew: with a new data key, and all data keys with the first master key, so that the other master
// keys are not needed any more. It may run while replicas do that have all the master keys, and again after it was broken off.
// It answers with how many texts it sealed.
func (b *Box) Rewrap(ctx context.Context, texts Texts) (int, error) {
	if err := b.Renew(ctx); err != nil {
		return 0, err
	}
	if err := b.rewrapKeys(ctx, texts); err != nil {
		return 0, err
	}
	for n := 0; ; {
		batch, err := texts.SealedOtherwise(ctx, b.Current(), resealAtOnce)
		if err != nil {
			return n, fmt.Errorf("read sealed texts: %w", err)
		}
		if len(batch) == 0 {
			return n, nil
		}
		for _, t := range batch {
			plain, err := b.Open(ctx, t.Subject, t.KeyID, t.Sealed)
			if err != nil {
				return n, fmt.Errorf("rewrap %s %s: %w", t.Place, t.ID, err)
			}
			keyID, sealed, err := b.Seal(ctx, t.Subject, plain)
			if err != nil {
				return n, fmt.Errorf("rewrap %s %s: %w", t.Place, t.ID, err)
			}
			if err := texts.Reseal(ctx, t, keyID, sealed); err != nil {
				return n, fmt.Errorf("rewrap %s %s: %w", t.Place, t.ID, err)
			}
			n++
		}
	}
}

// rewrapKeys seals the data keys of other master keys with the first: replicas may still seal with them.
func (b *Box) rewrapKeys(ctx context.Context, texts Texts) error {
	stored, err := b.store.DataKeys(ctx)
	if err != nil {
		return fmt.Errorf("read data keys: %w", err)
	}
	first := b.masters[0]
	for _, k := range stored {
		if k.MasterID == first.id {
			continue
		}
		raw, err := b.unseal(ctx, k)
		if err != nil {
			return err
		}
		k.MasterID = first.id
		if k.Sealed, err = first.keeper.Encrypt(ctx, bound(k.ID, string(raw[:]))); err != nil {
			return fmt.Errorf("seal data key %s with master key %s: %w", k.ID, first.id, err)
		}
		if err := texts.ReplaceDataKey(ctx, k); err != nil {
			return fmt.Errorf("store data key %s: %w", k.ID, err)
		}
	}
	return nil
}

// Refresh takes over data keys that others have made, so that the newest seals.
func (b *Box) Refresh(ctx context.Context) error { return b.load(ctx) }
