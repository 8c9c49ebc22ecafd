package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"labagent/auth"
	"labagent/sandbox"
	"labagent/status"
)

// grant gives the agent another policy on the server.
func (b *bubble) grant(p auth.AccessPolicy) {
	b.Helper()
	var policy *sandbox.Policy
	if err := json.Unmarshal(p.JSON(), &policy); err != nil {
		b.Fatal(err)
	}
	b.server.Change(b.cfg.Auth.ClientID, func(c *sandbox.Client) { c.Policy = policy })
}

// TestPolicySuffices: with the generated policy a result is delivered, sent again after its answer was lost, and not doubled.
func TestPolicySuffices(t *testing.T) {
	for _, report := range []string{"sheet", "none"} {
		t.Run(report, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				b.cfg.Deliver.Report = report
				b.grant(auth.Policy(need(&b.cfg)))
				b.server.Switch(func(s *sandbox.Switches) { s.LoseAnswers = 3 })
				b.start()
				b.dial("hema").astm(cbc("100001"))
				b.after(10 * time.Minute)
				b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9")
				if report == "sheet" {
					b.wantSheets("100001 partial: 2 results, 0 held")
				}
				b.wantQueue(status.Queue{Delivered: 1})
				b.wantAttention()
			})
		})
	}
}

// TestPolicyIsTheSmallest: without any one of its entries or interactions nothing is finished.
func TestPolicyIsTheSmallest(t *testing.T) {
	whole := auth.Policy(auth.Need{Tag: demoTag, Report: true})
	less := map[string]auth.AccessPolicy{}
	for i, r := range whole.Resource {
		p := whole
		p.Resource = slices.Delete(slices.Clone(whole.Resource), i, i+1)
		less["no "+r.ResourceType] = p
		for j, word := range r.Interaction {
			p.Resource = slices.Clone(whole.Resource)
			p.Resource[i].Interaction = slices.Delete(slices.Clone(r.Interaction), j, j+1)
			less["no "+word+" of "+r.ResourceType] = p
		}
	}
	if len(less) != 6 {
		t.Fatalf("%d mutations", len(less))
	}
	for name, p := range less {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				b.grant(p)
				b.start()
				b.dial("hema").astm(cbc("100001"))
				b.after(time.Hour)
				b.wantQueue(status.Queue{Waiting: 1})
				b.wantAttention("access 1", "hema backlog 1")
			})
		})
	}
}

// TestRequireMinimal: a policy that is too wide, or drops data, stops delivery and no line; mended, all of it goes out. It is
// looked at before the first delivery and every hour.
func TestRequireMinimal(t *testing.T) {
	wide := map[string]func(*auth.AccessPolicy){
		"any type": func(p *auth.AccessPolicy) { p.Resource = append(p.Resource, auth.Rule{ResourceType: "*"}) },
		"update":   func(p *auth.AccessPolicy) { p.Resource[0].Interaction = []string{"create", "search", "update"} },
		"drops":    func(p *auth.AccessPolicy) { p.Resource[0].HiddenFields = []string{"note"} },
	}
	for name, widen := range wide {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				b.cfg.Auth.RequireMinimal = true
				minimal, wider := auth.Policy(need(&b.cfg)), auth.Policy(need(&b.cfg))
				widen(&wider)
				var asked atomic.Int64 // about our rights
				b.watch(func(s sandbox.Seen) {
					if s.Path == "/auth/me" {
						asked.Add(1)
					}
				})
				b.grant(wider)
				b.start()
				w := b.dial("hema")
				w.astm(cbc("100001"))
				b.after(time.Hour)
				w.astm(cbc("100002"))
				b.wantQueue(status.Queue{Waiting: 2})
				b.wantObservations()
				b.wantAttention("access 1", "hema backlog 1")
				if s := b.board.Snapshot(version).Server; !s.Ours || !strings.Contains(s.Problem, "auth.require_minimal: the access policy") {
					t.Errorf("the board says %+v", s)
				}
				b.grant(minimal)
				b.after(7 * time.Minute)
				b.wantSheets("100001 partial: 2 results, 0 held", "100002 partial: 2 results, 0 held")
				b.wantAttention()

				asked.Store(0)
				for i := range 10 { // within the hour the rights are believed
					w.astm(cbc(fmt.Sprint(200000 + i)))
					b.after(time.Minute)
				}
				b.wantQueue(status.Queue{Delivered: 12})
				if n := asked.Load(); n != 0 {
					t.Errorf("asked %d times within the hour", n)
				}
				b.grant(wider)
				b.after(time.Hour)
				w.astm(cbc("300000"))
				b.after(time.Minute)
				b.wantQueue(status.Queue{Waiting: 1, Delivered: 12})
				if n := asked.Load(); n == 0 {
					t.Error("not asked after an hour")
				}
				if strings.Contains(b.log.String(), b.cfg.Auth.ClientSecret.Reveal()) {
					t.Error("the secret shows in the log")
				}
			})
		})
	}
}

// TestRequireMinimalWeather: a server that does not answer about rights is waited for like any other.
func TestRequireMinimalWeather(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.cfg.Auth.RequireMinimal = true
		b.server.Switch(func(s *sandbox.Switches) { s.Off = true })
		b.start()
		b.dial("hema").astm(cbc("100001"))
		b.after(5 * time.Minute)
		b.wantAttention()
		b.wantQueue(status.Queue{Waiting: 1})
		b.server.Switch(func(s *sandbox.Switches) { s.Off = false })
		b.after(2 * time.Minute)
		b.wantQueue(status.Queue{Delivered: 1})
	})
}
