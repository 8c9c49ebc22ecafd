package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"labagent/queue"
	"labagent/sandbox"
	"labagent/status"
)

// cbc is an ASTM message of one specimen with a leukocyte count and hemoglobin.
func cbc(specimen string) string {
	return "H|\\^&|||Hema^1^A1||||||||1|20000101000000\rP|1\rO|1|" + specimen + "||^^^CBC|R\r" +
		"R|1|^^^WBC|6.41|10*3/uL||N||F||||20000101000000\rR|2|^^^HGB|13.9|g/dL||N||F||||20000101000000\rL|1|N\r"
}

// glucose is an HL7 message of one specimen with one result.
func glucose(control, specimen string) string {
	return `MSH|^~\&|XA|LAB|LIS|HOSP|20000101000000||ORU^R01|` + control + "|P|2.3.1\rPID|1\rOBR|1||" + specimen + "|GLU\r" +
		"OBX|1|NM|GLU^Glucose||5.4|mmol/L||N|||F|||20000101000000\r"
}

func TestResultOverSerial(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		b.dial("hema").astm(cbc("100001"))
		b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9")
		b.wantSheets("100001 partial: 2 results, 0 held")
		for _, o := range b.observations() {
			if o.Status != "preliminary" || len(o.Meta.Tag) == 0 || o.Meta.Tag[0].System+"|"+o.Meta.Tag[0].Code != demoTag {
				t.Errorf("%s is %s under %v", o, o.Status, o.Meta.Tag)
			}
		}
		b.wantQueue(status.Queue{Delivered: 1})
		b.wantAttention()
	})
}

func TestResultOverMLLP(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		if code := b.dial("chem").hl7(glucose("M1", "200001")); code != "AA" {
			t.Errorf("acknowledged %s", code)
		}
		b.wantObservations("200001 GLU=5.4")
		b.wantSheets("200001 partial: 1 results, 0 held")
		b.wantQueue(status.Queue{Delivered: 1})
	})
}

// TestBrokenSession: what was acknowledged before a session broke off is kept and shown, and goes out as partial when a
// person says so.
func TestBrokenSession(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		w := b.dial("hema")
		head, _, _ := strings.Cut(cbc("100001"), "R|2|")
		w.send(enq + frame(1, head))
		w.want(ack + ack)
		w.send(eot)
		b.after(time.Hour)
		b.wantObservations()
		b.wantQueue(status.Queue{Incomplete: 1})
		b.wantAttention("hema broken 1")

		item := b.only(queue.Incomplete)
		path := fmt.Sprintf("/queue/%d/release", item.ID)
		if code := b.command("POST", path, releasing{By: "ann"}, nil); code != http.StatusBadRequest {
			t.Errorf("a release without a reason answers %d", code)
		}
		if code := b.command("POST", path, releasing{By: "ann", Why: "seen on the screen"}, nil); code != http.StatusOK {
			t.Errorf("the release answers %d", code)
		}
		b.wantObservations("100001 WBC=6.41")
		b.wantSheets("100001 partial: 1 results, 0 held")
		b.wantQueue(status.Queue{Delivered: 1})
		b.wantAttention()
	})
}

// TestTornReleasedIsPartial: even where the analyzer's word counts, what a person released of a torn message is partial.
func TestTornReleasedIsPartial(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.cfg.Analyzers[0].Release = "as_sent"
		b.start()
		w := b.dial("hema")
		head, _, _ := strings.Cut(cbc("100001"), "R|2|")
		w.send(enq + frame(1, head))
		w.close()
		b.command("POST", fmt.Sprintf("/queue/%d/release", b.only(queue.Incomplete).ID), releasing{By: "ann", Why: "seen"}, nil)
		b.wantSheets("100001 partial: 1 results, 0 held")
	})
}

// TestQuestions: a question is stored and counted and never met with silence.
func TestQuestions(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		b.dial("hema").astm("H|\\^&\rQ|1|^100001||ALL\rL|1|N\r")
		query := `MSH|^~\&|XA|LAB|LIS|HOSP|20000101||QBP^Q11^QBP_Q11|M1|P|2.5.1` + "\rQPD|INISEQ|q1|100001\rRCP|I\r"
		if code := b.dial("chem").hl7(query); code != "AR" {
			t.Errorf("acknowledged %s, want AR", code)
		}
		b.wantQueue(status.Queue{Delivered: 2})
		b.wantAttention()
		b.wantObservations()
		for _, name := range []string{"hema", "chem"} {
			found := false
			for _, n := range b.board.Snapshot(version).Notices {
				found = found || n == status.Notice{Analyzer: name, Reason: "query", Count: 1, Do: n.Do}
			}
			if !found {
				t.Errorf("no notice of the question of %s: %v", name, b.board.Snapshot(version).Notices)
			}
		}
	})
}

// TestColdBoot: with the server unreachable from the first moment the lines are listened to, stored and answered.
func TestColdBoot(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.server.Switch(func(s *sandbox.Switches) { s.Off = true })
		b.start()
		b.dial("hema").astm(cbc("100001"))
		if code := b.dial("chem").hl7(glucose("M1", "200001")); code != "AA" {
			t.Errorf("acknowledged %s", code)
		}
		b.wantQueue(status.Queue{Waiting: 2})
		b.restart()
		b.wantQueue(status.Queue{Waiting: 2})
		b.server.Switch(func(s *sandbox.Switches) { s.Off = false })
		b.after(2 * time.Minute)
		b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9", "200001 GLU=5.4")
		b.wantQueue(status.Queue{Delivered: 2})
	})
}

// TestPipelined: 64 messages in one write are answered in their order.
func TestPipelined(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		w := b.dial("chem")
		var all strings.Builder
		for i := range 64 {
			all.WriteString(vt + glucose(fmt.Sprint(i), fmt.Sprint(200000+i)) + fs)
		}
		w.send(all.String())
		codes := acknowledgements(w.answer())
		if len(codes) != 64 {
			t.Fatalf("%d acknowledgements", len(codes))
		}
		for i, code := range codes {
			if code != fmt.Sprintf("AA %d", i) {
				t.Fatalf("answer %d is %s", i, code)
			}
		}
		b.after(5 * time.Minute)
		if n := len(b.observations()); n != 64 {
			t.Errorf("%d Observations", n)
		}
	})
}

// TestRelease: where the analyzer's word counts its F is final, and so is the sheet; a missing status never is.
func TestRelease(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.cfg.Analyzers[0].Release = "as_sent"
		b.start()
		w := b.dial("hema")
		order := func(message, specimen string) string {
			return strings.Replace(message, specimen+"||^^^CBC|R", specimen+"||^^^CBC|R||||||||||||||||||||F", 1)
		}
		w.astm(order(cbc("100001"), "100001"))
		w.astm(order(strings.ReplaceAll(cbc("100002"), "||F||", "||||"), "100002"))
		b.wantSheets("100001 final: 2 results, 0 held", "100002 partial: 2 results, 0 held")
		for _, o := range b.observations() {
			want := "final"
			if o.Specimen.Identifier.Value == "100002" {
				want = "unknown"
			}
			if o.Status != want {
				t.Errorf("%s is %s, want %s", o, o.Status, want)
			}
		}
	})
}

// TestRenamedAnalyzer: what waits under a name that is gone from the config is never forgotten in silence.
func TestRenamedAnalyzer(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.server.Switch(func(s *sandbox.Switches) { s.Off = true })
		b.start()
		b.dial("hema").astm(cbc("100001"))
		b.stop()
		b.server.Switch(func(s *sandbox.Switches) { s.Off = false })
		b.cfg.Analyzers[0].Name = "hema-2"
		b.start()
		b.after(time.Minute)
		b.wantAttention("hema not-configured 1")
		b.stop()
		b.cfg.Analyzers[0].Name = "hema"
		b.start()
		b.wantAttention()
		b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9")
	})
}

// TestTwoLines: two connections of one HL7 analyzer, and two analyzers, never mix what they send.
func TestTwoLines(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		first, second, hema := b.dial("chem"), b.dial("chem"), b.dial("hema")
		one, two := glucose("M1", "200001"), glucose("M2", "200002")
		first.send(vt + one[:90])
		second.send(vt + two[:70])
		hema.astm(cbc("100001"))
		first.send(one[90:] + fs)
		second.send(two[70:] + fs)
		if a, c := acknowledgements(first.answer()), acknowledgements(second.answer()); fmt.Sprint(a, c) != "[AA M1] [AA M2]" {
			t.Errorf("acknowledged %v and %v", a, c)
		}
		b.wantObservations("200001 GLU=5.4", "200002 GLU=5.4", "100001 WBC=6.41", "100001 HGB=13.9")
	})
}
