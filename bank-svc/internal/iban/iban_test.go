package iban

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// published are the examples of the SWIFT IBAN registry, but for those whose account number has letters.
var published = map[string]string{
	"AT": "AT611904300234573201",
	"BE": "BE68539007547034",
	"CH": "CH9300762011623852957",
	"CZ": "CZ6508000000192000145399",
	"DE": "DE89370400440532013000",
	"DK": "DK5000400440116243",
	"EE": "EE382200221020145685",
	"ES": "ES9121000418450200051332",
	"FI": "FI2112345600000785",
	"FR": "FR7630006000011234567890189", // The registry's own has a letter; this is the example of the French banks.
	"GB": "GB29NWBK60161331926819",
	"GR": "GR1601101250000000012300695",
	"IE": "IE29AIBK93115212345678",
	"IT": "IT60X0542811101000000123456",
	"LI": "",
	"LT": "LT121000011101001000",
	"LU": "LU280019400644750000",
	"LV": "LV80BANK0000435195001",
	"MC": "MC5811222000010123456789030",
	"NL": "NL91ABNA0417164300",
	"NO": "NO9386011117947",
	"PL": "PL61109010140000071219812874",
	"PT": "PT50000201231234567890154",
	"SE": "SE4550000000058398257466",
	"SI": "SI56263300012039086",
	"SK": "SK3112000000198742637541",
	"SM": "SM86U0322509800000000270100",
}

func TestPublishedExamples(t *testing.T) {
	for country, want := range published {
		t.Run(country, func(t *testing.T) {
			s, ok := schemes[country]
			if !ok {
				t.Fatal("no scheme")
			}
			if want == "" {
				return
			}
			bban := []byte(want[4:])
			if len(bban) != len(s.layout) {
				t.Fatalf("the layout has %d places, the example %d", len(s.layout), len(bban))
			}
			for i, c := range []byte(s.layout) {
				if c == 'k' {
					bban[i] = '?'
				}
			}
			if s.check != nil && !s.check(bban) {
				t.Fatal("no national check digits")
			}
			if got := withCheckDigits(country, string(bban)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
	if len(published) != len(schemes) {
		t.Errorf("%d examples for %d countries", len(published), len(schemes))
	}
}

// lengths are those of the SWIFT registry.
var lengths = map[string]int{
	"AT": 20, "BE": 16, "CH": 21, "CZ": 24, "DE": 22, "DK": 18, "EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27, "IE": 22,
	"IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
}

var form = regexp.MustCompile(`^[A-Z]{2}[0-9]{2}[A-Z0-9]+$`)

// valid checks as a reader of the standard would: by one big number.
func valid(t interface{ Fatalf(string, ...any) }, country, n string) {
	if len(n) != lengths[country] || !form.MatchString(n) {
		t.Fatalf("%s: malformed %q", country, n)
	}
	var digits strings.Builder
	for _, c := range n[4:] + n[:4] {
		if c >= 'A' {
			digits.WriteString(big.NewInt(int64(c - 'A' + 10)).String())
		} else {
			digits.WriteRune(c)
		}
	}
	v, _ := new(big.Int).SetString(digits.String(), 10)
	if v.Mod(v, big.NewInt(97)).Int64() != 1 {
		t.Fatalf("%s: wrong check digits in %q", country, n)
	}
}

func TestNumbersAreValidAndDistinct(t *testing.T) {
	for _, country := range Countries() {
		t.Run(country, func(t *testing.T) {
			is, err := NewIssuer(country, "Bank of Tests")
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for serial := int64(1); serial <= 5000; serial++ {
				n, err := is.Number(serial)
				if err != nil {
					t.Fatal(err)
				}
				valid(t, country, n)
				if seen[n] {
					t.Fatalf("%s twice", n)
				}
				seen[n] = true
			}
			if _, err := is.Number(0); !errors.Is(err, ErrExhausted) {
				t.Errorf("serial 0: %v", err)
			}
			if n, err := is.Number(is.Capacity()); err != nil {
				t.Errorf("the last one: %v", err)
			} else {
				valid(t, country, n)
			}
			if _, err := is.Number(is.Capacity() + 1); !errors.Is(err, ErrExhausted) {
				t.Errorf("one more: %v", err)
			}
			if _, err := is.Number(1 << 62); !errors.Is(err, ErrExhausted) {
				t.Errorf("serial 2^62: %v", err)
			}
		})
	}
}

func TestDifferentSerialsNeverShareANumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		country := rapid.SampledFrom(Countries()).Draw(t, "country")
		is, err := NewIssuer(country, rapid.String().Draw(t, "bank"))
		if err != nil {
			t.Fatal(err)
		}
		a := rapid.Int64Range(1, 1_000_000_000_000).Draw(t, "a")
		b := rapid.Int64Range(1, 1_000_000_000_000).Draw(t, "b")
		na, errA := is.Number(a)
		nb, errB := is.Number(b)
		if errA != nil || errB != nil {
			return // beyond the layout
		}
		valid(t, country, na)
		valid(t, country, nb)
		if (na == nb) != (a == b) {
			t.Fatalf("serials %d and %d have numbers %s and %s", a, b, na, nb)
		}
	})
}

// Codes that are made of names use all that the layout has: of fifty banks, few share a code of three digits, and none a longer one.
func TestBanksOfOneCountryIssueDifferentNumbers(t *testing.T) {
	for _, country := range Countries() {
		t.Run(country, func(t *testing.T) {
			banks := map[string]string{}
			shared := 0
			for i := range 50 {
				name := fmt.Sprintf("Bank %d", i)
				is, _ := NewIssuer(country, name)
				n, err := is.Number(1)
				if err != nil {
					t.Fatal(err)
				}
				if banks[n] != "" {
					shared++
				}
				banks[n] = name
			}
			most := 0
			if strings.Count(schemes[country].layout, "b") <= 4 && !strings.Contains(schemes[country].layout, "B") {
				most = 3
			}
			if shared > most {
				t.Errorf("%d of 50 banks share a code", shared)
			}
		})
	}
}

func TestAssignedCodes(t *testing.T) {
	tests := []struct{ country, code, number, problem string }{
		{"DE", "37040044", "37040044", ""},
		{"GB", "NWBK601613", "NWBK601613", ""},
		{"PL", "1090101", "1090101", ""},
		{"NL", "ABNA", "ABNA", ""},
		{"DE", "3704004", "", "must have 8 digits"},
		{"DE", "370400441", "", "must have 8 digits"},
		{"DE", "3704004X", "", "must have 8 digits"},
		{"DE", "3704004\xb2", "", "must have 8 digits"},
		{"GB", "nwbk601613", "", "must have 4 letters from A to Z and 6 digits"},
		{"NL", "ABN1", "", "must have 4 letters from A to Z"},
	}
	for _, tt := range tests {
		t.Run(tt.country+" "+tt.code, func(t *testing.T) {
			is, err := NewIssuer(tt.country, "Bank")
			if err != nil {
				t.Fatal(err)
			}
			if is, err = is.WithCode(tt.code); tt.problem != "" {
				if err == nil || err.Error() != tt.problem {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			n, err := is.Number(1)
			if err != nil {
				t.Fatal(err)
			}
			valid(t, tt.country, n)
			if !strings.HasPrefix(n[4:], tt.number) {
				t.Errorf("%s", n)
			}
		})
	}
}

func TestUnknownCountry(t *testing.T) {
	for _, c := range []string{"", "ZZ", "de"} {
		if _, err := NewIssuer(c, "x"); err == nil {
			t.Errorf("%q is taken", c)
		}
	}
}

func BenchmarkNumber(b *testing.B) {
	is, _ := NewIssuer("DE", "Bank")
	b.ReportAllocs()
	for i := int64(1); b.Loop(); i++ {
		if _, err := is.Number(i); err != nil {
			b.Fatal(err)
		}
	}
}
