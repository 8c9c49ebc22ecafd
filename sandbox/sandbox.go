// Package sandbox is a small stand-in for a Medplum server (5.0.10), faithful on the wire where labagent looks: the token
// endpoint, FHIR R4 create, conditional create, conditional update, read, update, delete, search, batch and transaction,
// AccessPolicy, /auth/me, /healthcheck, quotas with their RateLimit headers, and the ways a real one fails. It serves
// `labagent demo` and the tests; it keeps everything in memory.
//
// It is checked against recorded exchanges of a real server (wire_test.go). Left out: bots, agents and the websocket,
// Binary, GraphQL, asynchronous batches, FHIRPath in policies, vread and history.
package sandbox

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Options says how the server is set up; the zero value is a Medplum project as it comes.
type Options struct {
	// BaseURL is the server's public address, with a final slash; empty: what the request's Host says.
	BaseURL string
	// Clock is the server's clock; nil: time.Now.
	Clock func() time.Time
	// Transactions is the project feature transaction-bundles; without it a transaction is carried out as a batch.
	Transactions bool
	// CheckReferences is the project flag checkReferencesOnWrite.
	CheckReferences bool
	// Quota is the FHIR units a membership may spend in a minute; 0: 50,000, a fresh project's.
	Quota int
	// AuthLimit is the requests a minute and address to /auth and /oauth2; 0: 160.
	AuthLimit int
	// RequestLimit is the requests a minute and address to everything else; 0: 60,000.
	RequestLimit int
	// ResourceCap is how many resources the project may hold; 0: any number.
	ResourceCap int
	// Seed makes ids, tokens and conflicts repeatable.
	Seed uint64
	// Seen is told of every request after it was answered, outside any lock; nil: nobody is.
	Seen func(Seen)
}

// Seen is one request as the server answered it.
type Seen struct {
	At           time.Time
	Method, Path string
	Status       int // 0: the connection was dropped
}

// Server is the stand-in. It is an http.Handler, and an http.RoundTripper for clients in the same process. It is safe for
// concurrent use and starts no goroutine.
type Server struct {
	o Options

	mu       sync.Mutex
	random   *rand.Rand
	clients  map[string]*Client
	tokens   map[string]login
	store    store
	windows  map[string]*window
	switches Switches
	turned   chan struct{} // closed and renewed whenever a switch is turned
	inflight int           // conditional writes under way
}

// New returns a server with no clients and no resources.
func New(o Options) *Server {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Quota == 0 {
		o.Quota = 50_000
	}
	if o.AuthLimit == 0 {
		o.AuthLimit = 160
	}
	if o.RequestLimit == 0 {
		o.RequestLimit = 60_000
	}
	s := &Server{
		o:       o,
		random:  rand.New(rand.NewPCG(o.Seed, 0x6d6564706c756d)),
		clients: map[string]*Client{},
		tokens:  map[string]login{},
		windows: map[string]*window{},
		turned:  make(chan struct{}),
	}
	s.switches.Quota = o.Quota
	s.store.records, s.store.known = map[string]*record{}, map[string][]*record{}
	return s
}

// ServeHTTP answers one request as Medplum would.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{s: s, r: r, w: w}
	defer func() {
		if s.o.Seen != nil {
			s.o.Seen(Seen{At: s.o.Clock(), Method: r.Method, Path: r.URL.Path, Status: c.status})
		}
	}()
	c.serve()
}

// Resources lists the resources of a type as they are now, in the order they were created.
func (s *Server) Resources(resourceType string) []json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []json.RawMessage
	for _, rec := range s.store.ofType(resourceType) {
		list = append(list, rec.json())
	}
	return list
}

// Put stores a resource as it is, past all rules, as a test's beginning, in place of the one with the id that is given; it
// returns the id.
func (s *Server) Put(resource []byte) (string, error) {
	var body map[string]any
	if err := json.Unmarshal(resource, &body); err != nil {
		return "", fmt.Errorf("read resource: %w", err)
	}
	typ, _ := body["resourceType"].(string)
	if typ == "" {
		return "", fmt.Errorf("read resource: no resourceType")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id, _ := body["id"].(string)
	if id == "" {
		id = s.uuid()
	}
	if rec := s.store.get(typ, id); rec != nil {
		rec.body = body
		s.stamp(rec)
		return id, nil
	}
	rec := &record{typ: typ, id: id, body: body}
	s.stamp(rec)
	s.store.add(rec)
	return id, nil
}

// uuid makes an id; the lock must be held.
func (s *Server) uuid() string {
	a, b := s.random.Uint64(), s.random.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x", a>>32, a>>16&0xffff, a&0xfff, 0x8000|b>>48&0x3fff, b&0xffffffffffff)
}
