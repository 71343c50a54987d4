package employee

import (
	"strings"
	"time"
)

// cleanDate takes a real calendar date from 1900 to 2100.
func cleanDate(s string) (string, string) {
	t, err := time.Parse(time.DateOnly, s)
	switch {
	case err != nil:
		return "", "must be a calendar date, YYYY-MM-DD"
	case t.Year() < 1900 || t.Year() > 2100:
		return "", "must be between 1900-01-01 and 2100-12-31"
	}
	return s, ""
}

func cleanCountry(s string) (string, string) {
	if !countries[s] {
		return "", "must be a country of ISO 3166-1 alpha-2, such as DE"
	}
	return s, ""
}

func cleanCurrency(s string) (string, string) {
	if !currencies[s] {
		return "", "must be a currency of ISO 4217 in which accounts are kept, such as EUR"
	}
	return s, ""
}

func set(codes string) map[string]bool {
	m := make(map[string]bool)
	for code := range strings.FieldsSeq(codes) {
		m[code] = true
	}
	return m
}

// countries are the officially assigned codes of ISO 3166-1 alpha-2.
var countries = set(`
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR
GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT
JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY
MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM
PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW
SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ
UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW`)

// currencies are the active codes of ISO 4217 (list one, 2026) without funds codes, metals, units of account, and the codes
// for testing and for no currency: in none of those is an account kept.
var currencies = set(`
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD
CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD
HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD
MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG
QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS
UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG`)
