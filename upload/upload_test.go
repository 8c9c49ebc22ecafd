package upload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"labagent/fhir"
	"labagent/filing"
	"labagent/lab"
	"labagent/queue"
	"labagent/sandbox"
)

func TestDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{})
		s.start(nil)
		var ids []uint64
		for i := range 5 {
			ids = append(ids, s.put("alpha", panel(fmt.Sprintf("1%08d", i), codes(20)...)))
			s.put("beta", panel(fmt.Sprintf("2%08d", i), "GLU=5.40"))
		}
		// Two specimens in one message.
		two := panel("300000001", "A=1", "B=2")
		two.Parts = append(two.Parts, panel("300000002", "A=3").Parts...)
		ids = append(ids, s.put("alpha", two))
		s.settle(time.Minute)
		s.holds(5*20+5+3, 5+5+2)
		for _, id := range ids {
			if got := s.item(id).State; got != queue.Delivered {
				t.Errorf("item %d is %s", id, got)
			}
		}
		// 5 panels: batch and sheet. 5 single results and their sheets. Two parts: batch, single, two sheets.
		if got, want := s.count("/fhir", 0), 5*2+5*2+4; got != want {
			t.Errorf("%d requests, want %d", got, want)
		}
		if got := s.count("/oauth2/token", 0); got != 1 {
			t.Errorf("%d token requests, want 1", got)
		}
		var order []string
		for _, o := range s.resources("Observation") {
			if o.Code.Text == "T0" {
				order = append(order, string(o.Specimen))
			}
		}
		if len(order) != 5 || !slices.IsSorted(order) {
			t.Errorf("order of the lane is %s", order)
		}
		if st := s.watch.last(); !st.Well || st.Fault != "" || st.Text != "" || len(s.watch.delivered) != 11 {
			t.Errorf("told %+v and %d deliveries", st, len(s.watch.delivered))
		}

		// The same again is all there already: nothing new, nothing doubled.
		s.put("alpha", two)
		s.settle(time.Minute)
		s.holds(5*20+5+3, 5+5+2)
	})
}

// Every kind of weather: nothing is lost, nothing doubled, nothing set aside, and it is soon over.
func TestWeather(t *testing.T) {
	for _, test := range []struct {
		name  string
		begin func(*stand)
		last  time.Duration
		end   func(*stand)
	}{
		{"server off", func(s *stand) { s.server.Switch(func(w *sandbox.Switches) { w.Off = true }) }, 3 * time.Hour,
			func(s *stand) { s.server.Switch(func(w *sandbox.Switches) { w.Off = false }) }},
		{"database down", func(s *stand) { s.server.Switch(func(w *sandbox.Switches) { w.DatabaseDown = true }) }, 72 * time.Hour,
			func(s *stand) { s.server.Switch(func(w *sandbox.Switches) { w.DatabaseDown = false }) }},
		{"redis down: hangs, then all tokens are lost", func(s *stand) { s.server.Switch(func(w *sandbox.Switches) { w.RedisDown = true }) }, time.Hour,
			func(s *stand) { s.server.Switch(func(w *sandbox.Switches) { w.RedisDown = false }) }},
		{"tokens lost", func(s *stand) { s.server.DropTokens() }, 0, func(*stand) {}},
		{"conflicts", func(s *stand) { s.server.Switch(func(w *sandbox.Switches) { w.Conflicts = 7 }) }, 0, func(*stand) {}},
		{"answers lost", func(s *stand) { s.server.Switch(func(w *sandbox.Switches) { w.LoseAnswers = 3 }) }, 0, func(*stand) {}},
		{"slow", func(s *stand) { s.server.Switch(func(w *sandbox.Switches) { w.Delay = 40 * time.Second }) }, time.Hour,
			func(s *stand) { s.server.Switch(func(w *sandbox.Switches) { w.Delay = 0 }) }},
		{"every write fails with words that tell nothing", func(s *stand) {
			s.server.Switch(func(w *sandbox.Switches) {
				w.Fail = func(string, []byte) *sandbox.Failure {
					return &sandbox.Failure{Status: 400, Code: "invalid", Text: "boom"}
				}
			})
		}, 6 * time.Hour, func(s *stand) { s.server.Switch(func(w *sandbox.Switches) { w.Fail = nil }) }},
		{"500 for everything", func(s *stand) {
			s.server.Switch(func(w *sandbox.Switches) {
				w.Fail = func(string, []byte) *sandbox.Failure {
					return &sandbox.Failure{Status: 500, Code: "exception", Text: "Internal Server Error"}
				}
			})
		}, 6 * time.Hour, func(s *stand) { s.server.Switch(func(w *sandbox.Switches) { w.Fail = nil }) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, sandbox.Options{})
				s.start(nil)
				s.put("alpha", panel("100000000", codes(10)...))
				s.settle(time.Minute)
				s.forget()
				test.begin(s)
				for i := range 4 {
					s.put("alpha", panel(fmt.Sprintf("11000000%d", i), codes(10)...))
					s.put("beta", panel(fmt.Sprintf("12000000%d", i), "GLU=5.40"))
				}
				began := time.Now()
				for time.Since(began) < test.last {
					time.Sleep(time.Minute)
				}
				if hours := test.last.Hours(); hours > 0 {
					if perMinute := float64(s.count("/", 0)) / hours / 60; perMinute > 15 {
						t.Errorf("%.1f requests a minute while it lasted", perMinute)
					}
					if st := s.watch.last(); test.name != "every write fails with words that tell nothing" && (st.Well || st.Text == "" || st.Next.IsZero()) {
						t.Errorf("state while it lasted: %+v", st)
					}
				}
				test.end(s)
				took := s.settle(3 * time.Minute)
				t.Logf("delivered %v after the end", took)
				s.holds(10+4*10+4, 1+4+4)
				if n := strings.Count(s.log.String(), "delivery waits for the server"); n > 4 {
					t.Errorf("the outage was said %d times", n)
				}
				s.queue.List(func(i *queue.Item) bool {
					t.Errorf("item %d is %s, %s", i.ID, i.State, i.Reason)
					return true
				}, false, queue.Parked, queue.Held)
				if st := s.watch.last(); !st.Well {
					t.Errorf("state at the end: %+v", st)
				}
			})
		})
	}
}

// Our fault: everything is kept and in order, the board says so, and the server is asked every few minutes.
func TestOurFault(t *testing.T) {
	for _, test := range []struct {
		name  string
		begin func(*stand)
		end   func(*stand)
		text  string
	}{
		{"membership deleted",
			func(s *stand) { s.server.Change(s.client.ID, func(c *sandbox.Client) { c.MembershipGone = true }) },
			func(s *stand) { s.server.Change(s.client.ID, func(c *sandbox.Client) { c.MembershipGone = false }) }, "Invalid client"},
		{"policy deleted",
			func(s *stand) { s.server.Change(s.client.ID, func(c *sandbox.Client) { c.PolicyGone = true }) },
			func(s *stand) { s.server.Change(s.client.ID, func(c *sandbox.Client) { c.PolicyGone = false }) }, "Cannot authenticate"},
		{"rights missing",
			func(s *stand) {
				s.server.Change(s.client.ID, func(c *sandbox.Client) { c.Policy = &sandbox.Policy{Resource: policy().Resource[:1]} })
			},
			func(s *stand) { s.server.Change(s.client.ID, func(c *sandbox.Client) { c.Policy = policy() }) }, "403"},
		{"create only",
			func(s *stand) {
				s.server.Change(s.client.ID, func(c *sandbox.Client) {
					c.Policy = &sandbox.Policy{Resource: []sandbox.Rule{{ResourceType: "Observation", Interaction: []string{"create"}}}}
				})
			},
			func(s *stand) { s.server.Change(s.client.ID, func(c *sandbox.Client) { c.Policy = policy() }) }, "403"},
		{"secret rotated",
			func(s *stand) {
				s.server.Change(s.client.ID, func(c *sandbox.Client) { c.Secret = "new" })
				s.server.DropTokens()
			},
			func(s *stand) { s.secret = "new" }, "Invalid secret"},
		{"cap on resources",
			func(s *stand) {
				s.server.Switch(func(w *sandbox.Switches) {
					w.Fail = func(string, []byte) *sandbox.Failure {
						return &sandbox.Failure{Status: 422, Code: "business-rule", Text: "Resource cap exceeded"}
					}
				})
			},
			func(s *stand) { s.server.Switch(func(w *sandbox.Switches) { w.Fail = nil }) }, "Resource cap exceeded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, sandbox.Options{})
				s.start(nil)
				s.put("alpha", panel("100000000", codes(10)...))
				s.settle(time.Minute)
				test.begin(s)
				s.forget()
				for i := range 3 {
					s.put("alpha", panel(fmt.Sprintf("11000000%d", i), codes(10)...))
					s.put("beta", panel(fmt.Sprintf("12000000%d", i), "GLU=5.40"))
				}
				began := time.Now()
				for time.Since(began) < 10*time.Hour {
					time.Sleep(time.Minute)
				}
				if st := s.watch.last(); st.Well || !strings.Contains(st.Fault, test.text) || time.Until(st.Next) > 7*time.Minute {
					t.Errorf("state: %+v, want the fault %q", st, test.text)
				}
				if n := s.count("/", 0); n > 10*60 {
					t.Errorf("%d requests in 10 hours, want one in minutes", n)
				}
				t.Logf("%d requests in 10 h", s.count("/", 0))
				s.queue.List(func(i *queue.Item) bool {
					t.Errorf("item %d is %s for a fault of ours", i.ID, i.State)
					return true
				}, false, queue.Parked, queue.Held)
				test.end(s)
				s.settle(10 * time.Minute)
				s.holds(10+3*10+3, 1+3+3)
				if n := strings.Count(s.log.String(), "until somebody mends this"); n < 1 || n > 2 {
					t.Errorf("the fault was said %d times", n)
				}
			})
		})
	}
}

// One poisoned result never holds its neighbours, nor what comes behind it.
func TestItemFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{})
		s.server.Switch(func(w *sandbox.Switches) {
			w.Fail = func(typ string, body []byte) *sandbox.Failure {
				if typ == "Observation" && bytes.Contains(body, []byte("POISON")) {
					return &sandbox.Failure{Status: 400, Code: "structure", Text: "Invalid additional property \"foo\"", Expression: "Observation.foo"}
				}
				return nil
			}
		})
		s.start(nil)
		bad := s.put("alpha", panel("100000001", append(codes(19), "POISON=1")...))
		good := s.put("alpha", panel("100000002", codes(3)...))
		if took := s.settle(time.Minute); took > time.Second {
			t.Errorf("took %v", took)
		}
		s.holds(19+3, 2)
		item := s.item(bad)
		want := []queue.Exception{{Part: 0, Result: 19, Reason: Refused}}
		if item.State != queue.Parked || item.Reason != Refused || !slices.Equal(item.Exceptions, want) {
			t.Errorf("item is %s, %s, %+v", item.State, item.Reason, item.Exceptions)
		}
		if got := s.item(good).State; got != queue.Delivered {
			t.Errorf("the next item is %s", got)
		}
		sheet := s.resources("DiagnosticReport")[0]
		if sheet.Status != "partial" || len(sheet.Result) != 19 || !slices.ContainsFunc(sheet.Extension, func(e struct {
			URL          string
			ValueInteger int
		}) bool {
			return e.ValueInteger == 1
		}) {
			t.Errorf("sheet is %+v", sheet)
		}
		// The server was mended; a person says retry.
		s.server.Switch(func(w *sandbox.Switches) { w.Fail = nil })
		if err := s.queue.Retry(bad); err != nil {
			t.Fatal(err)
		}
		s.settle(time.Minute)
		s.holds(20+3, 3)
	})
}

// A refused sheet is an exception of the part; its Observations stand.
func TestSheetRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{})
		s.server.Switch(func(w *sandbox.Switches) {
			w.Fail = func(typ string, body []byte) *sandbox.Failure {
				if typ == "DiagnosticReport" {
					return &sandbox.Failure{Status: 400, Code: "structure", Text: "no", Expression: "DiagnosticReport.code"}
				}
				return nil
			}
		})
		s.start(nil)
		id := s.put("alpha", panel("100000001", "A=1", "B=2"))
		s.settle(time.Minute)
		s.holds(2, 0)
		if item := s.item(id); item.State != queue.Parked || !slices.Equal(item.Exceptions, []queue.Exception{{Part: 0, Result: -1, Reason: Refused}}) {
			t.Errorf("item is %s %+v", item.State, item.Exceptions)
		}
	})
}

// A refusal that tells nothing is borne until it is clear that it is the item's.
func TestRefusedUnclear(t *testing.T) {
	fail := func(s *stand) {
		s.server.Switch(func(w *sandbox.Switches) {
			w.Fail = func(typ string, body []byte) *sandbox.Failure {
				if bytes.Contains(body, []byte("POISON")) {
					return &sandbox.Failure{Status: 400, Code: "invalid", Text: "boom"}
				}
				return nil
			}
		})
	}
	for _, test := range []struct {
		name   string
		others func(*stand)
		parked bool
	}{
		{"others of another analyzer succeed", func(s *stand) {
			for i := range 30 {
				s.put("beta", panel(fmt.Sprintf("2000000%02d", i), "A=1"))
				time.Sleep(time.Minute)
			}
		}, true},
		{"a later one of the same analyzer would succeed", func(s *stand) {
			s.put("alpha", panel("200000001", "A=1"))
			time.Sleep(30 * time.Minute)
		}, true},
		{"nothing else is there", func(s *stand) { time.Sleep(12 * time.Hour) }, false},
		{"others are refused as well", func(s *stand) {
			s.put("alpha", panel("200000001", "POISON=1"))
			s.put("beta", panel("200000002", "POISON=1"))
			time.Sleep(12 * time.Hour)
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, sandbox.Options{})
				fail(s)
				s.start(nil)
				began := time.Now()
				id := s.put("alpha", panel("100000001", "A=1", "POISON=1", "B=2"))
				time.Sleep(time.Second)
				test.others(s)
				synctest.Wait()
				item := s.item(id)
				if (item.State == queue.Parked) != test.parked {
					t.Fatalf("item is %s, want parked: %v", item.State, test.parked)
				}
				if test.parked {
					if parked := item.Changed.Sub(began); parked < 10*time.Minute || parked > 13*time.Minute {
						t.Errorf("parked after %v, want soon after 10 minutes", parked)
					}
					if item.Reason != RefusedUnclear || !slices.Equal(item.Exceptions, []queue.Exception{{Part: 0, Result: 1, Reason: RefusedUnclear}}) {
						t.Errorf("item is %s %+v", item.Reason, item.Exceptions)
					}
					s.settle(time.Hour)
					if sheets := s.resources("DiagnosticReport"); len(sheets) < 2 {
						t.Errorf("%d sheets, want one of the neighbours too", len(sheets))
					}
				}
			})
		})
	}
}

// While the server itself says that it is not well, nothing is held against an item.
func TestUnclearAndUnwell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{})
		s.start(roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/healthcheck" {
				return nil, errors.New("no")
			}
			return s.server.RoundTrip(r)
		}))
		s.server.Switch(func(w *sandbox.Switches) {
			w.Fail = func(_ string, body []byte) *sandbox.Failure {
				if bytes.Contains(body, []byte("POISON")) {
					return &sandbox.Failure{Status: 400, Code: "invalid", Text: "boom"}
				}
				return nil
			}
		})
		id := s.put("alpha", panel("100000001", "POISON=1"))
		for i := range 60 {
			s.put("beta", panel(fmt.Sprintf("2000000%02d", i), "A=1"))
			time.Sleep(time.Minute)
		}
		if got := s.item(id).State; got != queue.Waiting {
			t.Errorf("item is %s, want waiting", got)
		}
	})
}

// In the steady state nothing is refused for its quota, and the quota is used: what fits into so many windows of a minute
// is delivered when the last of them has just begun.
func TestPace(t *testing.T) {
	for _, test := range []struct {
		quota, each, panels int
		minutes             time.Duration
	}{
		{50_000, 20, 50, 2}, // 2.92 windows
		{50_000, 200, 5, 2}, // 2.81
		{5_000, 20, 5, 2},   // 2.92
		{1_000, 5, 2, 1},    // 1.64
		{500, 20, 1, 6},     // 20 results, 3 in each window, and the sheet
	} {
		t.Run(fmt.Sprint(test.quota, " ", test.each), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, sandbox.Options{Quota: test.quota})
				s.start(nil)
				s.put("alpha", panel("000000000", codes(5)...)) // learns the quota
				s.settle(10 * time.Minute)
				time.Sleep(2 * time.Minute)
				s.log.Reset()
				var all []lab.Piece
				for i := range test.panels {
					text, _ := json.Marshal(panel(fmt.Sprintf("1%08d", i), codes(test.each)...))
					all = append(all, lab.Piece{Text: text, Mark: lab.Whole, Received: time.Now()})
				}
				if err := s.queue.Line("alpha", "astm").Append(t.Context(), all); err != nil {
					t.Fatal(err)
				}
				took := s.settle(time.Hour)
				s.holds(5+test.panels*test.each, 1+test.panels)
				if least := test.minutes * time.Minute; took < least || took > least+5*time.Second {
					t.Errorf("took %v, want just over %v", took, least)
					for _, seen := range s.seen {
						t.Log(seen.At, seen.Path, seen.Status)
					}
				}
				if log := s.log.String(); strings.Contains(log, "delivery waits") {
					t.Errorf("something was refused:\n%.500s", log)
				}
			})
		})
	}
}

// A server that is busy says when to come back.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{})
		var at []time.Time
		s.run(creates(func(resources []fhir.Resource) (fhir.Reply, error) {
			at = append(at, time.Now())
			if len(at) == 1 {
				return fhir.Reply{}, fhir.Outcome{Class: fhir.Weather, Status: 503, Wait: 7 * time.Minute}
			}
			return fhir.Reply{Outcomes: stored(resources)}, nil
		}))
		s.put("alpha", panel("100000000", "A=1"))
		s.settle(time.Hour)
		if wait := at[1].Sub(at[0]); wait < 7*time.Minute || wait > 8*time.Minute {
			t.Errorf("came back after %v, want 7m", wait)
		}
	})
}

// This machine's clock is compared with the server's.
func TestSkew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{})
		s.run(creates(func(resources []fhir.Resource) (fhir.Reply, error) {
			return fhir.Reply{Outcomes: stored(resources), Date: time.Now().Add(-3 * time.Minute)}, nil
		}))
		s.put("alpha", panel("100000000", "A=1"))
		s.settle(time.Minute)
		if st := s.watch.last(); st.Skew != 3*time.Minute {
			t.Errorf("skew is %v, want 3m", st.Skew)
		}
	})
}

// The pause grows from a second to a minute and is drawn from its whole length.
func TestBackoff(t *testing.T) {
	for _, test := range []struct {
		n    int
		most time.Duration
	}{{1, time.Second}, {2, 2 * time.Second}, {6, 32 * time.Second}, {7, time.Minute}, {1000, time.Minute}} {
		var sum, top time.Duration
		for range 1000 {
			d := backoff(test.n)
			if d <= 0 || d > test.most+time.Millisecond {
				t.Fatalf("backoff(%d) = %v", test.n, d)
			}
			sum += d
			top = max(top, d)
		}
		if mean := sum / 1000; mean < test.most*4/10 || mean > test.most*6/10 || top < test.most*9/10 {
			t.Errorf("backoff(%d): mean %v, most %v, want full jitter up to %v", test.n, mean, top, test.most)
		}
	}
}

// What filing holds stays behind as exceptions; what a person released goes.
func TestHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{})
		s.lanes[0].Rules = &filing.Rules{Analyzer: "alpha", Codes: []filing.Code{{Code: "A", LOINC: "2345-7", UCUM: "mmol/L"}}}
		s.start(nil)
		report := panel("100000001", "A=1", "B=2", "C=3")
		report.Parts = append(report.Parts, panel("", "A=4").Parts...)
		id := s.put("alpha", report)
		s.put("alpha", panel("100000002", "A=5"))
		s.settle(time.Minute)
		s.holds(2, 2)
		item := s.item(id)
		want := []queue.Exception{{Part: 0, Result: 1, Reason: filing.Unmapped}, {Part: 0, Result: 2, Reason: filing.Unmapped}, {Part: 1, Result: -1, Reason: filing.NoSpecimen}}
		if item.State != queue.Held || !slices.Equal(item.Exceptions, want) {
			t.Fatalf("item is %s %+v", item.State, item.Exceptions)
		}
		err := s.queue.Release(id, "anna", "looked at it", func(e queue.Exception) bool { return e.Result == 1 })
		if err != nil {
			t.Fatal(err)
		}
		s.settle(time.Minute)
		s.holds(3, 3) // the same two, the released one; a second sheet with both
		if left := s.item(id); left.State != queue.Held || len(left.Exceptions) != 3 {
			t.Errorf("item is %s %+v", left.State, left.Exceptions)
		}
		// The code list is mended and reloaded, and the item sent again.
		s.stop()
		s.lanes[0].Rules = &filing.Rules{Analyzer: "alpha", Deliver: true, Codes: s.lanes[0].Rules.Codes}
		s.start(nil)
		s.queue.Retry(id)
		s.settle(time.Minute)
		s.holds(4, 4)
	})
}

func TestMessages(t *testing.T) {
	ended := func(code string) string {
		r := panel("100000001", "A=1")
		r.Ended = code
		text, _ := json.Marshal(r)
		return string(text)
	}
	whole := []queue.Exception{{Part: -1, Result: -1, Reason: Unreadable}}
	for _, test := range []struct {
		name, text   string
		state        queue.State
		exceptions   []queue.Exception
		observations int
	}{
		{"unreadable", "no JSON", queue.Parked, whole, 0},
		{"the reader panics", "panic", queue.Parked, whole, 0},
		{"nothing in it", `{"Type":"ASTM","Queries":[{"Specimens":["1"]}]}`, queue.Delivered, nil, 0},
		{"no results", `{"Type":"ASTM","Parts":[{"Specimen":"100000001"}]}`, queue.Delivered, nil, 0},
		{"the end N", ended("N"), queue.Delivered, nil, 1},
		{"the sender gave up", ended("E"), queue.Held, []queue.Exception{{Part: -1, Result: -1, Reason: Incomplete}}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, sandbox.Options{})
				s.start(nil)
				id := s.putText("alpha", test.text, lab.Whole)
				s.put("alpha", panel("100000009", "Z=1"))
				s.settle(time.Minute)
				item := s.item(id)
				if item.State != test.state || !slices.Equal(item.Exceptions, test.exceptions) {
					t.Errorf("item is %s %+v", item.State, item.Exceptions)
				}
				s.holds(test.observations+1, test.observations+1)
				if test.exceptions != nil && test.state == queue.Held {
					s.queue.Release(id, "anna", "all there", nil)
					s.settle(time.Minute)
					s.holds(2, 2)
					if got := s.item(id).State; got != queue.Delivered {
						t.Errorf("released, it is %s", got)
					}
				}
			})
		})
	}
}

// What was torn off is never sent by itself; released, it is partial for ever.
func TestIncomplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{})
		for i := range s.lanes {
			s.lanes[i].Rules.AsSent = true
		}
		s.start(nil)
		final := func(specimen string) lab.Report {
			r := panel(specimen, "A=1")
			r.Parts[0].Status = "F"
			return r
		}
		text, _ := json.Marshal(final("100000001"))
		id := s.putText("alpha", string(text), lab.Broken)
		s.put("alpha", final("100000002"))
		s.settle(time.Minute)
		s.holds(1, 1)
		if err := s.queue.Release(id, "anna", "the rest is lost", nil); err != nil {
			t.Fatal(err)
		}
		s.settle(time.Minute)
		s.holds(2, 2)
		if list := s.resources("DiagnosticReport"); list[0].Status != "final" || list[1].Status != "partial" {
			t.Errorf("sheets are %s, %s, want final, partial", list[0].Status, list[1].Status)
		}
	})
}

// A crash at any request, also between batch and sheet: the item is sent again and nothing is made twice.
func TestCrash(t *testing.T) {
	for after := range 6 { // a token, a batch, a sheet, two batches, a sheet
		t.Run(fmt.Sprint("after request ", after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, sandbox.Options{})
				n := 0
				reached := make(chan struct{})
				s.start(roundTrip(func(r *http.Request) (*http.Response, error) {
					if n == after {
						close(reached)
					}
					n++
					if n > after {
						<-r.Context().Done()
						return nil, r.Context().Err()
					}
					return s.server.RoundTrip(r)
				}))
				s.put("alpha", panel("100000001", codes(20)...))
				s.put("beta", panel("100000002", codes(60)...))
				<-reached
				s.stop()
				s.start(nil)
				s.settle(time.Minute)
				s.holds(80, 2)
			})
		})
	}
}

// Requests stay below the server's limit on bodies, and a panel of many results goes in several.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{Quota: 1 << 30})
		var sizes []int64
		s.start(roundTrip(func(r *http.Request) (*http.Response, error) {
			sizes = append(sizes, r.ContentLength)
			return s.server.RoundTrip(r)
		}))
		long := panel("100000001", codes(40)...)
		for i := range long.Parts[0].Results {
			long.Parts[0].Results[i].Notes = []string{strings.Repeat("long comment ", 8000)}
		}
		s.put("alpha", long)
		s.put("alpha", panel("100000002", codes(120)...))
		s.settle(time.Minute)
		s.holds(160, 2)
		if top := slices.Max(sizes); top > fhir.MaxBatch || top < fhir.MaxBatch*8/10 {
			t.Errorf("the largest request has %d bytes, want near and below %d", top, fhir.MaxBatch)
		}
		// A token, 5 batches of at most 8 long ones, 3 of at most 50, two sheets.
		if len(sizes) != 1+5+3+2 {
			t.Errorf("%d requests: %v", len(sizes), sizes)
		}
	})
}

// The same through net/http on both sides and a pipe between, where bodies are streams and answers are cut.
func TestOverPipes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{})
		listen := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		web := &http.Server{Handler: s.server, ErrorLog: log.New(io.Discard, "", 0)}
		served := make(chan struct{})
		go func() { web.Serve(listen); close(served) }()
		wire := &http.Transport{DialContext: listen.dial}
		s.start(wire)
		for i, trouble := range []func(*sandbox.Switches){
			func(*sandbox.Switches) {},
			func(w *sandbox.Switches) { w.LoseAnswers = 2 },
			func(w *sandbox.Switches) { w.RedisDown = true },
			func(w *sandbox.Switches) { w.Off = true },
			func(w *sandbox.Switches) { w.Conflicts = 3 },
		} {
			s.server.Switch(trouble)
			s.put("alpha", panel(fmt.Sprintf("10000000%d", i), codes(70)...))
			time.Sleep(10 * time.Minute)
			s.server.Switch(func(w *sandbox.Switches) { *w = sandbox.Switches{Quota: w.Quota} })
			s.settle(5 * time.Minute)
		}
		s.server.DropTokens()
		s.put("alpha", panel("200000000", codes(70)...))
		s.settle(time.Minute)
		s.holds(6*70, 6)
		s.stop()
		wire.CloseIdleConnections()
		web.Close()
		<-served
	})
}

// pipes is a network of net.Pipe.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// A batch refused as one is cut in halves until the guilty one stands alone.
func TestHalving(t *testing.T) {
	for _, test := range []struct {
		class fhir.Class
		at    int // where the poison is
	}{{fhir.ItemFault, 20}, {fhir.ItemFault, 0}, {fhir.Unclear, 20}, {fhir.Unclear, 0}} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStand(t, sandbox.Options{})
				requests, observations := 0, 0
				s.run(creates(func(resources []fhir.Resource) (fhir.Reply, error) {
					requests++
					poison := slices.ContainsFunc(resources, func(r fhir.Resource) bool { return bytes.Contains(r.Body, []byte("POISON")) })
					if poison {
						return fhir.Reply{}, fhir.Outcome{Class: test.class, Status: 400, Code: "invalid", Detail: "boom"}
					}
					if resources[0].Type == "Observation" {
						observations += len(resources)
					}
					return fhir.Reply{Outcomes: stored(resources)}, nil
				}))
				id := s.put("alpha", panel("100000001", slices.Insert(codes(20), test.at, "POISON=1")...))
				s.put("alpha", panel("100000002", "A=1"))
				s.settle(time.Hour)
				if observations != 21 {
					t.Errorf("%d Observations were stored, want 20 and one of the next item", observations)
				}
				if item := s.item(id); item.State != queue.Parked || len(item.Exceptions) != 1 || item.Exceptions[0].Result != test.at {
					t.Errorf("item is %s %+v", item.State, item.Exceptions)
				}
				t.Logf("%d requests", requests)
			})
		})
	}
}

// A conflict is no outage and is not said; an outage right behind one is, and so is its end.
func TestOutageBehindAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{})
		tries := 0
		s.run(creates(func(resources []fhir.Resource) (fhir.Reply, error) {
			switch tries++; tries {
			case 1:
				return fhir.Reply{Outcomes: []fhir.Outcome{{Class: fhir.Weather, Status: 409, Code: "conflict"}}}, nil
			case 2, 3, 4:
				return fhir.Reply{}, fhir.Outcome{Class: fhir.Weather, Code: "network", Detail: "no answer from the server"}
			}
			return fhir.Reply{Outcomes: stored(resources)}, nil
		}))
		s.put("alpha", panel("100000001", "A=1"))
		s.settle(time.Hour)
		for _, once := range []string{`level=WARN msg="delivery waits for the server"`, `level=INFO msg="delivery goes on"`} {
			if n := strings.Count(s.log.String(), once); n != 1 {
				t.Errorf("%s is said %d times in\n%s", once, n, s.log)
			}
		}
	})
}

// The server has another value under the identity of a result, or has the result twice.
func TestOnServerAlready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{})
		s.start(nil)
		s.put("alpha", panel("100000001", "A=1", "B=2"))
		s.settle(time.Minute)
		there := s.server.Resources("Observation")

		// Somebody made the second once more, past the rules.
		var twin map[string]any
		json.Unmarshal(there[1], &twin)
		delete(twin, "id")
		text, _ := json.Marshal(twin)
		s.server.Put(text)
		again := s.put("alpha", panel("100000001", "A=1", "B=2"))
		s.settle(time.Minute)
		if got := s.item(again).State; got != queue.Delivered {
			t.Errorf("an item with a result that is there twice is %s, want delivered", got)
		}
		if !strings.Contains(s.log.String(), "more than once") {
			t.Error("the double was not said")
		}

		// And has another value for the first.
		other := bytes.Replace(there[0], []byte(`"value":1}`), []byte(`"value":7}`), 1)
		if bytes.Equal(other, there[0]) {
			t.Fatalf("no value to change in %s", there[0])
		}
		s = newStand(t, sandbox.Options{})
		s.start(nil)
		s.server.Put(other)
		id := s.put("alpha", panel("100000001", "A=1", "C=2"))
		s.settle(time.Minute)
		if item := s.item(id); item.State != queue.Parked || !slices.Equal(item.Exceptions, []queue.Exception{{Part: 0, Result: 0, Reason: Differs}}) {
			t.Errorf("item is %s %+v", item.State, item.Exceptions)
		}
	})
}

// A queue that cannot be written for a while costs nothing but time.
func TestQueueTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{})
		fails := 5
		u := &Uploader{Queue: troubled{s.queue, &fails}, Lanes: s.lanes, Server: creates(func(resources []fhir.Resource) (fhir.Reply, error) {
			return fhir.Reply{Outcomes: stored(resources)}, nil
		})}
		done := make(chan struct{})
		go func() { u.Run(t.Context()); close(done) }()
		id := s.put("alpha", panel("100000001", "A=1"))
		s.settle(time.Hour)
		if fails != 0 || s.item(id).State != queue.Delivered {
			t.Errorf("%d failures left, item is %s", fails, s.item(id).State)
		}
		t.Cleanup(func() { <-done })
	})
}

type troubled struct {
	*queue.Queue
	fails *int
}

func (q troubled) Done(id uint64, left []queue.Exception) error {
	if *q.fails > 0 {
		*q.fails--
		return errors.New("disk full")
	}
	return q.Queue.Done(id, left)
}

// Nothing of a message may reach the log.
func TestLogIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, sandbox.Options{})
		s.start(nil)
		s.server.Switch(func(w *sandbox.Switches) {
			w.Fail = func(_ string, body []byte) *sandbox.Failure {
				return &sandbox.Failure{Status: 400, Code: "structure", Text: fmt.Sprintf("bad: %q", body), Expression: "Observation.value"}
			}
		})
		s.put("alpha", panel("756012345678", "GEHEIM=4711"))
		s.putText("alpha", "Meier^Hans", lab.Whole)
		s.settle(time.Minute)
		for _, secret := range []string{"756012345678", "GEHEIM", "4711", "Meier", s.secret, "Bearer"} {
			if strings.Contains(s.log.String(), secret) {
				t.Errorf("%q is in the log:\n%s", secret, s.log)
			}
		}
	})
}
