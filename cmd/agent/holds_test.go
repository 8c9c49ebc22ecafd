package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"labagent/config"
	"labagent/queue"
	"labagent/status"
)

// several is a message of five specimens: a good one, one with a test that is not on the code list, one without an id, a
// control, and another good one.
const several = "H|\\^&|||Hema^1^A1||||||||1|20000101000000\rP|1\r" +
	"O|1|100001||^^^CBC|R\rR|1|^^^WBC|6.1|10*3/uL||N||F||||20000101000000\r" +
	"O|2|100002||^^^CBC|R\rR|1|^^^WBC|6.2|10*3/uL||N||F||||20000101000000\rR|2|^^^NEW|1.5|g/dL||N||F||||20000101000000\r" +
	"O|3|||^^^CBC|R\rR|1|^^^WBC|6.3|10*3/uL||N||F||||20000101000000\r" +
	"O|4|QC-LOW||^^^CBC|R||||||Q\rR|1|^^^WBC|6.4|10*3/uL||N||F||||20000101000000\r" +
	"O|5|100005||^^^CBC|R\rR|1|^^^WBC|6.5|10*3/uL||N||F||||20000101000000\rL|1|N\r"

// TestHolds: what is held never holds its neighbours, is shown with the reason, and goes out when the code list is mended.
func TestHolds(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		b.dial("hema").astm(several)
		b.wantObservations("100001 WBC=6.1", "100002 WBC=6.2", "100005 WBC=6.5")
		b.wantSheets("100001 partial: 1 results, 0 held", "100002 partial: 1 results, 1 held", "100005 partial: 1 results, 0 held")
		b.wantQueue(status.Queue{Held: 1})
		b.wantAttention("hema no-specimen 1", "hema unmapped 1")
		b.wantHeld("100002 NEW unmapped", "  no-specimen", "QC-LOW  qc")

		// A day later the code list is mended.
		b.after(24 * time.Hour)
		b.cfg.Analyzers[0].Codes = append(b.cfg.Analyzers[0].Codes, config.Code{Code: "NEW", Unit: "g/dL"})
		b.restart()
		b.wantObservations("100001 WBC=6.1", "100002 WBC=6.2", "100005 WBC=6.5", "100002 NEW=1.5")
		b.wantSheets("100001 partial: 1 results, 0 held", "100002 partial: 1 results, 1 held", "100005 partial: 1 results, 0 held",
			"100002 partial: 2 results, 0 held")
		b.wantAttention("hema no-specimen 1")
		b.wantHeld("  no-specimen", "QC-LOW  qc")
	})
}

// wantHeld compares what of all items is held: "specimen test reason" each, in order.
func (b *bubble) wantHeld(want ...string) {
	b.Helper()
	var held []string
	for _, r := range b.rows() {
		if r.State == queue.Held {
			held = append(held, fmt.Sprintf("%s %s %s", r.Specimen, r.Test, r.Reason))
		}
	}
	if strings.Join(held, "\n") != strings.Join(want, "\n") {
		b.Errorf("held %q, want %q", held, want)
	}
}

// TestNeverReleased: no person can file a control, or what has no specimen.
func TestNeverReleased(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		b.dial("hema").astm(several)
		path := fmt.Sprintf("/queue/%d/release", b.only(queue.Held).ID)
		if code := b.command("POST", path, releasing{By: "ann", Why: "seen"}, nil); code != http.StatusOK {
			t.Errorf("the release answers %d", code)
		}
		b.wantObservations("100001 WBC=6.1", "100002 WBC=6.2", "100005 WBC=6.5", "100002 NEW=1.5")
		b.wantHeld("  no-specimen", "QC-LOW  qc")
		if code := b.command("POST", path, releasing{By: "ann", Why: "seen"}, nil); code != http.StatusConflict {
			t.Errorf("the second release answers %d", code)
		}
	})
}

// TestUnitAndSpecimenID: a result in another unit, and an id that looks like no specimen's, wait for a person.
func TestUnitAndSpecimenID(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.cfg.Analyzers[0].Specimen.Pattern = `^[0-9]{6}$`
		b.start()
		w := b.dial("hema")
		w.astm(strings.Replace(cbc("100001"), "13.9|g/dL", "139|g/L", 1))
		w.astm(cbc("typed"))
		b.wantObservations("100001 WBC=6.41")
		b.wantAttention("hema specimen-id 1", "hema unit 1")
		b.wantHeld("100001 HGB unit", "typed  specimen-id")
		for _, r := range b.rows() {
			if r.Do == "" {
				t.Errorf("row %+v does not say what to do", r)
			}
			b.command("POST", fmt.Sprintf("/queue/%d/release", r.ID), releasing{By: "ann", Why: "seen"}, nil)
		}
		b.wantObservations("100001 WBC=6.41", "100001 HGB=139", "typed WBC=6.41", "typed HGB=13.9")
		for _, o := range b.observations() {
			if o.Value.Value == "139" && len(o.Code.Coding) > 1 {
				t.Errorf("%s went out in an unknown unit with the LOINC of another: %v", o, o.Code.Coding)
			}
		}
		b.wantAttention()
	})
}

// TestControlsRingNoBell: quality control is kept and counted and never filed.
func TestControlsRingNoBell(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		b.dial("hema").astm(strings.Replace(cbc("100001"), "|||||1|", "||||Q|1|", 1))
		if code := b.dial("chem").hl7(strings.Replace(glucose("M1", "200001"), "|P|2.3.1", "|Q|2.3.1", 1)); code != "AA" {
			t.Errorf("acknowledged %s", code)
		}
		b.wantObservations()
		b.wantAttention()
		b.wantQueue(status.Queue{Held: 2})
		if n := b.board.Snapshot(version).Notices; len(n) != 2 || n[0].Reason != "qc" || n[1].Reason != "qc" {
			t.Errorf("notices %v", n)
		}
	})
}

// TestGivenUp: a message that the analyzer itself ended early (L.3 T) is held as incomplete.
func TestGivenUp(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		b.dial("hema").astm(strings.Replace(cbc("100001"), "L|1|N", "L|1|T", 1))
		b.wantObservations()
		b.wantAttention("hema incomplete 1")
		b.command("POST", fmt.Sprintf("/queue/%d/release", b.only(queue.Held).ID), releasing{By: "ann", Why: "seen"}, nil)
		b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9")
		b.wantSheets("100001 partial: 2 results, 0 held")
	})
}

// TestUnreadable: a message that cannot be read is parked with its bytes, and the next goes out.
func TestUnreadable(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		w := b.dial("hema")
		w.astm("H|||\rL|1|N\r")
		w.astm(cbc("100002"))
		b.wantObservations("100002 WBC=6.41", "100002 HGB=13.9")
		b.wantAttention("hema unreadable 1")
		var view itemView
		b.command("GET", fmt.Sprintf("/queue/%d", b.only(queue.Parked).ID), nil, &view)
		if view.Problem == "" || len(view.Raw) == 0 {
			t.Errorf("queue show tells %q of %d bytes", view.Problem, len(view.Raw))
		}
	})
}

// TestAttention: a bell rings within a minute, again each hour until a person has seen it, and says when it is over.
func TestAttention(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.cfg.Deliver.Unmapped = "hold"
		b.cfg.Alarm.Every = config.Duration(time.Hour)
		b.start()
		b.dial("hema").astm(strings.Replace(cbc("100001"), "^^^HGB", "^^^NEW", 1))
		events := func() (n int) { return strings.Count(b.bells.String(), `"event"`) }
		b.after(time.Minute)
		if !strings.Contains(b.bells.String(), `"event":"begins"`) || events() != 1 {
			t.Fatalf("after a minute: %s", b.bells)
		}
		b.after(2 * time.Hour)
		if n := strings.Count(b.bells.String(), `"event":"continues"`); n != 2 {
			t.Errorf("rung again %d times in two hours", n)
		}
		id := b.board.Snapshot(version).Attention[0].ID
		if code := b.command("POST", "/ack/"+id, nil, nil); code != http.StatusOK {
			t.Errorf("ack answers %d", code)
		}
		before := events()
		b.after(3 * time.Hour)
		if events() != before {
			t.Errorf("rung after it was seen: %s", b.bells)
		}
		b.wantAttention("hema unmapped 1")
		b.command("POST", fmt.Sprintf("/queue/%d/release", b.only(queue.Held).ID), releasing{By: "ann", Why: "seen"}, nil)
		b.after(time.Minute)
		if !strings.Contains(b.bells.String(), `"event":"ends"`) {
			t.Errorf("the end is not said: %s", b.bells)
		}
		b.wantAttention()
	})
}
