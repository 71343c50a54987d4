package iban

import "fmt"

// weighted is the sum of each digit times its weight; the weights repeat.
func weighted(digits []byte, weights ...int) int {
	sum := 0
	for i, d := range digits {
		sum += int(d-'0') * weights[i%len(weights)]
	}
	return sum
}

func number(digits []byte) int64 {
	var n int64
	for _, d := range digits {
		n = n*10 + int64(d-'0')
	}
	return n
}

func digit(n int) byte { return '0' + byte(n) }

func two(to []byte, n int64) { copy(to, fmt.Sprintf("%02d", n)) }

// belgium: the remainder of the ten digits by 97, where 0 is 97.
func belgium(b []byte) bool {
	r := number(b[:10]) % 97
	if r == 0 {
		r = 97
	}
	two(b[10:], r)
	return true
}

// czech (and Slovak): the account number's weighted sum is divisible by 11.
func czech(b []byte) bool {
	return elevenCheck(b[10:], 6, 3, 7, 9, 10, 5, 8, 4, 2)
}

// netherlands: the elfproef; the ten digits of the account, weighted 10 to 1, are divisible by 11.
func netherlands(b []byte) bool {
	return elevenCheck(b[4:], 10, 9, 8, 7, 6, 5, 4, 3, 2)
}

// norway: the eleven digits, weighted 5 4 3 2 7 6 5 4 3 2 1, are divisible by 11.
func norway(b []byte) bool {
	return elevenCheck(b, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
}

// elevenCheck sets the last digit, of weight 1, so that the weighted sum is divisible by 11. Where that needs a 10, there is none.
func elevenCheck(b []byte, weights ...int) bool {
	last := len(b) - 1
	check := (11 - weighted(b[:last], weights...)%11) % 11
	if check == 10 {
		return false
	}
	b[last] = digit(check)
	return true
}

// estonia: the 7-3-1 method over the account number after the bank's two digits.
func estonia(b []byte) bool {
	sum := 0
	for i, w := 14, 0; i >= 2; i, w = i-1, w+1 {
		sum += int(b[i]-'0') * []int{7, 3, 1}[w%3]
	}
	b[15] = digit((10 - sum%10) % 10)
	return true
}

// spain: one digit over bank and branch, one over the account; 11 less the remainder by 11, where 10 is 1 and 11 is 0.
func spain(b []byte) bool {
	check := func(sum int) byte {
		switch c := 11 - sum%11; c {
		case 10:
			return '1'
		case 11:
			return '0'
		default:
			return digit(c)
		}
	}
	weights := []int{1, 2, 4, 8, 5, 10, 9, 7, 3, 6}
	b[8] = check(weighted(b[:8], weights[2:]...))
	b[9] = check(weighted(b[10:], weights...))
	return true
}

// finland: Luhn over the thirteen digits.
func finland(b []byte) bool {
	sum := 0
	for i, d := range b[:13] {
		n := int(d - '0')
		if i%2 == 0 {
			if n *= 2; n > 9 {
				n -= 9
			}
		}
		sum += n
	}
	b[13] = digit((10 - sum%10) % 10)
	return true
}

// france (and Monaco): the clé RIB, 97 less (89 bank + 15 branch + 3 account) by 97. Our accounts have digits only.
func france(b []byte) bool {
	two(b[21:], 97-(89*number(b[:5])+15*number(b[5:10])+3*number(b[10:21]))%97)
	return true
}

// italy (and San Marino): the CIN, a letter; digits in odd places count by a table, those in even places as they are.
func italy(b []byte) bool {
	odd := [10]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21}
	sum := 0
	for i, d := range b[1:] {
		if i%2 == 0 {
			sum += odd[d-'0']
		} else {
			sum += int(d - '0')
		}
	}
	b[0] = 'A' + byte(sum%26)
	return true
}

// poland: the bank's eight digits, weighted 3 9 7 1 and again, are divisible by 10.
func poland(b []byte) bool {
	b[7] = digit((10 - weighted(b[:7], 3, 9, 7, 1)%10) % 10)
	return true
}

// mod97Check (Portugal, Slovenia): ISO 7064 mod 97-10 over all before it.
func mod97Check(b []byte) bool {
	n := len(b) - 2
	two(b[n:], int64(98-mod97(string(b[:n])+"00")))
	return true
}
