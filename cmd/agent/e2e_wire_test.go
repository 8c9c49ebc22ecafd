//go:build linux

package main_test

import (
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

// longestWait is how much time a conversation may let pass to be played with a real clock.
const longestWait = time.Second

// playable are the conversations that a wire can show, by path, and for the others why it cannot.
func playable(t *testing.T, protocol string) (steps map[string][]talk.Step, others map[string]string) {
	t.Helper()
	files, err := filepath.Glob("../../testdata/" + protocol + "/*.talk")
	if err != nil || len(files) == 0 {
		t.Fatalf("no .talk files of %s: %v", protocol, err)
	}
	steps, others = map[string][]talk.Step{}, map[string]string{}
	for _, file := range files {
		all, err := talk.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		var waits time.Duration
		why := ""
		for _, s := range all {
			waits += s.Wait
			if s.Op == '!' && s.Word != "ok" {
				why = "the disk of a real agent cannot be told to say " + s.Word
			}
		}
		if waits > longestWait {
			why = "it lets " + waits.String() + " pass; it is played where time is free"
		}
		if why == "" {
			steps[file] = all
		} else {
			others[file] = why
		}
	}
	return steps, others
}

// Every conversation whose verdicts are all ok, played on a wire against the real agent, cut into pieces and whole: the
// answers are those of the file, and as many messages are made safe as the file says.
func TestTalksOnTheWire(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	serial := newCable(t)
	address := free(t)
	s.configure("deliver: {tag: "+siteTag+", unmapped: deliver}", analyzer("serial-1", "astm", serial.key(), nil), analyzer("mllp-1", "hl7", listenKey(address), nil))
	s.start()
	s.open(address)
	s.await("the serial line is open", 10*time.Second, func(now status.Snapshot) bool { return now.Analyzers[1].Lines == 1 })
	for _, wire := range []struct {
		analyzer, protocol string
		dial               simulate.Dial
		least              int // conversations, lest they go missing unseen
	}{
		{"serial-1", "astm", serial.dial, 30},
		{"mllp-1", "hl7", simulate.TCP(address), 40},
	} {
		t.Run(wire.protocol, func(t *testing.T) {
			t.Parallel()
			talks, others := playable(t, wire.protocol)
			for file, why := range others {
				t.Logf("%s is not played here: %s", filepath.Base(file), why)
			}
			if len(talks) < wire.least {
				t.Errorf("only %d conversations of %s can be played", len(talks), wire.protocol)
			}
			p := player{site: s, t: t, analyzer: wire.analyzer, dial: wire.dial, serial: wire.protocol == "astm"}
			for file, steps := range talks {
				for _, chunk := range []int{0, 7} {
					p.play(strings.TrimSuffix(filepath.Base(file), ".talk"), steps, chunk)
				}
			}
		})
	}
}

// player plays conversations with one analyzer of the agent, one after the other.
type player struct {
	*site
	t        *testing.T
	analyzer string
	dial     simulate.Dial
	serial   bool // the line stays open from one conversation to the next
}

// counts are how many messages were made safe, whole and torn.
func (p *player) counts() (whole, torn uint64) {
	p.t.Helper()
	now, err := p.now()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, a := range now.Analyzers {
		if a.Name == p.analyzer {
			return a.Messages, a.Broken
		}
	}
	p.t.Fatalf("no analyzer %s", p.analyzer)
	return 0, 0
}

func (p *player) play(name string, steps []talk.Step, chunk int) {
	p.t.Helper()
	whole, torn := p.counts()
	wantWhole, wantTorn := whole, torn
	open := false
	for _, s := range steps {
		switch {
		case s.Op == '=' && s.Mark == '.':
			wantWhole++
			open = false
		case s.Op == '=' && s.Mark == '!':
			wantTorn++
			open = false
		case s.Op == '=' && s.Mark == '=':
			open = true
		}
	}
	if open {
		wantTorn++ // what the file leaves open the end of the line, or its EOT, tears off
	}
	conn, err := p.dial(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	if err := simulate.Play(p.t.Context(), conn, steps, chunk, 10*time.Second); err != nil {
		p.t.Errorf("%s in pieces of %d: %v", name, chunk, err)
	}
	if p.serial {
		p.hangUp()
	}
	for end := time.Now().Add(5 * time.Second); (whole != wantWhole || torn != wantTorn) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		whole, torn = p.counts()
	}
	if whole != wantWhole || torn != wantTorn {
		p.t.Errorf("%s in pieces of %d: %d messages and %d torn more than the file has", name, chunk, int(whole)-int(wantWhole), int(torn)-int(wantTorn))
	}
}

// hangUp leaves a serial line, which has no end of its own, as the next conversation wants to find it.
func (p *player) hangUp() {
	p.t.Helper()
	conn, err := p.dial(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{astm.EOT}); err != nil {
		p.t.Fatal(err)
	}
}

// Two simulated analyzers with bad cables, one on a serial line, one on the network, and a server that goes away in the
// middle and forgets its tokens: all that was acknowledged is at the server once, unchanged, with its sheets.
func TestResultsReachTheServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	serial := newCable(t)
	address, health := free(t), free(t)
	s.configure("status: {listen: "+health+"}",
		analyzer("hematology-1", "astm", serial.key(), simulate.Hematology),
		analyzer("chemistry-1", "hl7", listenKey(address), simulate.Chemistry))
	s.start()

	const messages = 30
	// What never arrives makes an analyzer wait 15 s or more: that is left to the test that kills.
	faults := simulate.Faults{BadChecksum: 0.05, Garbage: 0.05, Repeat: 0.05, Slow: 0.02, Resend: 0.05}
	timing := simulate.Timing{Retry: 100 * time.Millisecond}
	hematology := &simulate.Analyzer{
		Name: "XN", Protocol: "astm", Dial: serial.dial, Seed: 1, Messages: messages, Panel: simulate.Hematology,
		Pause: 50 * time.Millisecond, FrameSize: 100, Together: 2, Faults: faults, Timing: timing, Ledger: &simulate.Ledger{},
	}
	faults.Torn, faults.Disconnect = 0.05, 0.05
	chemistry := &simulate.Analyzer{
		Name: "COBAS", Protocol: "hl7", Dial: simulate.TCP(address), Seed: 2, Messages: messages, Panel: simulate.Chemistry,
		Pause: 50 * time.Millisecond, Together: 3, Faults: faults, Timing: timing, Ledger: &simulate.Ledger{},
	}
	var measuring sync.WaitGroup
	for _, a := range []*simulate.Analyzer{hematology, chemistry} {
		measuring.Go(func() {
			if err := a.Run(t.Context()); err != nil {
				t.Errorf("%s: %v", a.Name, err)
			}
		})
	}
	s.eventually("some results are at the server", 30*time.Second, func() bool { return len(s.server.Resources("Observation")) > 60 })
	s.server.Switch(func(sw *sandbox.Switches) { sw.Off = true })
	s.server.DropTokens()
	s.await("results wait, and the way to the server is known to be bad", 30*time.Second, func(now status.Snapshot) bool {
		return now.Queue.Waiting >= 10 && !now.Server.Reachable
	})
	s.server.Switch(func(sw *sandbox.Switches) { sw.Off, sw.LoseAnswers, sw.Conflicts = false, 2, 2 })
	measuring.Wait()
	s.drained(3 * time.Minute) // a token endpoint that did not answer is asked once a minute

	reports := s.server.Resources("DiagnosticReport")
	for name, a := range map[string]*simulate.Analyzer{"hematology-1": hematology, "chemistry-1": chemistry} {
		observations := s.observations(name)
		if tally := wantAll(t, a.Ledger, observations); tally.Acknowledged != messages*len(a.Panel) {
			t.Errorf("%s: %d results acknowledged, want %d", name, tally.Acknowledged, messages*len(a.Panel))
		}
		wantSheets(t, observations, reports)
		t.Logf("%s: %+v", name, a.Ledger.Counts())
	}

	// What was torn on the way is an incomplete item and needs a person; without one all is well.
	now, err := s.now()
	if err != nil {
		t.Fatal(err)
	}
	wantExit, wantCode := 0, 200
	if now.Queue.Incomplete > 0 {
		wantExit, wantCode = 9, 503
	}
	s.command(wantExit, "status")
	if code, body := get(t, "http://"+health+"/healthz"); code != wantCode {
		t.Errorf("/healthz: %d %s, want %d", code, body, wantCode)
	}
	_, metrics := get(t, "http://"+health+"/metrics")
	for _, line := range []string{"labagent_server_reachable 1\n", `labagent_queue_items{state="waiting"} 0` + "\n", `labagent_lines{analyzer="hematology-1"} 1` + "\n"} {
		if !strings.Contains(metrics, line) {
			t.Errorf("/metrics has no %s", line)
		}
	}

	// One queue, one agent.
	second := s.run("run", "--config", s.config)
	if second.code != 1 || !strings.Contains(second.err, "another labagent") {
		t.Errorf("a second agent on the same data: exit code %d, %s", second.code, second.err)
	}
	s.stop()
	s.command(4, "status")
}

// The adapter of a serial line is pulled out and put in again: the agent says so meanwhile, and goes on by itself.
func TestSerialUnplugged(t *testing.T) {
	t.Parallel()
	s, serial := newSite(t), newCable(t)
	s.configure("", analyzer("hematology-1", "astm", serial.key(), simulate.Hematology))
	s.start()
	line := func(lines int) func(status.Snapshot) bool {
		return func(now status.Snapshot) bool { return now.Analyzers[0].Lines == lines }
	}
	ledger := &simulate.Ledger{}
	for turn := range 3 {
		if turn > 0 {
			serial.pull()
			s.await("the line is down", 20*time.Second, line(0))
			if now, err := s.now(); err != nil || now.Analyzers[0].Problem == "" {
				t.Errorf("a line is down, and status does not say why: %v", err)
			}
			serial.plug()
		}
		s.await("the line is open", 40*time.Second, line(1))
		a := &simulate.Analyzer{
			Name: "XN", Protocol: "astm", Dial: serial.dial, Seed: 1, First: 10 * turn, Messages: 3, Panel: simulate.Hematology, Ledger: ledger,
		}
		if err := a.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.drained(20 * time.Second)
	if tally := wantAll(t, ledger, s.observations("hematology-1")); tally.Acknowledged != 9*len(simulate.Hematology) {
		t.Errorf("%d results acknowledged, want %d", tally.Acknowledged, 9*len(simulate.Hematology))
	}
	s.stop()
}
