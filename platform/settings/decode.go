package settings

import (
	"encoding"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// decode sets a value from text. Errors of our own types never repeat the text.
func decode(v *kong.Value, text string) error {
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Target.Addr()); ok {
		return u.UnmarshalText([]byte(text))
	}
	v.Target.SetZero()
	ctx := &kong.DecodeContext{Value: v, Scan: kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: text})}
	if err := v.Mapper.Decode(ctx, v.Target); err != nil {
		return err
	}
	if v.Enum != "" && !slices.Contains(v.EnumSlice(), fmt.Sprint(v.Target.Interface())) {
		return fmt.Errorf("must be one of %s", strings.Join(v.EnumSlice(), ", "))
	}
	return nil
}

const maxSecretFile = 64 << 10

func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	switch {
	case err != nil:
		return "", err
	case len(b) > maxSecretFile:
		return "", fmt.Errorf("%s: larger than 64 KiB", path)
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return "", fmt.Errorf("%s: empty", path)
	}
	return text, nil
}
