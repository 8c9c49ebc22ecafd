package upload

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"labagent/auth"
	"labagent/fhir"
	"labagent/filing"
	"labagent/lab"
	"labagent/queue"
	"labagent/sandbox"
)

const tagSystem, tagCode = "urn:labagent", "lab-7"

// policy is the smallest that does: create and search, limited by the tag (medplum.md 4).
func policy() *sandbox.Policy {
	rule := func(typ string) sandbox.Rule {
		return sandbox.Rule{ResourceType: typ, Interaction: []string{"create", "search"}, Criteria: typ + "?_tag=" + tagSystem + "|" + tagCode}
	}
	return &sandbox.Policy{Resource: []sandbox.Rule{rule("Observation"), rule("DiagnosticReport")}}
}

// stand is a queue, a server and what is between them, in one synctest bubble.
type stand struct {
	t      *testing.T
	dir    string
	queue  *queue.Queue
	server *sandbox.Server
	client sandbox.Client
	secret string // given to the agent; the client's own unless a test changes it
	lanes  []Lane
	watch  *watcher
	log    *bytes.Buffer
	stop   func()

	mu   sync.Mutex
	seen []sandbox.Seen
}

type watcher struct {
	mu        sync.Mutex
	states    []State
	delivered []uint64
}

func (w *watcher) Server(s State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states = append(w.states, s)
}

func (w *watcher) Delivered(_ string, id uint64, _ time.Time, _ int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delivered = append(w.delivered, id)
}

func (w *watcher) last() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.states) == 0 {
		return State{}
	}
	return w.states[len(w.states)-1]
}

// decode reads the messages of these tests: a lab.Report as JSON, or words that stand for trouble.
func decode(item *queue.Item) (lab.Report, error) {
	var r lab.Report
	if string(item.Text) == "panic" {
		var none []int
		_ = none[len(item.Text)]
	}
	err := json.Unmarshal(item.Text, &r)
	return r, err
}

func newStand(t *testing.T, o sandbox.Options) *stand {
	t.Helper()
	s := &stand{t: t, dir: t.TempDir(), watch: &watcher{}, log: &bytes.Buffer{}}
	o.Seen = func(seen sandbox.Seen) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen = append(s.seen, seen)
	}
	s.server = sandbox.New(o)
	s.client = s.server.AddClient(sandbox.Client{Policy: policy()})
	s.secret = s.client.Secret
	for _, name := range []string{"alpha", "beta"} {
		s.lanes = append(s.lanes, Lane{
			Analyzer: name, Decode: decode,
			Rules:   &filing.Rules{Analyzer: name, Deliver: true},
			Setting: fhir.Setting{Analyzer: name, TagSystem: tagSystem, TagCode: tagCode},
		})
	}
	var err error
	if s.queue, err = queue.Open(s.dir, queue.Options{KeepDelivered: 1000 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	ctx, end := context.WithCancel(t.Context())
	running.Go(func() { s.queue.Run(ctx) })
	t.Cleanup(func() {
		if s.stop != nil {
			s.stop()
		}
		s.queue.Close()
		end()
		running.Wait()
	})
	return s
}

// start runs an uploader through a freshly started auth; call stop before the next.
func (s *stand) start(network http.RoundTripper) {
	s.t.Helper()
	if network == nil {
		network = s.server
	}
	h, err := auth.Client(auth.Config{
		ClientID: s.client.ID, Secret: func() (string, error) { return s.secret, nil }, Server: base, Network: network,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.run(&fhir.Client{HTTP: h, Base: base})
}

// base is the server's address; http, so that it also serves where there are pipes and no certificates.
const base = "http://127.0.0.1/"

func (s *stand) run(server Server) {
	u := &Uploader{Queue: s.queue, Server: server, Lanes: s.lanes, Watch: s.watch, Log: slog.New(slog.NewTextHandler(s.log, nil))}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := u.Run(ctx); err != nil {
			s.t.Errorf("Run: %v", err)
		}
	}()
	s.stop = func() { cancel(); <-done; s.stop = nil }
}

// panel is a message of one specimen with results "CODE=value".
func panel(specimen string, results ...string) lab.Report {
	r := lab.Report{Type: "ASTM", Parts: []lab.Part{{Specimen: specimen}}}
	for _, line := range results {
		code, value, _ := strings.Cut(line, "=")
		r.Parts[0].Results = append(r.Parts[0].Results, lab.Result{
			Test: lab.Code{Code: code}, Value: lab.Value{Kind: lab.Number, Raw: value, Number: value}, Unit: "mmol/L", Status: "F",
			Slot: [][]byte{[]byte(specimen), []byte(code)}, Version: [][]byte{[]byte(value)},
		})
	}
	return r
}

func codes(n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("T%d=%d.5", i, i))
	}
	return list
}

// put stores a message and returns the item's id.
func (s *stand) put(analyzer string, r lab.Report) uint64 {
	text, err := json.Marshal(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.putText(analyzer, string(text), lab.Whole)
}

func (s *stand) putText(analyzer, text string, mark lab.Mark) (id uint64) {
	s.t.Helper()
	pieces := []lab.Piece{{Text: []byte(text), Mark: mark, Received: time.Now()}}
	if err := s.queue.Line(analyzer, "astm").Append(s.t.Context(), pieces); err != nil {
		s.t.Fatal(err)
	}
	s.queue.List(func(i *queue.Item) bool { id = max(id, i.ID); return true }, false, append(slices.Clone(queue.Undelivered), queue.Delivered)...)
	return id
}

func (s *stand) item(id uint64) *queue.Item {
	s.t.Helper()
	item, err := s.queue.Get(id)
	if err != nil {
		s.t.Fatal(err)
	}
	return item
}

// settle waits until nothing is waiting in the queue; it fails after the patience.
func (s *stand) settle(patience time.Duration) (took time.Duration) {
	s.t.Helper()
	began := time.Now()
	for time.Since(began) < patience {
		synctest.Wait()
		waiting := 0
		s.queue.List(func(*queue.Item) bool { waiting++; return true }, false, queue.Waiting)
		if waiting == 0 {
			return time.Since(began)
		}
		time.Sleep(patience / 2000)
	}
	s.t.Fatalf("something still waits after %v; state %+v", patience, s.watch.last())
	return 0
}

// resource is the little these tests look at.
type resource struct {
	ID         string
	Identifier []struct{ System, Value string }
	Code       struct{ Text string }
	Status     string
	Specimen   json.RawMessage
	Result     []struct{ Reference string }
	Extension  []struct {
		URL          string
		ValueInteger int
	}
}

func (r resource) identifier(system string) string {
	for _, i := range r.Identifier {
		if i.System == system {
			return i.Value
		}
	}
	return ""
}

func (s *stand) resources(typ string) []resource {
	s.t.Helper()
	var list []resource
	for _, text := range s.server.Resources(typ) {
		var r resource
		if err := json.Unmarshal(text, &r); err != nil {
			s.t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// holds checks that the server has so many Observations and sheets, none twice, no reference to nothing.
func (s *stand) holds(observations, sheets int) {
	s.t.Helper()
	ids := map[string]bool{}
	for _, kind := range []struct {
		typ, system string
		want        int
	}{{"Observation", "urn:labagent:observation", observations}, {"DiagnosticReport", "urn:labagent:sheet", sheets}} {
		list := s.resources(kind.typ)
		if len(list) != kind.want {
			s.t.Errorf("%d %ss on the server, want %d", len(list), kind.typ, kind.want)
		}
		once := map[string]bool{}
		for _, r := range list {
			ids[kind.typ+"/"+r.ID] = true
			if v := r.identifier(kind.system); v == "" || once[v] {
				s.t.Errorf("%s with the identifier %q: twice, or none", kind.typ, v)
			} else {
				once[v] = true
			}
			for _, ref := range r.Result {
				if !ids[ref.Reference] {
					s.t.Errorf("a sheet refers to %s, which is not there", ref.Reference)
				}
			}
		}
	}
}

// count is how many requests were answered with a status (0: any) under a path.
func (s *stand) count(path string, status int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, seen := range s.seen {
		if strings.HasPrefix(seen.Path, path) && (status == 0 || seen.Status == status) {
			n++
		}
	}
	return n
}

func (s *stand) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = nil
}

// roundTrip is a network made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// creates is a Server made of a function; it is always well.
type creates func(resources []fhir.Resource) (fhir.Reply, error)

func (f creates) Create(_ context.Context, resources []fhir.Resource) (fhir.Reply, error) {
	return f(resources)
}

func (creates) Health(context.Context) error { return nil }

// stored answers that all is new.
func stored(resources []fhir.Resource) []fhir.Outcome {
	var list []fhir.Outcome
	for i := range resources {
		list = append(list, fhir.Outcome{Class: fhir.Stored, Status: 201, ID: fmt.Sprint("id", i)})
	}
	return list
}
