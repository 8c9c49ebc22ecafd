package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"labagent/queue"
	"labagent/sandbox"
	"labagent/status"
)

// requests counts what the server is asked, by path and status.
type requests map[string]int

func (b *bubble) count() requests {
	r := requests{}
	b.watch(func(s sandbox.Seen) { r[fmt.Sprintf("%s %d", s.Path, s.Status)]++ }) // from the uploader's goroutine alone
	return r
}

const tokenPath = "/oauth2/token"

// TestTokenDies: a token that dies early costs one new one; the line and the item notice nothing.
func TestTokenDies(t *testing.T) {
	inBubble(t, func(b *bubble) {
		asked := requests{}
		b.watch(func(s sandbox.Seen) {
			asked[fmt.Sprintf("%s %d", s.Path, s.Status)]++
			if s.Path == "/fhir/R4/" || s.Path == "/fhir/R4" { // between the Observations and their sheet
				b.server.DropTokens()
			}
		})
		b.start()
		w := b.dial("hema")
		w.astm(cbc("100001"))
		w.astm(cbc("100002"))
		b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9", "100002 WBC=6.41", "100002 HGB=13.9")
		b.wantSheets("100001 partial: 2 results, 0 held", "100002 partial: 2 results, 0 held")
		if asked[tokenPath+" 200"] != 3 || asked["/fhir/R4/DiagnosticReport 401"] != 2 {
			t.Errorf("asked %v", asked)
		}
		b.wantAttention()
	})
}

// TestTokenRenewal: in a day of results every token is renewed before it ends.
func TestTokenRenewal(t *testing.T) {
	inBubble(t, func(b *bubble) {
		asked := b.count()
		b.start()
		w := b.dial("hema")
		for i := range 96 {
			w.astm(cbc(fmt.Sprint(100000 + i)))
			b.after(15 * time.Minute)
		}
		if n := len(b.sheets()); n != 96 {
			t.Errorf("%d sheets", n)
		}
		for what, n := range asked {
			if strings.HasSuffix(what, " 401") || what == tokenPath+" 200" && n > 33 {
				t.Errorf("%s: %d times", what, n)
			}
		}
	})
}

// TestCredentialsWrong: our fault keeps everything, stops hammering, rings, and ends by itself when it is mended.
func TestCredentialsWrong(t *testing.T) {
	inBubble(t, func(b *bubble) {
		id := b.cfg.Auth.ClientID
		right := b.cfg.Auth.ClientSecret.Reveal()
		b.server.Change(id, func(c *sandbox.Client) { c.Secret = "another" })
		asked := b.count()
		b.start()
		w := b.dial("hema")
		w.astm(cbc("100001"))
		b.after(time.Minute)
		b.wantAttention("access 1")
		if s := b.board.Snapshot(version).Server; !s.Ours || !strings.Contains(s.Problem, "Invalid secret") {
			t.Errorf("the board says %+v", s)
		}
		b.after(4 * time.Hour)
		w.astm(cbc("100002"))
		b.wantQueue(status.Queue{Waiting: 2})
		if n := asked[tokenPath+" 400"]; n < 40 || n > 100 {
			t.Errorf("asked for a token %d times in four hours", n)
		}
		b.server.Change(id, func(c *sandbox.Client) { c.Secret = right })
		b.after(7 * time.Minute)
		b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9", "100002 WBC=6.41", "100002 HGB=13.9")
		b.wantAttention()
	})
}

// TestRightsMissing: a policy that does not let us create is ours to mend, too.
func TestRightsMissing(t *testing.T) {
	inBubble(t, func(b *bubble) {
		var policy *sandbox.Policy
		b.server.Change(b.cfg.Auth.ClientID, func(c *sandbox.Client) {
			policy = c.Policy
			c.Policy = &sandbox.Policy{Resource: []sandbox.Rule{{ResourceType: "Observation"}}}
		})
		b.start()
		b.dial("hema").astm(cbc("100001"))
		b.after(time.Hour)
		b.wantAttention("access 1", "hema backlog 1")
		b.wantSheets()
		b.server.Change(b.cfg.Auth.ClientID, func(c *sandbox.Client) { c.Policy = policy })
		b.after(7 * time.Minute)
		b.wantSheets("100001 partial: 2 results, 0 held")
		b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9")
		b.wantAttention()
	})
}

// TestServerOff: three days without a server; then all of it goes out, in order for each analyzer.
func TestServerOff(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		b.server.Switch(func(s *sandbox.Switches) { s.Off = true })
		hema, chem := b.dial("hema"), b.dial("chem")
		for i := range 36 {
			hema.astm(cbc(fmt.Sprint(100000 + i)))
			if code := chem.hl7(glucose(fmt.Sprint(i), fmt.Sprint(200000+i))); code != "AA" {
				t.Fatalf("acknowledged %s", code)
			}
			b.after(2 * time.Hour)
		}
		b.wantQueue(status.Queue{Waiting: 72})
		b.wantAttention("chem backlog 1", "hema backlog 1")
		if n := strings.Count(b.log.String(), `msg="delivery waits for the server"`); n != 1 {
			t.Errorf("the outage is said %d times", n)
		}
		b.server.Switch(func(s *sandbox.Switches) { s.Off = false })
		b.after(10 * time.Minute)
		b.wantQueue(status.Queue{Delivered: 72})
		b.wantAttention()
		b.wantInOrder("1", 36)
		b.wantInOrder("2", 36)
		if n := len(b.observations()); n != 3*36 {
			t.Errorf("%d Observations", n)
		}
	})
}

// wantInOrder wants n sheets of specimens that begin so, in ascending order.
func (b *bubble) wantInOrder(prefix string, n int) {
	b.Helper()
	last, found := "", 0
	for _, s := range b.sheets() {
		id := s.Specimen[0].Identifier.Value
		if !strings.HasPrefix(id, prefix) {
			continue
		}
		if id <= last {
			b.Errorf("%s came after %s", id, last)
		}
		last = id
		found++
	}
	if found != n {
		b.Errorf("%d sheets of %s..., want %d", found, prefix, n)
	}
}

// TestDatabaseDown: 400 for everything, though nothing is wrong with the results: weather, and nothing is set aside.
func TestDatabaseDown(t *testing.T) {
	for name, turn := range map[string]func(s *sandbox.Switches, down bool){
		"database": func(s *sandbox.Switches, down bool) { s.DatabaseDown = down },
		"redis":    func(s *sandbox.Switches, down bool) { s.RedisDown = down },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				b.start()
				w := b.dial("hema")
				w.astm(cbc("100001"))
				b.server.Switch(func(s *sandbox.Switches) { turn(s, true) })
				w.astm(cbc("100002"))
				b.after(9 * time.Minute)
				b.wantAttention()
				b.after(2 * time.Hour)
				b.wantAttention("hema backlog 1")
				b.wantQueue(status.Queue{Waiting: 1, Delivered: 1})
				b.server.Switch(func(s *sandbox.Switches) { turn(s, false) })
				b.after(3 * time.Minute)
				b.wantQueue(status.Queue{Delivered: 2})
				b.wantAttention()
				b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9", "100002 WBC=6.41", "100002 HGB=13.9")
			})
		})
	}
}

// TestTinyQuota: the agent keeps within what the server grants, and nothing is refused for having come too early.
func TestTinyQuota(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.server.Switch(func(s *sandbox.Switches) { s.Quota = 1000 })
		b.start()
		w := b.dial("hema")
		for i := range 20 {
			w.astm(cbc(fmt.Sprint(100000 + i)))
		}
		b.after(20 * time.Minute)
		b.wantInOrder("1", 20)
		if n := len(b.observations()); n != 40 {
			t.Errorf("%d Observations", n)
		}
		if strings.Contains(b.log.String(), "Too Many Requests") {
			t.Error("the server had to say 429")
		}
	})
}

// TestConflicts: other writers make the server answer 409; everything is made once all the same.
func TestConflicts(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.server.Switch(func(s *sandbox.Switches) { s.Conflicts = 7 })
		b.start()
		w := b.dial("hema")
		w.astm(cbc("100001"))
		w.astm(cbc("100002"))
		b.after(10 * time.Minute)
		b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9", "100002 WBC=6.41", "100002 HGB=13.9")
		b.wantSheets("100001 partial: 2 results, 0 held", "100002 partial: 2 results, 0 held")
		b.wantAttention()
	})
}

// poison has the server refuse every resource that holds the text.
func (b *bubble) poison(text string, f sandbox.Failure) {
	b.server.Switch(func(s *sandbox.Switches) {
		s.Fail = func(_ string, resource []byte) *sandbox.Failure {
			if bytes.Contains(resource, []byte(text)) {
				return &f
			}
			return nil
		}
	})
}

// TestPoison: a result refused for its content is parked with the reason; its neighbours and followers go out.
func TestPoison(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.poison(`"value":13.9`, sandbox.Failure{Status: 400, Code: "structure", Text: "Invalid value", Expression: "Observation.valueQuantity"})
		b.start()
		w := b.dial("hema")
		w.astm(cbc("100001"))
		w.astm(strings.Replace(cbc("100002"), "13.9", "14.1", 1))
		b.wantObservations("100001 WBC=6.41", "100002 WBC=6.41", "100002 HGB=14.1")
		b.wantSheets("100001 partial: 1 results, 1 held", "100002 partial: 2 results, 0 held")
		b.wantAttention("hema refused 1")
		b.wantQueue(status.Queue{Parked: 1, Delivered: 1})

		b.server.Switch(func(s *sandbox.Switches) { s.Fail = nil })
		b.command("POST", fmt.Sprintf("/queue/%d/retry", b.only(queue.Parked).ID), nil, nil)
		b.wantObservations("100001 WBC=6.41", "100002 WBC=6.41", "100002 HGB=14.1", "100001 HGB=13.9")
		b.wantAttention()
	})
}

// TestRefusedUnclear: what is refused again and again without a reason is set aside after eight tries and ten minutes, and
// only when the server takes others.
func TestRefusedUnclear(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.poison(`100001`, sandbox.Failure{Status: 400, Code: "invalid", Text: "Something went wrong"})
		b.start()
		w := b.dial("hema")
		w.astm(cbc("100001"))
		b.after(5 * time.Hour)
		b.wantQueue(status.Queue{Waiting: 1}) // nothing tells that it is the item's fault
		b.wantAttention("hema backlog 1")
		w.astm(cbc("100002"))
		b.after(2 * time.Minute)
		b.wantQueue(status.Queue{Parked: 1, Delivered: 1})
		b.wantObservations("100002 WBC=6.41", "100002 HGB=13.9")
		b.wantAttention("hema refused-unclear 2")
	})
}

// TestRefusedUnclearTakesTime: with another analyzer's results going out all the time, ten minutes pass first.
func TestRefusedUnclearTakesTime(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.poison(`100001`, sandbox.Failure{Status: 400, Code: "invalid", Text: "Something went wrong"})
		b.start()
		b.dial("hema").astm(cbc("100001"))
		chem := b.dial("chem")
		for i := range 9 {
			if code := chem.hl7(glucose(fmt.Sprint(i), fmt.Sprint(200000+i))); code != "AA" {
				t.Fatalf("acknowledged %s", code)
			}
			b.after(time.Minute)
		}
		b.wantQueue(status.Queue{Waiting: 1, Delivered: 9})
		b.after(6 * time.Minute)
		b.wantQueue(status.Queue{Parked: 1, Delivered: 9})
	})
}

// TestAllRefused: a server that takes nothing at all never stops a laboratory: everything waits.
func TestAllRefused(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.poison(``, sandbox.Failure{Status: 400, Code: "invalid", Text: "Something went wrong"})
		b.start()
		w := b.dial("hema")
		for i := range 5 {
			w.astm(cbc(fmt.Sprint(100000 + i)))
		}
		b.after(12 * time.Hour)
		b.wantQueue(status.Queue{Waiting: 5})
		b.server.Switch(func(s *sandbox.Switches) { s.Fail = nil })
		b.after(3 * time.Minute)
		b.wantInOrder("1", 5)
		b.wantQueue(status.Queue{Delivered: 5})
	})
}

// TestLostAnswers: what was carried out with its answer lost is not made again.
func TestLostAnswers(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.server.Switch(func(s *sandbox.Switches) { s.LoseAnswers = 3 })
		b.start()
		b.dial("hema").astm(cbc("100001"))
		b.after(time.Minute)
		b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9")
		b.wantSheets("100001 partial: 2 results, 0 held")
		b.wantQueue(status.Queue{Delivered: 1})
	})
}

// TestRestartWithinDelivery: the agent ends after the Observations and before the sheet, once with the answer and once
// without; nothing is made twice.
func TestRestartWithinDelivery(t *testing.T) {
	for name, lost := range map[string]int{"answered": 0, "answer lost": 1} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				b.server.Switch(func(s *sandbox.Switches) { s.Off, s.LoseAnswers = true, lost })
				b.start()
				b.dial("hema").astm(cbc("100001"))
				b.watch(func(s sandbox.Seen) {
					if strings.HasPrefix(s.Path, "/fhir/R4") {
						b.cancel()
					}
				})
				b.server.Switch(func(s *sandbox.Switches) { s.Off = false })
				b.after(2 * time.Minute)
				b.stop()
				b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9")
				b.wantSheets()
				b.watch(nil)
				b.start()
				b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9")
				b.wantSheets("100001 partial: 2 results, 0 held")
				b.wantQueue(status.Queue{Delivered: 1})
			})
		})
	}
}
