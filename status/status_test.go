package status

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"labagent/lab"
)

// target collects bells in place of a web address.
type bells struct {
	mu  sync.Mutex
	got []Bell
}

func (b *bells) RoundTrip(r *http.Request) (*http.Response, error) {
	var bell Bell
	if err := json.NewDecoder(r.Body).Decode(&bell); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, bell)
	return &http.Response{StatusCode: 204, Body: io.NopCloser(strings.NewReader(""))}, nil
}

func (b *bells) events() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for _, bell := range b.got {
		all = append(all, bell.Event)
	}
	b.got = nil
	return strings.Join(all, " ")
}

func TestBellRingsUntilAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var now []Condition
		set := func(c ...Condition) {
			mu.Lock()
			defer mu.Unlock()
			now = c
		}
		board := &Board{Conditions: func() []Condition {
			mu.Lock()
			defer mu.Unlock()
			return now
		}}
		target := &bells{}
		alarm := &Alarm{
			Board: board, Agent: "urn:labagent|lab-7", Webhook: "https://bell.example/", Every: time.Hour,
			HTTP: &http.Client{Transport: target}, Log: slog.New(slog.DiscardHandler),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- alarm.Run(ctx) }()
		pass := func(d time.Duration, want string) {
			t.Helper()
			time.Sleep(d) // the bubble's clock
			synctest.Wait()
			if got := target.events(); got != want {
				t.Errorf("after %v: rang %q, want %q", d, got, want)
			}
		}
		pass(time.Hour, "")
		hold := func(n int) Condition {
			return Condition{Analyzer: "xn", Reason: "unmapped", Count: n, Do: "map the code"}
		}
		quiet := Condition{Analyzer: "xn", Reason: "qc", Count: 5, Quiet: true}
		set(hold(1), quiet)
		pass(time.Minute, "begins")
		pass(time.Hour, "continues")
		set(hold(2), quiet)
		pass(30*time.Minute, "") // nobody has seen it yet: it rings already
		pass(30*time.Minute, "continues")
		if !board.Ack(hold(2).key()) {
			t.Fatal("the line cannot be acknowledged")
		}
		pass(5*time.Hour, "")
		set(hold(3), quiet)
		pass(time.Minute, "grows")
		set(hold(9), quiet)
		pass(time.Minute, "")
		if !board.Ack(hold(9).key()) {
			t.Fatal("the line cannot be acknowledged")
		}
		set(hold(1), quiet) // eight are mended
		pass(time.Minute, "")
		set(hold(2), quiet) // and another comes, which nobody has seen
		pass(time.Minute, "grows")
		set(quiet)
		pass(time.Minute, "ends")
		pass(5*time.Hour, "")
		if board.Ack("nothing") {
			t.Error("a line that is not there was acknowledged")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestBellCommandGetsTheText(t *testing.T) {
	out := filepath.Join(t.TempDir(), "bell")
	board := &Board{Conditions: func() []Condition {
		return []Condition{{Analyzer: "xn", Reason: "no-specimen", Count: 2, Do: "Look at the label."}}
	}}
	alarm := &Alarm{Board: board, Agent: "lab-7", Command: []string{"tee", out}, Every: time.Hour, Log: slog.New(slog.DiscardHandler)}
	for _, bell := range board.due(alarm.Every) {
		alarm.ring(t.Context(), bell)
	}
	text, err := os.ReadFile(out)
	if err != nil || !strings.Contains(string(text), "no-specimen begins (2). Look at the label. Seen: labagent ack ") {
		t.Errorf("the program got %q, %v", text, err)
	}
}

// The address of a webhook is a secret: who knows it can ring.
func TestWebhookIsNotLogged(t *testing.T) {
	var said strings.Builder
	alarm := &Alarm{
		Webhook: "http://127.0.0.1:1/services/T0/secret", HTTP: http.DefaultClient, Log: slog.New(slog.NewTextHandler(&said, nil)),
	}
	alarm.ring(t.Context(), Bell{Reason: "unmapped"})
	if got := said.String(); !strings.Contains(got, "refused") || strings.Contains(got, "secret") {
		t.Errorf("said %q", got)
	}
}

func TestHealthAndMetrics(t *testing.T) {
	var now []Condition
	board := &Board{Conditions: func() []Condition { return now }, Queue: func() Queue { return Queue{Waiting: 3} }}
	watch := board.Add("xn", "XN-1000")
	watch.LineUp("l")
	watch.Received(10)
	watch.Message(lab.Whole)
	watch.Remark("checksum")
	handler := (&Listener{Board: board}).Handler()
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	if code, body := get("/healthz"); code != 200 || !strings.Contains(body, `"status":"ok"`) {
		t.Errorf("healthz %d %s", code, body)
	}
	now = []Condition{{Analyzer: "xn", Reason: "unmapped", Count: 4}}
	board.Update(func(s *Server) { s.Ours, s.Problem = true, "secret refused" })
	if code, body := get("/healthz"); code != 503 || !strings.Contains(body, `"reasons":["access","xn: unmapped"]`) {
		t.Errorf("healthz %d %s", code, body)
	}
	_, body := get("/metrics")
	for _, want := range []string{
		`labagent_lines{analyzer="xn"} 1`, `labagent_messages_total{analyzer="xn",kind="whole"} 1`, `labagent_bytes_total{analyzer="xn",direction="in"} 10`,
		`labagent_remarks_total{analyzer="xn",word="checksum"} 1`, `labagent_queue_items{state="waiting"} 3`,
		`labagent_attention{acked="false",analyzer="xn",reason="unmapped"} 4`, `labagent_server_reachable 0`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestDoorLetsOnlyItsOwnIn(t *testing.T) {
	dir := t.TempDir()
	if _, err := Dial(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without an agent: %v", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	mux.HandleFunc("GET /no", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no such item", 404) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- (&Door{Dir: dir, Handler: mux}).Run(ctx) }()
	path := filepath.Join(dir, controlFile)
	caller, err := Dial(dir)
	for tries := 0; err != nil && tries < 1000; tries++ {
		time.Sleep(time.Millisecond) // a real socket: no fake clock
		caller, err = Dial(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("control.json: %v, %v", info.Mode(), err)
	}
	out := map[string]int{}
	if err := caller.Call(ctx, "POST", "/echo", map[string]int{"a": 1}, &out); err != nil || out["a"] != 1 {
		t.Errorf("echo: %v, %v", out, err)
	}
	var refusal *Refusal
	if err := caller.Call(ctx, "GET", "/no", nil, nil); !errors.As(err, &refusal) || refusal.Status != 404 || refusal.Text != "no such item" {
		t.Errorf("refusal: %v", err)
	}
	for name, change := range map[string]func(*http.Request){
		"no token":    func(r *http.Request) { r.Header.Del("Authorization") },
		"wrong token": func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") },
		"other host":  func(r *http.Request) { r.Host = "evil.example" },
	} {
		r, _ := http.NewRequest("POST", "http://"+caller.c.Address+"/echo", nil)
		r.Header.Set("Authorization", "Bearer "+caller.c.Token)
		change(r)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 403 {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := caller.Call(t.Context(), "POST", "/echo", nil, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("control.json stays: %v", err)
	}
}

// A full disk has no room for control.json, and a port may be somebody else's. Both are waited for: the agent runs all the
// same.
func TestWhatCannotBeOpenedIsWaitedFor(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, run := range map[string]func(context.Context, *slog.Logger) error{
		"door": func(ctx context.Context, log *slog.Logger) error { return (&Door{Dir: "/nowhere", Log: log}).Run(ctx) },
		"listener": func(ctx context.Context, log *slog.Logger) error {
			return (&Listener{Board: &Board{}, Listen: taken.Addr().String(), Log: log}).Run(ctx)
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		var said strings.Builder
		err := run(ctx, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil || ctx.Err() == nil || strings.Count(said.String(), "level=ERROR") != 1 {
			t.Errorf("%s: ended with %v, said %q", name, err, said.String())
		}
		cancel()
	}
}

func TestInsist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		tries := 0
		got := insist(t.Context(), slog.New(slog.NewTextHandler(&said, nil)), "port", func() (net.Listener, error) {
			if tries++; tries < 4 {
				return nil, errors.New("taken")
			}
			return &net.TCPListener{}, nil
		})
		if got == nil || tries != 4 || strings.Count(said.String(), "\n") != 2 {
			t.Errorf("%v after %d tries, said %q", got, tries, said.String())
		}
	})
}
