package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"labagent/astm"
	"labagent/config"
	"labagent/driver"
	"labagent/hl7"
	"labagent/queue"
	"labagent/sandbox"
	"labagent/status"
)

// bubble is a whole laboratory in a synctest bubble: analyzers on pipes, the agent with its disk in a directory of the
// test, a server in place of the network. Time is fake and begins at midnight of 2000-01-01 UTC; only the disk is real.
type bubble struct {
	*testing.T
	cfg    config.Config
	server *sandbox.Server
	out    outside

	log   *texts // all that the agent logged
	bells *texts // all that was said to alarm.webhook
	lines map[string]chan net.Conn

	mu   sync.Mutex
	seen func(sandbox.Seen) // told of every request to the server; may be nil

	*plant        // the agent that runs
	cancel func() // tells it to end
	stop   func() // and waits until it has
	err    error  // with which it ended
}

// Two analyzers that know the tests of these fixtures, and a server's address nobody reaches but through the sandbox.
const (
	serverURL  = "https://medplum.example/"
	webhookURL = "https://bells.example/ring"
)

// inBubble runs a test in a laboratory with one ASTM and one HL7 analyzer. The agent is not started yet.
func inBubble(t *testing.T, test func(b *bubble)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{T: t, log: &texts{}, bells: &texts{}, lines: map[string]chan net.Conn{}}
		b.server = sandbox.New(sandbox.Options{Seen: b.told})
		client, err := demoClient(b.server)
		if err != nil {
			t.Fatal(err)
		}
		b.cfg = config.Default()
		b.cfg.Server.URL = serverURL
		b.cfg.Auth.ClientID, b.cfg.Auth.ClientSecret = client.ID, config.NewSecret(client.Secret)
		b.cfg.Deliver.Tag = demoTag
		b.cfg.Queue.Dir = dir
		b.cfg.Alarm.Webhook = webhookURL
		b.cfg.Analyzers = []config.Analyzer{
			{Name: "hema", Protocol: "astm", Timezone: "UTC", Codes: []config.Code{
				{Code: "WBC", LOINC: "6690-2", Unit: "10*3/uL"}, {Code: "HGB", LOINC: "718-7", Unit: "g/dL"},
			}},
			{Name: "chem", Protocol: "hl7", Timezone: "UTC", Codes: []config.Code{
				{Code: "GLU", LOINC: "15074-8", Unit: "mmol/L"}, {Code: "K", LOINC: "2823-3", Unit: "mmol/L"},
			}},
		}
		b.out = outside{
			log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})), quiet: true,
			network: network{b}, port: b.port, built: func(p *plant) { b.plant = p },
		}
		b.stop = func() {}
		defer func() { b.stop() }()
		test(b)
	})
}

// start starts the agent; it ends with the test, or with b.stop.
func (b *bubble) start() {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	cfg := b.cfg
	go func() {
		defer close(ended)
		b.err = run(ctx, &cfg, b.out)
	}()
	b.cancel = cancel
	b.stop = sync.OnceFunc(func() { cancel(); <-ended })
	synctest.Wait()
	if b.plant == nil {
		b.stop()
		b.Fatalf("the agent did not start: %v", b.err)
	}
}

// restart ends the agent and starts it anew on the same disk.
func (b *bubble) restart() {
	b.Helper()
	b.stop()
	b.start()
}

// after lets time pass and everything that is due then happen.
func (b *bubble) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// port gives the analyzer's driver what dial sends.
func (b *bubble) port(name string) driver.Port {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lines[name] == nil {
		b.lines[name] = make(chan net.Conn)
	}
	return pipes(b.lines[name])
}

// pipes is a Port whose lines are pipes.
type pipes chan net.Conn

func (p pipes) Lines(ctx context.Context, _ *slog.Logger, serve driver.Serve, _ func(error)) error {
	var lines sync.WaitGroup
	defer lines.Wait()
	for {
		select {
		case conn := <-p:
			lines.Go(func() { serve(ctx, "pipe", conn) })
		case <-ctx.Done():
			return nil
		}
	}
}

// network is the sandbox, and beside it the address of the alarm.
type network struct{ *bubble }

func (n network) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(r.URL.String(), webhookURL) {
		return n.server.RoundTrip(r)
	}
	if _, err := io.Copy(n.bells, r.Body); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody, Request: r}, nil
}

// watch has f told of every request from now on; f must not wait.
func (b *bubble) watch(f func(sandbox.Seen)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = f
}

func (b *bubble) told(s sandbox.Seen) {
	b.mu.Lock()
	f := b.seen
	b.mu.Unlock()
	if f != nil {
		f(s)
	}
}

// texts collects what is written by many.
type texts struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *texts) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *texts) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// wire is the analyzer's end of a line. It reads all the time, as analyzers do.
type wire struct {
	*bubble
	conn net.Conn
	came texts
	read int // of came, by answer
	gone chan struct{}
}

// dial connects an analyzer.
func (b *bubble) dial(name string) *wire {
	ours, theirs := net.Pipe()
	w := &wire{bubble: b, conn: ours, gone: make(chan struct{})}
	b.lines[name] <- theirs
	go func() {
		defer close(w.gone)
		io.Copy(&w.came, ours)
	}()
	b.Cleanup(func() { ours.Close(); <-w.gone })
	synctest.Wait()
	return w
}

func (w *wire) close() {
	w.conn.Close()
	synctest.Wait()
}

// send writes bytes and lets everything happen that they bring about.
func (w *wire) send(p string) {
	w.Helper()
	if _, err := w.conn.Write([]byte(p)); err != nil {
		w.Fatalf("send: %v", err)
	}
	synctest.Wait()
}

// answer is what came since the last call.
func (w *wire) answer() string {
	all := w.came.String()
	text := all[w.read:]
	w.read = len(all)
	return text
}

// want fails the test unless exactly that was answered since.
func (w *wire) want(answer string) {
	w.Helper()
	if got := w.answer(); got != answer {
		w.Fatalf("answered %q, want %q", got, answer)
	}
}

const (
	enq, ack, nak, eot = "\x05", "\x06", "\x15", "\x04"
	vt, fs             = "\x0b", "\x1c\r"
)

// astm sends a message in a session of its own, a record a frame, and wants every frame acknowledged.
func (w *wire) astm(message string) {
	w.Helper()
	w.send(enq)
	w.want(ack)
	for i, text := range astm.Split([]byte(message), 0) {
		w.send(frame(i+1, string(text)))
		w.want(ack)
	}
	w.send(eot)
	w.want("")
}

func frame(number int, text string) string {
	return string(astm.Frame(nil, number, []byte(text), true))
}

// hl7 sends a message and returns the code that it is acknowledged with.
func (w *wire) hl7(message string) (code string) {
	w.Helper()
	w.send(vt + message + fs)
	codes := acknowledgements(w.answer())
	if len(codes) != 1 {
		w.Fatalf("acknowledged %v, want one", codes)
	}
	code, _, _ = strings.Cut(codes[0], " ")
	return code
}

// acknowledgements lists code and MSA-2 of each acknowledgement in a stream.
func acknowledgements(stream string) (codes []string) {
	for rest := []byte(stream); ; {
		payload, after, found := hl7.Cut(rest)
		if !found {
			return codes
		}
		for segment := range strings.SplitSeq(string(payload), "\r") {
			if f := strings.Split(segment, "|"); f[0] == "MSA" && len(f) > 2 {
				codes = append(codes, f[1]+" "+f[2])
			}
		}
		rest = after
	}
}

// observations are the Observations on the server, in short: code, value, specimen, analyzer's status.
func (b *bubble) observations() (list []observation) {
	b.Helper()
	for _, text := range b.server.Resources("Observation") {
		var o observation
		if err := json.Unmarshal(text, &o); err != nil {
			b.Fatal(err)
		}
		list = append(list, o)
	}
	return list
}

// sheets are the DiagnosticReports on the server.
func (b *bubble) sheets() (list []sheet) {
	b.Helper()
	for _, text := range b.server.Resources("DiagnosticReport") {
		var s sheet
		if err := json.Unmarshal(text, &s); err != nil {
			b.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

type observation struct {
	ID     string
	Status string
	Code   struct {
		Coding []struct{ System, Code string }
	}
	Value struct {
		Value json.Number
		Unit  string
	} `json:"valueQuantity"`
	Specimen   struct{ Identifier struct{ Value string } }
	Identifier []struct{ System, Value string }
	Meta       struct {
		Tag []struct{ System, Code string }
	}
}

func (o observation) String() string {
	return fmt.Sprintf("%s %s=%s", o.Specimen.Identifier.Value, o.Code.Coding[0].Code, o.Value.Value)
}

type sheet struct {
	Status    string
	Specimen  []struct{ Identifier struct{ Value string } }
	Result    []struct{ Reference string }
	Extension []struct {
		URL          string
		ValueInteger int
	}
}

func (s sheet) held() int {
	for _, e := range s.Extension {
		if e.URL == "urn:labagent:held" {
			return e.ValueInteger
		}
	}
	return 0
}

func (s sheet) String() string {
	return fmt.Sprintf("%s %s: %d results, %d held", s.Specimen[0].Identifier.Value, s.Status, len(s.Result), s.held())
}

// wantStrings compares what things look like, in any order.
func wantStrings[T fmt.Stringer](b *bubble, what string, got []T, want ...string) {
	b.Helper()
	var list []string
	for _, one := range got {
		list = append(list, one.String())
	}
	slices.Sort(list)
	slices.Sort(want)
	if !slices.Equal(list, want) {
		b.Errorf("%s\n  %s\nwant\n  %s", what, strings.Join(list, "\n  "), strings.Join(want, "\n  "))
	}
}

// wantObservations compares what is on the server: "specimen code=value" each.
func (b *bubble) wantObservations(want ...string) {
	b.Helper()
	wantStrings(b, "Observations", b.observations(), want...)
}

func (b *bubble) wantSheets(want ...string) {
	b.Helper()
	wantStrings(b, "sheets", b.sheets(), want...)
}

// wantAttention compares what needs a person: "analyzer reason count" each.
func (b *bubble) wantAttention(want ...string) {
	b.Helper()
	list := []string{}
	for _, a := range b.board.Snapshot(version).Attention {
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s %d", a.Analyzer, a.Reason, a.Count)))
	}
	if !slices.Equal(list, append([]string{}, want...)) {
		b.Errorf("attention %q, want %q", list, want)
	}
	wantCode := http.StatusOK
	if len(want) > 0 {
		wantCode = http.StatusServiceUnavailable
	}
	if code, _ := b.health("/healthz"); code != wantCode {
		b.Errorf("/healthz answers %d, want %d", code, wantCode)
	}
}

// wantQueue compares how many items stand where.
func (b *bubble) wantQueue(want status.Queue) {
	b.Helper()
	got := b.numbers()
	got.Bytes, got.MaxBytes, got.OldestWaiting = 0, 0, time.Time{}
	if got != want {
		b.Errorf("queue %+v, want %+v", got, want)
	}
}

// health asks the listener for health and metrics.
func (b *bubble) health(path string) (code int, text string) {
	w := httptest.NewRecorder()
	(&status.Listener{Board: b.board, Version: version}).Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.String()
}

// command does what a command asks for at the control door, and decodes the answer into out, which may be nil.
func (b *bubble) command(method, path string, in, out any) (code int) {
	b.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		b.Fatal(err)
	}
	w := httptest.NewRecorder()
	b.plant.control().ServeHTTP(w, httptest.NewRequest(method, path, bytes.NewReader(body)))
	if out != nil && w.Code == http.StatusOK {
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
			b.Fatalf("%s %s: %v", method, path, err)
		}
	}
	synctest.Wait()
	return w.Code
}

// rows is what labagent queue ls shows.
func (b *bubble) rows() (rows []row) {
	b.Helper()
	if code := b.command("GET", "/queue", nil, &rows); code != http.StatusOK {
		b.Fatalf("queue ls answers %d", code)
	}
	return rows
}

// only is the only item in these states.
func (b *bubble) only(states ...queue.State) *queue.Item {
	b.Helper()
	var found []*queue.Item
	if err := b.plant.queue.List(func(i *queue.Item) bool { found = append(found, i); return true }, true, states...); err != nil {
		b.Fatal(err)
	}
	if len(found) != 1 {
		b.Fatalf("%d items %v, want one", len(found), states)
	}
	return found[0]
}
