//go:build linux

package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"labagent/astm"
	"labagent/sandbox"
	"labagent/simulate"
	"labagent/status"
	"labagent/talk"
)

// panel is what the analyzers of these tests have in their code list.
var panel = []simulate.Test{{Code: "WBC", Unit: "10*9/L"}, {Code: "HGB", Unit: "g/dL"}}

// row is a line of queue ls --json.
type row struct {
	Schema, Analyzer, State, Reason, Specimen, Test, Do string
	ID                                                  uint64
	Results                                             int
}

// ring collects the bells of alarm.webhook.
type ring struct {
	mu    sync.Mutex
	bells []status.Bell
}

func (r *ring) ServeHTTP(_ http.ResponseWriter, q *http.Request) {
	var bell status.Bell
	if json.NewDecoder(q.Body).Decode(&bell) != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bells = append(r.bells, bell)
}

func (r *ring) rang(event, reason string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.bells {
		if b.Event == event && b.Reason == reason {
			return true
		}
	}
	return false
}

// Everything a person does with the running agent when a result needs one, from the bell to the release, by the commands
// and exit codes of the manual.
func TestCommands(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	hematology, chemistry, health := free(t), free(t), free(t)
	bells, heard := &ring{}, filepath.Join(s.dir, "heard")
	hook := httptest.NewServer(bells)
	t.Cleanup(hook.Close)
	s.configure(fmt.Sprintf("status: {listen: %q}\nalarm: {command: [/bin/sh, -c, %q], webhook: %q}", health, "cat >> "+heard, hook.URL),
		analyzer("hematology-1", "astm", listenKey(hematology), panel, "specimen: {pattern: '^[0-9]{10}$', qc: ['^QC']}"),
		analyzer("chemistry-1", "hl7", listenKey(chemistry), panel))

	// Before it runs.
	s.command(0, "config", "validate")
	s.command(4, "status")
	s.command(4, "queue", "ls")
	s.command(2, "status", "--nonsense")
	s.start()

	// All is well.
	if a := s.command(0, "status"); !strings.Contains(a.out, "Nothing needs a person.") {
		t.Errorf("status of a fresh agent:\n%s", a.out)
	}
	s.command(10, "queue", "ls")
	s.command(10, "queue", "show", "12345")
	s.command(10, "queue", "refused")
	s.command(10, "ack", "nothing")
	if code, body := get(t, "http://"+health+"/healthz"); code != 200 || !strings.Contains(body, `"status":"ok"`) {
		t.Errorf("/healthz of a fresh agent: %d %s", code, body)
	}

	// A result whose code nobody mapped is held, alone; the rest of its specimen goes out.
	var to *host
	s.open(hematology)
	to = connect(t, hematology)
	if !to.astm(astmMessage("1000000001", "WBC=6.41 10*9/L", "XYZ=17 U/L")) {
		t.Fatal("not accepted")
	}
	s.await("a result is held", 20*time.Second, func(now status.Snapshot) bool { return now.Queue.Held == 1 })
	if n := len(s.observations("hematology-1")); n != 1 {
		t.Errorf("%d results went out, want the mapped one", n)
	}
	if a := s.command(9, "status"); !strings.Contains(a.out, "hematology-1 unmapped: 1") {
		t.Errorf("status:\n%s", a.out)
	}
	if code, body := get(t, "http://"+health+"/healthz"); code != 503 || !strings.Contains(body, "hematology-1: unmapped") {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if _, body := get(t, "http://"+health+"/metrics"); !strings.Contains(body, `labagent_queue_items{state="held"} 1`) || strings.Contains(body, "1000000001") {
		t.Errorf("/metrics:\n%s", body)
	}
	s.command(10, "queue", "ls", "--specimen", "1000000002")
	rows := lines[row](t, s.command(0, "queue", "ls", "--specimen", "1000000001", "--json"))
	if len(rows) != 1 || rows[0].Schema != "labagent.queue/1" || rows[0].Test != "XYZ" || rows[0].Reason != "unmapped" || rows[0].Do == "" {
		t.Fatalf("queue ls: %+v", rows)
	}
	held := fmt.Sprint(rows[0].ID)
	if a := s.command(0, "queue", "show", held); !strings.Contains(a.out, "R|2|^^^XYZ|17|U/L") {
		t.Errorf("queue show:\n%s", a.out)
	}

	// The bell rings, and says nothing of a patient.
	s.eventually("the bell rings", 40*time.Second, func() bool {
		text, _ := os.ReadFile(heard)
		return bells.rang("begins", "unmapped") && strings.Contains(string(text), "hematology-1: unmapped begins (1)")
	})
	if text, _ := os.ReadFile(heard); strings.Contains(string(text), "1000000001") {
		t.Errorf("the bell says too much: %s", text)
	}
	now, err := s.now()
	if err != nil || len(now.Attention) != 1 {
		t.Fatalf("attention: %v %+v", err, now.Attention)
	}
	s.command(0, "ack", now.Attention[0].ID)
	if a := s.command(9, "status"); !strings.Contains(a.out, "(seen)") {
		t.Errorf("status after ack:\n%s", a.out)
	}

	// A person decides.
	s.command(2, "queue", "release", held)
	s.command(0, "queue", "release", held, "--why", "known to the chief")
	s.await("what was released is delivered", 20*time.Second, func(now status.Snapshot) bool { return now.Queue.Held+now.Queue.Waiting == 0 })
	if n := len(s.observations("hematology-1")); n != 2 {
		t.Errorf("%d results at the server after the release, want 2", n)
	}
	s.command(0, "status")
	s.command(1, "queue", "release", held, "--why", "again")

	// Without a specimen nothing is ever filed, whoever wants it. A control is kept and rings no bell.
	if !to.astm(astmMessage("", "WBC=6.41 10*9/L")) || !to.astm(astmMessage("QC-1", "WBC=6.41 10*9/L")) {
		t.Fatal("not accepted")
	}
	s.await("both are held", 20*time.Second, func(now status.Snapshot) bool { return now.Queue.Held == 2 })
	for _, r := range lines[row](t, s.command(0, "queue", "ls", "--json")) {
		s.command(1, "queue", "release", fmt.Sprint(r.ID), "--why", "I want it")
	}
	if now, err = s.now(); err != nil || len(now.Attention) != 1 || now.Attention[0].Reason != "no-specimen" || len(now.Notices) != 1 {
		t.Errorf("attention: %v %+v, notices %+v", err, now.Attention, now.Notices)
	}

	// The server refuses the content; when it has changed its mind a person tries again.
	s.server.Switch(func(sw *sandbox.Switches) {
		sw.Fail = func(_ string, resource []byte) *sandbox.Failure {
			if strings.Contains(string(resource), "1000000003") {
				return &sandbox.Failure{Status: 400, Code: "structure", Text: "Missing required property", Expression: "Observation.code"}
			}
			return nil
		}
	})
	mllp := connect(t, chemistry)
	if !mllp.hl7(hl7Message("M1", "1000000003", "WBC=6.41 10*9/L")) {
		t.Fatal("not accepted")
	}
	s.await("the refused item is parked", 20*time.Second, func(now status.Snapshot) bool { return now.Queue.Parked == 1 })
	parked := lines[row](t, s.command(0, "queue", "ls", "--state", "parked", "--json"))
	if len(parked) != 1 || parked[0].Reason != "refused" || parked[0].Specimen != "1000000003" {
		t.Fatalf("queue ls --state parked: %+v", parked)
	}
	s.server.Switch(func(sw *sandbox.Switches) { sw.Fail = nil })
	s.command(0, "queue", "retry", fmt.Sprint(parked[0].ID))
	s.await("the item is delivered", 20*time.Second, func(now status.Snapshot) bool { return now.Queue.Parked+now.Queue.Waiting == 0 })
	if n := len(s.observations("chemistry-1")); n != 1 {
		t.Errorf("%d results of the retried item at the server, want 1", n)
	}

	// A frame that never comes right is listed as refused until its specimen has come.
	bad := astm.Frame(nil, 1, []byte(astmMessage("1000000004", "WBC=6.41 10*9/L")), true)
	bad[10]++
	refuse := func() {
		if !to.enquire() {
			t.Fatal("no line")
		}
		for range astm.Transmissions {
			if to.offer(bad) {
				t.Fatal("a frame with a wrong checksum was accepted")
			}
		}
		to.hangUp()
		s.eventually("the refusal is listed", 10*time.Second, func() bool {
			return strings.Contains(s.run("queue", "refused", "--config", s.config).out, "1000000004")
		})
	}
	refuse()
	s.command(0, "queue", "refused", "--clear", "--analyzer", "hematology-1", "--specimen", "1000000004")
	s.command(10, "queue", "refused")
	refuse()
	if !to.astm(astmMessage("1000000004", "WBC=6.41 10*9/L")) {
		t.Fatal("not accepted")
	}
	s.eventually("the refusal is forgotten", 20*time.Second, func() bool {
		return s.run("queue", "refused", "--config", s.config).code == 10
	})

	// A message that broke off is shown, and filed only when a person says so.
	text := astmMessage("1000000005", "WBC=6.41 10*9/L")
	if !to.enquire() || !to.offer(astm.Frame(nil, 1, []byte(strings.TrimSuffix(text, "L|1|N\r")), true)) {
		t.Fatal("not accepted")
	}
	to.conn.Close()
	s.await("the message is incomplete", 20*time.Second, func(now status.Snapshot) bool { return now.Queue.Incomplete == 1 })
	broken := lines[row](t, s.command(0, "queue", "ls", "--state", "incomplete", "--json"))
	if len(broken) != 1 || broken[0].Reason != "broken" {
		t.Fatalf("queue ls --state incomplete: %+v", broken)
	}
	before := len(s.observations("hematology-1"))
	s.command(1, "queue", "retry", fmt.Sprint(broken[0].ID))
	s.command(0, "queue", "release", fmt.Sprint(broken[0].ID), "--why", "better than nothing")
	s.await("it is delivered", 20*time.Second, func(now status.Snapshot) bool { return now.Queue.Incomplete+now.Queue.Waiting == 0 })
	if n := len(s.observations("hematology-1")) - before; n != 1 {
		t.Errorf("%d results of the released item at the server, want 1", n)
	}

	s.eventually("the bell says that it is over", 40*time.Second, func() bool { return bells.rang("ends", "unmapped") })

	// Nothing of all this survives only in memory.
	want, err := s.now()
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	s.command(4, "queue", "ls")
	s.start()
	got, err := s.now()
	if err != nil || got.Queue != want.Queue {
		t.Errorf("after a restart the queue is %+v, want %+v: %v", got.Queue, want.Queue, err)
	}
	s.stop()
}

// Commands that need no agent.
func TestCommandsAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if a := s.run("version"); a.code != 0 || !strings.HasPrefix(a.out, "labagent e2e (go") {
		t.Errorf("version: %d %s", a.code, a.out)
	}
	type facts struct{ Schema, Version, OS string }
	if all := lines[facts](t, s.run("version", "--json")); len(all) != 1 || all[0] != (facts{"labagent.version/1", "e2e", "linux"}) {
		t.Errorf("version --json: %+v", all)
	}

	s.configure("", analyzer("a-1", "astm", listenKey("127.0.0.1:5001"), panel))
	if a := s.command(0, "config", "validate", "--json"); !strings.Contains(a.out, `"valid":true`) {
		t.Errorf("config validate --json: %s", a.out)
	}
	for name, broken := range map[string]struct{ more, analyzer, line, want string }{
		"unknown key":     {"quue: {}", "a-1", listenKey("127.0.0.1:5001"), "queue"},
		"no unit":         {"alarm: {every: 60}", "a-1", listenKey("127.0.0.1:5001"), "alarm.every"},
		"bad name":        {"", "A 1", listenKey("127.0.0.1:5001"), "analyzers[0].name"},
		"open to all":     {"", "a-1", `tcp: {listen: "0.0.0.0:5001"}`, "analyzers[0].tcp.allow"},
		"no such field":   {"", "a-1", listenKey("127.0.0.1:5001") + "\n    specimen: {from: [nowhere]}", "analyzers[0].specimen.from[0]"},
		"http far away":   {"alarm: {webhook: 'http://example.com/'}", "a-1", listenKey("127.0.0.1:5001"), "alarm.webhook"},
		"no line at all":  {"", "a-1", "label: x", "analyzers[0]"},
		"no such charset": {"", "a-1", listenKey("127.0.0.1:5001") + "\n    encoding: klingon", "analyzers[0].encoding"},
	} {
		s.configure(broken.more, analyzer(broken.analyzer, "astm", broken.line, panel))
		for _, command := range [][]string{{"config", "validate"}, {"run"}, {"status"}} {
			if a := s.command(3, command...); !strings.Contains(a.err, broken.want) || !strings.Contains(a.err, s.config) {
				t.Errorf("%s: %v says %s, which does not name %s and the file", name, command, a.err, broken.want)
			}
		}
	}
	if a := s.run("run", "--config", filepath.Join(s.dir, "nowhere.yaml")); a.code != 3 {
		t.Errorf("run without a configuration: exit code %d, want 3: %s", a.code, a.err)
	}
	if a := s.run("config", "validate", "--config", "../../config.example.yaml"); a.code != 0 {
		t.Errorf("the manual is no valid configuration: %d %s", a.code, a.err)
	}
	if a := s.run("run", "--set", "auth.client_secret=x"); a.code != 2 {
		t.Errorf("a secret as a flag: exit code %d, want 2", a.code)
	}
}

// record is a line of decode --json.
type record struct {
	Schema, Type string
	Message      int
	Fields       map[string]string
	Taken        *struct{ Specimen, Test, Value, Unit, Status, Held, QC string }
	IfNoneExist  string
	Resource     struct{ ResourceType, Status string }
}

// Decode reads each of the project's own captures: every result record is there, with what was taken from it, and with
// --fhir the resources that would be created.
func TestDecode(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	type capture struct{ path, protocol, line, letter string }
	var captures []capture
	files, err := filepath.Glob("../../testdata/astm/*.astm")
	if err != nil || len(files) == 0 {
		t.Fatalf("no ASTM fixtures: %v", err)
	}
	for _, file := range files {
		captures = append(captures, capture{file, "astm", "\nR|", "R"})
	}
	for _, name := range []string{"plain", "mindray_oru_r01", "cobas_oul_r22", "genexpert_oru_r32", "gb18030"} {
		steps, err := talk.Read("../../testdata/hl7/" + name + ".talk")
		if err != nil {
			t.Fatal(err)
		}
		var sent []byte
		for _, step := range steps {
			if step.Op == '<' {
				sent = append(sent, step.Data...)
			}
		}
		path := filepath.Join(s.dir, name+".hl7")
		if err := os.WriteFile(path, sent, 0o600); err != nil {
			t.Fatal(err)
		}
		captures = append(captures, capture{path, "hl7", "\nOBX|", "OBX"})
	}
	for _, c := range captures {
		data, err := os.ReadFile(c.path)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Count(strings.ReplaceAll(string(data), "\r", "\n"), c.line)
		a := s.run("decode", c.path, "--protocol", c.protocol, "--json", "--fhir")
		if a.code != 0 {
			t.Errorf("decode %s: exit code %d: %s", c.path, a.code, a.err)
			continue
		}
		records, taken, free, created, sheets := 0, 0, 0, 0, 0
		for _, r := range lines[record](t, a) {
			switch {
			case r.Schema == "labagent.record/1" && r.Type == c.letter:
				records++
				if r.Taken != nil && r.Taken.Test != "" {
					taken++
					if r.Taken.Held == "" {
						free++
					}
				}
			case r.Schema == "labagent.create/1" && r.Resource.ResourceType == "Observation":
				created++
				if r.Resource.Status == "" || !strings.HasPrefix(r.IfNoneExist, "identifier=") {
					t.Errorf("decode %s: an Observation without status or condition", c.path)
				}
			case r.Schema == "labagent.create/1":
				sheets++
			}
		}
		if records != want || taken == 0 || created > free || (created > 0) != (free > 0) || (sheets > 0) != (free > 0) {
			t.Errorf("decode %s: %d result records of %d, %d taken, %d of them not held, %d Observations, %d sheets", c.path, records, want, taken, free, created, sheets)
		}
		if plain := s.run("decode", c.path, "--protocol", c.protocol); plain.code != 0 || !strings.Contains(plain.out, "  "+c.letter+" ") {
			t.Errorf("decode %s for people: exit code %d", c.path, plain.code)
		}
	}

	empty := filepath.Join(s.dir, "empty")
	if err := os.WriteFile(empty, []byte("nothing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		args []string
	}{
		{10, []string{empty, "--protocol", "astm"}},
		{2, []string{empty}},
		{2, []string{empty, "--protocol", "fax"}},
		{2, nil},
		{1, []string{filepath.Join(s.dir, "nowhere"), "--protocol", "hl7"}},
	} {
		if a := s.run(append([]string{"decode"}, c.args...)...); a.code != c.code {
			t.Errorf("decode %v: exit code %d, want %d", c.args, a.code, c.code)
		}
	}
}

// The command that plays an analyzer, against the agent.
func TestSimulateCommand(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	address := free(t)
	s.configure("", analyzer("hematology-1", "astm", listenKey(address), simulate.Hematology))
	s.start()
	type account struct {
		Schema       string
		Acknowledged int `json:"results_acknowledged"`
	}
	got := lines[account](t, s.run("simulate", "astm", "--to", address, "--messages", "5", "--json"))
	if want := 5 * len(simulate.Hematology); len(got) != 1 || got[0].Acknowledged != want {
		t.Fatalf("simulate: %+v, want %d results acknowledged", got, want)
	}
	s.drained(20 * time.Second)
	if n := len(s.observations("hematology-1")); n != 5*len(simulate.Hematology) {
		t.Errorf("%d results at the server", n)
	}
	s.stop()
	if a := s.run("simulate", "astm"); a.code != 2 {
		t.Errorf("simulate to nowhere: exit code %d, want 2", a.code)
	}
}
