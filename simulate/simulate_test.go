package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"labagent/astm"
	"labagent/hl7"
	"labagent/talk"
)

var machines = map[string]func() machine{
	"astm": func() machine { return astm.NewLink(astm.Options{}) },
	"hl7":  func() machine { return hl7.NewMLLP(hl7.Options{}) },
}

// values reads specimen, test and value out of the messages a host was handed.
func values(t *testing.T, protocol string, messages [][]byte) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, text := range messages {
		var specimen string
		if protocol == "astm" {
			m, err := astm.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range m.Records {
				switch r.Type() {
				case 'O':
					specimen = string(r.Field(3))
					if got := string(r.Field(26)); got != "F" {
						t.Fatalf("O.26 is %q", got)
					}
				case 'R':
					key := specimen + " " + string(r.Component(3, 1, 4))
					found[key] = append(found[key], string(r.Field(4)))
				}
			}
			continue
		}
		m, err := hl7.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range m.Segments {
			switch s.Name() {
			case "SPM":
				specimen = string(s.Field(2))
				if got := string(s.Field(11)); got != "P" {
					t.Fatalf("SPM-11 is %q", got)
				}
			case "OBR":
				if got := string(s.Field(25)); got != "F" {
					t.Fatalf("OBR-25 is %q", got)
				}
			case "OBX":
				key := specimen + " " + string(s.Component(3, 1, 1))
				found[key] = append(found[key], string(s.Field(5)))
				if string(s.Field(11)) != "F" || len(s.Field(19)) != 14 {
					t.Fatalf("OBX-11 is %q, OBX-19 %q", s.Field(11), s.Field(19))
				}
			}
		}
	}
	return found
}

func TestEverythingArrives(t *testing.T) {
	cases := []struct {
		name   string
		change func(*Analyzer)
	}{
		{"plain", func(*Analyzer) {}},
		{"frames of 40 bytes", func(a *Analyzer) { a.FrameSize = 40 }},
		{"together", func(a *Analyzer) { a.Together = 5 }},
		{"chemistry", func(a *Analyzer) { a.Panel = Chemistry }},
		{"bad checksum", func(a *Analyzer) { a.Faults.BadChecksum = 0.3 }},
		{"garbage", func(a *Analyzer) { a.Faults.Garbage = 0.5 }},
		{"repeat", func(a *Analyzer) { a.Faults.Repeat = 0.5 }},
		{"drop", func(a *Analyzer) { a.Faults.Drop = 0.05 }},
		{"torn", func(a *Analyzer) { a.Faults.Torn = 0.05 }},
		{"disconnect", func(a *Analyzer) { a.Faults.Disconnect = 0.05 }},
		{"slow", func(a *Analyzer) { a.Faults.Slow = 0.2 }},
		{"resend", func(a *Analyzer) { a.Faults.Resend = 0.5 }},
		{"all", func(a *Analyzer) { a.Faults = All(0.03) }},
		{"all, together", func(a *Analyzer) { a.Faults, a.Together = All(0.03), 4 }},
	}
	for _, protocol := range []string{"astm", "hl7"} {
		for _, test := range cases {
			t.Run(protocol+" "+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := &host{machine: machines[protocol]}
					a := &Analyzer{Name: "sim-1", Protocol: protocol, Seed: 7, Messages: 30, Ledger: &Ledger{},
						Dial: func(context.Context) (io.ReadWriteCloser, error) { return h.dial(), nil }}
					test.change(a)
					if err := a.Run(t.Context()); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					found := values(t, protocol, h.whole)
					entries := a.Ledger.Entries()
					if want := 30 * max(5, len(a.Panel)); len(entries) < want {
						t.Fatalf("%d results in the ledger, want %d", len(entries), want)
					}
					for _, e := range entries {
						if e.Sent == 0 || !e.Accepted || !e.Acknowledged {
							t.Errorf("%s %s: sent %d, accepted %t, acknowledged %t", e.Specimen, e.Test, e.Sent, e.Accepted, e.Acknowledged)
						}
						got := found[e.Specimen+" "+e.Test]
						if len(got) == 0 || slices.ContainsFunc(got, func(v string) bool { return v != e.Value }) {
							t.Errorf("%s %s: host has %v, sent %q", e.Specimen, e.Test, got, e.Value)
						}
					}
				})
			})
		}
	}
}

func TestSameSeedSameResults(t *testing.T) {
	list := func(seed uint64) []Entry {
		r := &run{a: &Analyzer{Seed: seed}, ledger: &Ledger{}, panel: Chemistry}
		for n := range 50 {
			r.invent(n)
		}
		return r.ledger.Entries()
	}
	if !slices.Equal(list(3), list(3)) {
		t.Error("two runs of one seed differ")
	}
	seen := map[string]bool{}
	for _, e := range slices.Concat(list(3), list(4)) {
		key := e.Specimen + " " + e.Test
		if seen[key] {
			t.Errorf("%s twice", key)
		}
		seen[key] = true
	}
}

// What is refused is not acknowledged, and offered again until it is.
func TestRefused(t *testing.T) {
	for _, protocol := range []string{"astm", "hl7"} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				until := time.Now().Add(5 * time.Minute)
				h := &host{machine: machines[protocol], verdict: func(byte) bool { return time.Now().After(until) }}
				a := &Analyzer{Name: "sim-1", Protocol: protocol, Messages: 1, Ledger: &Ledger{}, Dial: Once(h.dial())}
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
				if err := a.Run(ctx); err != nil {
					t.Fatal(err)
				}
				cancel()
				if e := a.Ledger.Entries()[0]; e.Acknowledged || e.Accepted {
					t.Errorf("acknowledged %t, accepted %t while all is refused", e.Acknowledged, e.Accepted)
				}
				if c := a.Ledger.Counts(); c.Busy+c.Refusals == 0 {
					t.Error("no refusal was counted")
				}
				a.Dial = Once(h.dial())
				a.First = 1
				if err := a.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				if e := a.Ledger.Entries(); !e[len(e)-1].Acknowledged {
					t.Error("not acknowledged although the host takes it again")
				}
			})
		})
	}
}

// LIS01-A2 8.5.1: a frame is sent six times, then EOT.
func TestSixTransmissions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{machine: machines["astm"], verdict: func(mark byte) bool { return mark == '?' }}
		a := &Analyzer{Protocol: "astm", Messages: 1, Tries: 1, Ledger: &Ledger{}, Dial: Once(h.dial())}
		if err := a.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := a.Ledger.Counts().Refusals; got != 6 {
			t.Errorf("%d refusals, want 6", got)
		}
	})
}

// peer plays the host by hand: it writes what is in answers after each read.
func peer(t *testing.T, conn net.Conn, answers ...string) (heard func() string) {
	var all strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for _, answer := range answers {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			all.WriteString(talk.Text(buf[:n]) + " ")
			if answer != "" {
				if _, err := conn.Write([]byte(answer)); err != nil {
					return
				}
			}
		}
		for {
			n, err := conn.Read(buf)
			all.WriteString(talk.Text(buf[:n]) + " ")
			if err != nil {
				return
			}
		}
	}()
	return func() string { <-done; return all.String() }
}

func TestEstablishing(t *testing.T) {
	cases := []struct {
		name    string
		answers []string
		took    time.Duration
		begins  string
		counts  Counts
	}{
		{"busy", []string{"\x15", "\x06"}, 10 * time.Second, "<ENQ> <ENQ> <STX>1H|", Counts{Busy: 1}},
		{"contention", []string{"\x05", "\x06"}, time.Second, "<ENQ> <ENQ> <STX>1H|", Counts{Contention: 1}},
		{"other bytes pass", []string{"xy\x06"}, 0, "<ENQ> <STX>1H|", Counts{}},
		{"silence", []string{"", "", "\x06"}, 16 * time.Second, "<ENQ> <EOT> <ENQ> <STX>1H|", Counts{Timeouts: 1}},
		{"an interrupt is an acceptance", []string{"\x06", "\x04"}, 0, "<ENQ> <STX>1H|", Counts{}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				heard := peer(t, ours, test.answers...)
				ctx, cancel := context.WithTimeout(t.Context(), test.took+time.Second)
				defer cancel()
				a := &Analyzer{Protocol: "astm", Messages: 1, Ledger: &Ledger{}, Dial: Once(theirs)}
				if err := a.Run(ctx); err != nil {
					t.Fatal(err)
				}
				text := heard()
				if !strings.HasPrefix(text, test.begins) {
					t.Errorf("sent %s, want %s at the beginning", text, test.begins)
				}
				if got := a.Ledger.Counts(); got != test.counts {
					t.Errorf("counted %+v, want %+v", got, test.counts)
				}
			})
		})
	}
}

// A frame acknowledged in a session that then breaks is accepted, its message is not acknowledged.
func TestAcceptedIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frames := 0
		h := &host{machine: machines["astm"], verdict: func(mark byte) bool { frames++; return frames <= 6 }} // ENQ H P O R R
		a := &Analyzer{Protocol: "astm", Messages: 1, Tries: 1, Ledger: &Ledger{}, Dial: Once(h.dial())}
		if err := a.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		accepted := 0
		for _, e := range a.Ledger.Entries() {
			if e.Acknowledged {
				t.Errorf("%s is acknowledged", e.Test)
			}
			if e.Accepted {
				accepted++
			}
		}
		if accepted != 2 {
			t.Errorf("%d accepted, want 2", accepted)
		}
	})
}

func TestNoMoreConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{machine: machines["hl7"]}
		a := &Analyzer{Protocol: "hl7", Messages: 3, Faults: Faults{Disconnect: 1}, Dial: Once(h.dial())}
		if err := a.Run(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("error %v, want net.ErrClosed", err)
		}
	})
	if err := (&Analyzer{Protocol: "x"}).Run(t.Context()); err == nil {
		t.Error("no error for an unknown protocol")
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{machine: machines["hl7"]}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err == nil {
			h.serve(conn)
		}
	}()
	a := &Analyzer{Protocol: "hl7", Messages: 3, Together: 3, Ledger: &Ledger{}, Dial: TCP(l.Addr().String())}
	if err := a.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-done
	if len(h.whole) != 3 {
		t.Errorf("%d messages, want 3", len(h.whole))
	}
	_ = l.Close()
}

func TestCompare(t *testing.T) {
	l := &Ledger{}
	put := func(specimen, test, value string, acknowledged bool) {
		e := l.add("x", specimen, Test{Code: test}, value)
		e.Sent, e.Acknowledged = 1, acknowledged
	}
	put("1", "GLU", "5.40", true)
	put("2", "GLU", "<0.10", true)
	put("3", "HBSAG", "NEGATIVE", true)
	put("4", "GLU", "1.0", true)  // lost
	put("5", "GLU", "1.0", false) // never acknowledged
	put("6", "GLU", "1.0", true)  // doubled
	put("7", "GLU", "1.0", true)  // changed
	put("8", "GLU", "1.0", false) // stored although not acknowledged: no harm
	number := func(specimen, value string) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"code":{"coding":[{"code":"GLU"},{"code":"2345-7"}]},"specimen":{"identifier":{"value":%q}},"valueQuantity":{%s}}`, specimen, value))
	}
	tally, err := l.Compare([]json.RawMessage{
		number("1", `"value":5.4`), number("2", `"value":0.1,"comparator":"<"`),
		json.RawMessage(`{"code":{"coding":[{"code":"HBSAG"}]},"specimen":{"identifier":{"value":"3"}},"valueString":"NEGATIVE"}`),
		number("6", `"value":1`), number("6", `"value":1`), number("7", `"value":2`), number("8", `"value":1`), number("9", `"value":1`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(tally), fmt.Sprint(Tally{Sent: 8, Acknowledged: 6, InFHIR: 6, Lost: 1, Doubled: 1, Changed: 1, Foreign: 1,
		Faults: []string{"lost 4 GLU", "doubled 6 GLU", "changed 7 GLU", "foreign 9"}}); got != want {
		t.Errorf("tally %s, want %s", got, want)
	}
	if tally.Good() {
		t.Error("good")
	}
}

// Every conversation of the machines plays on a wire too.
func TestPlay(t *testing.T) {
	for protocol, machine := range machines {
		files, err := filepath.Glob(filepath.Join("..", "testdata", protocol, "*.talk"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no conversations for %s: %v", protocol, err)
		}
		for _, file := range files {
			steps, err := talk.Read(file)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(steps, func(s talk.Step) bool { return s.Op == '!' && s.Word != "ok" }) {
				continue // this host's disk never fails
			}
			t.Run(protocol+" "+filepath.Base(file), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := &host{machine: machine}
					if err := Play(t.Context(), h.dial(), steps, 3, time.Second); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

func TestPlayFindsFault(t *testing.T) {
	cases := []struct{ name, file, want string }{
		{"another answer", "< <ENQ>\n> <NAK>\n", "line 2"},
		{"no answer", "< x\n> <ACK>\n", "line 2"},
		{"an answer too many", "< <ENQ><EOT><ENQ>\n> <ACK>\n", "at the end"},
		{"an answer too many at the end", "< <ENQ>\n", "at the end"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "case.talk")
			if err := os.WriteFile(path, []byte(test.file), 0o600); err != nil {
				t.Fatal(err)
			}
			steps, err := talk.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				h := &host{machine: machines["astm"]}
				if err := Play(t.Context(), h.dial(), steps, 0, time.Second); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %s", err, test.want)
				}
			})
		})
	}
}
