package webhook

// RawSecret makes a secret of any bytes, for published vectors that are shorter
// than ParseSecret allows and for attacks with such keys.
func RawSecret(raw []byte) Secret { return newSecret(raw) }
