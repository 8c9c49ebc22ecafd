//go:build linux

package main_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"labagent/astm"
	"labagent/queue"
	"labagent/sandbox"
	"labagent/simulate"
)

// setting reads a number from the environment.
func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// The agent is killed again and again at moments nobody chose, while two analyzers with bad cables send and the server goes
// up and down, forgets tokens and loses answers. What was acknowledged is on disk or delivered after every kill, and in the
// end everything is at the server exactly once, unchanged, in the order it was acknowledged.
//
// LABAGENT_KILLS says how often; LABAGENT_SEED repeats the moments of an earlier run, though not what else happened then.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := int(setting(t, "LABAGENT_KILLS", 50))
	seed := setting(t, "LABAGENT_SEED", uint64(time.Now().UnixNano()))
	t.Logf("LABAGENT_KILLS=%d LABAGENT_SEED=%d", kills, seed)
	chance := rand.New(rand.NewPCG(seed, 9))

	s := newSite(t)
	hematology, chemistry := free(t), free(t)
	s.configure("", analyzer("hematology-1", "astm", listenKey(hematology), simulate.Hematology),
		analyzer("chemistry-1", "hl7", listenKey(chemistry), simulate.Chemistry))

	// A host that does not answer is waited for as long as the standard says: an analyzer with less patience takes a late
	// answer for the next one's. Each kill ends the wait anyway.
	timing := simulate.Timing{Retry: 20 * time.Millisecond, Busy: 100 * time.Millisecond}
	const pause = 30 * time.Millisecond
	told := &promises{frames: map[string]int{}}
	analyzers := map[string]*simulate.Analyzer{
		"hematology-1": {
			Name: "XN", Protocol: "astm", Dial: told.hear(simulate.TCP(hematology)), Seed: 1, Panel: simulate.Hematology,
			Pause: pause, Faults: simulate.All(0.01), Timing: timing, Ledger: &simulate.Ledger{},
		},
		// A message that never arrives lets those sent behind it overtake it; so nothing is dropped where several are sent
		// at once, and the order of the numbers stays the order of acknowledgement.
		"chemistry-1": {
			Name: "COBAS", Protocol: "hl7", Dial: simulate.TCP(chemistry), Seed: 2, Panel: simulate.Chemistry, Together: 3,
			Pause: 2 * pause, Faults: simulate.Faults{Garbage: 0.02, Repeat: 0.02, Torn: 0.02, Disconnect: 0.02, Slow: 0.01, Resend: 0.02},
			Timing: timing, Ledger: &simulate.Ledger{},
		},
	}
	measure, enough := context.WithCancel(t.Context())
	defer enough()
	var measuring sync.WaitGroup
	for _, a := range analyzers {
		measuring.Go(func() {
			if err := a.Run(measure); err != nil {
				t.Errorf("%s: %v", a.Name, err)
			}
		})
	}
	flapping, still := context.WithCancel(t.Context())
	defer still()
	var weather sync.WaitGroup
	weather.Go(func() { flap(flapping, s.server, rand.New(rand.NewPCG(seed, 10))) })

	for n := range kills {
		moment := 100*time.Millisecond + time.Duration(chance.Int64N(int64(600*time.Millisecond)))
		if chance.IntN(10) == 0 {
			moment = time.Duration(chance.Int64N(int64(100 * time.Millisecond))) // while it starts
		}
		s.launch()
		select {
		case <-time.After(moment):
		case <-s.ended:
		}
		if !s.kill() {
			t.Fatalf("kill %d: the agent had ended by itself", n+1)
		}
	}
	s.start()
	still()
	weather.Wait()
	before := tallied(t, analyzers)
	s.eventually("acknowledgements after the last kill", 30*time.Second, func() bool { return tallied(t, analyzers) > before })
	enough()
	measuring.Wait()
	s.drained(3 * time.Minute) // a token endpoint that did not answer is asked once a minute
	s.stop()

	reports := s.server.Resources("DiagnosticReport")
	for name, a := range analyzers {
		observations := s.observations(name)
		tally := wantAll(t, a.Ledger, observations)
		if tally.Acknowledged < kills/10*len(a.Panel) {
			t.Errorf("%s: only %d results acknowledged in %d cycles", name, tally.Acknowledged, kills)
		}
		wantSheets(t, observations, reports)
		var specimens []string
		for _, o := range read(t, observations) {
			if id := o.specimens()[0]; len(specimens) == 0 || specimens[len(specimens)-1] != id {
				specimens = append(specimens, id)
			}
		}
		// A specimen's number grows with every message, and a message is offered until it is acknowledged.
		if !slices.IsSorted(specimens) || len(slices.Compact(slices.Clone(specimens))) != len(specimens) {
			t.Errorf("%s: the results are not at the server in the order they were acknowledged", name)
		}
		t.Logf("%s: %d results acknowledged, %d in FHIR; %+v", name, tally.Acknowledged, tally.InFHIR, a.Ledger.Counts())
	}
	told.want(t, s.data)
}

// tallied is how many results have been acknowledged.
func tallied(t *testing.T, analyzers map[string]*simulate.Analyzer) int {
	t.Helper()
	n := 0
	for _, a := range analyzers {
		for _, e := range a.Ledger.Entries() {
			if e.Acknowledged {
				n++
			}
		}
	}
	return n
}

// flap is a server that nobody can rely on; it leaves it switched on.
func flap(ctx context.Context, server *sandbox.Server, chance *rand.Rand) {
	for ctx.Err() == nil {
		switch chance.IntN(4) {
		case 0:
			server.Switch(func(s *sandbox.Switches) { s.Off = true })
		case 1:
			server.DropTokens()
		case 2:
			server.Switch(func(s *sandbox.Switches) { s.LoseAnswers = 2 })
		case 3:
			server.Switch(func(s *sandbox.Switches) { s.Conflicts = 2 })
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(100+chance.IntN(500)) * time.Millisecond):
		}
		server.Switch(func(s *sandbox.Switches) { s.Off = false })
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(100+chance.IntN(900)) * time.Millisecond):
		}
	}
}

// promises are the frames an ASTM analyzer was told ACK for, by their text, as seen on the wire.
type promises struct {
	mu     sync.Mutex
	frames map[string]int
}

// hear lets promises see what passes over the connections of dial.
func (p *promises) hear(dial simulate.Dial) simulate.Dial {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &witness{ReadWriteCloser: conn, promises: p}, nil
	}
}

// witness stands beside one connection, on the analyzer's side.
type witness struct {
	io.ReadWriteCloser
	promises *promises
	sent     []byte // since the host's last answer
	last     string // the frame acknowledged last in this session: the same once more is a repetition, and no new promise
}

func (w *witness) Write(p []byte) (int, error) {
	w.promises.mu.Lock()
	if bytes.IndexByte(p, astm.ENQ) >= 0 {
		w.last = ""
	}
	w.sent = append(w.sent, p...)
	w.promises.mu.Unlock()
	return w.ReadWriteCloser.Write(p)
}

func (w *witness) Read(p []byte) (int, error) {
	n, err := w.ReadWriteCloser.Read(p)
	w.promises.mu.Lock()
	defer w.promises.mu.Unlock()
	for _, b := range p[:n] {
		start, end := bytes.LastIndexByte(w.sent, astm.STX), bytes.LastIndexByte(w.sent, astm.ETX)
		if b == astm.ACK && start >= 0 && start < end {
			if frame := string(w.sent[start+1 : end]); frame != w.last {
				w.promises.frames[frame[1:]]++
				w.last = frame
			}
		}
		w.sent = nil
	}
	return n, err
}

// want looks into the queue of an agent that has ended: every frame it acknowledged is there, as often as it was promised,
// in a message that is delivered, waits, or was torn off later.
func (p *promises) want(t *testing.T, dir string) {
	t.Helper()
	q, err := queue.Open(dir, queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	kept := map[string]int{}
	states := map[queue.State]int{}
	err = q.List(func(item *queue.Item) bool {
		states[item.State]++
		if item.Protocol == "astm" {
			for record := range strings.SplitAfterSeq(string(item.Text), "\r") {
				kept[record]++
			}
		}
		return true
	}, true, append(slices.Clone(queue.Undelivered), queue.Delivered)...)
	if err != nil {
		t.Fatal(err)
	}
	frames, lost := 0, 0
	for record, n := range p.frames { // a frame is a record
		frames += n
		lost += max(0, n-kept[record])
	}
	if lost > 0 || frames == 0 {
		t.Errorf("%d frames were acknowledged, %d of them are not on disk", frames, lost)
	}
	t.Logf("%d frames acknowledged; items: %v", frames, states)
}
