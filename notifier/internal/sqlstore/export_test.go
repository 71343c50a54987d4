package sqlstore

// Generic makes the store run the statements that are made for both engines.
func (s *Store) Generic() *Store {
	s.generic = true
	return s
}
