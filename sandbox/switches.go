package sandbox

import "time"

// Switches are the ways the server can be made to fail.
type Switches struct {
	// Off drops every connection before anything of it is read, as a server that is down does.
	Off bool
	// LoseAnswers is how many of the next FHIR writes are carried out with their answer lost on the way.
	LoseAnswers int
	// DatabaseDown is Postgres stopped: 400 with ECONNREFUSED for writes, tokens and Basic, 500 for /healthcheck.
	DatabaseDown bool
	// RedisDown is Redis stopped: requests hang until it is back; then every token issued before is gone.
	RedisDown bool
	// Delay is how long each FHIR request takes before it is carried out.
	Delay time.Duration
	// Conflicts is how many of the next conditional writes are answered 409, beside those that happen by themselves when
	// conditional writes overlap.
	Conflicts int
	// Quota is the FHIR units a membership may spend in a minute; it begins as Options.Quota.
	Quota int
	// Fail answers a write of a resource in the server's place, nil lets it pass: a poisoned resource, a broken proxy. It is
	// called under the server's lock.
	Fail func(resourceType string, resource []byte) *Failure
}

// Failure is an answer to a write made up by a test.
type Failure struct {
	Status     int    // the HTTP status
	Code       string // the code
	Text       string // the text
	Expression string // where in the resource, may be empty
}

// Switch turns switches: f changes them under the server's lock.
func (s *Server) Switch(f func(*Switches)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	down := s.switches.RedisDown
	f(&s.switches)
	if down && !s.switches.RedisDown {
		clear(s.tokens)
	}
	close(s.turned)
	s.turned = make(chan struct{})
}

// DropTokens forgets every token issued so far, as a flush or a restart of Redis does.
func (s *Server) DropTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

func (s *Server) switched() (Switches, chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.switches, s.turned
}

// spend takes one of a counted switch.
func (s *Server) spend(counter func(*Switches) *int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := counter(&s.switches)
	if *n == 0 {
		return false
	}
	*n--
	return true
}
