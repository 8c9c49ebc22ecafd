package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"labagent/dialect"
	"labagent/lab"
	"labagent/queue"
)

// TestGivenUpIsShownAsHeld: nothing of a message that the analyzer gave up is delivered, and queue ls does not say so.
func TestGivenUpIsShownAsHeld(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		b.dial("hema").astm(strings.Replace(cbc("100001"), "L|1|N", "L|1|T", 1))
		var rows []string
		for _, r := range b.rows() {
			rows = append(rows, fmt.Sprintf("%s %s %s %t", r.Specimen, r.State, r.Reason, r.Do != ""))
		}
		if want := fmt.Sprintf("100001 %s incomplete true", queue.Held); strings.Join(rows, "\n") != want {
			t.Errorf("rows %q, want %q", rows, want)
		}
	})
}

// TestReaderThatPanics: a message over which a new version stumbles keeps neither the agent from starting nor a person from
// looking at the queue.
func TestReaderThatPanics(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		b.dial("hema").astm(strings.Replace(cbc("100001"), "^^^HGB", "^^^NEW", 1))
		b.stop()
		b.out.built = func(p *plant) {
			b.plant = p
			p.analyzers["hema"].dialect.Report = func([]byte, dialect.Setup, time.Time) (lab.Report, error) { panic("Muster") }
		}
		b.start()
		if rows := b.rows(); len(rows) != 1 || rows[0].State != queue.Held || rows[0].Specimen != "100001" {
			t.Errorf("rows %+v", rows)
		}
		var view itemView
		b.command("GET", fmt.Sprintf("/queue/%d", b.only(queue.Held).ID), nil, &view)
		if view.Problem == "" || strings.Contains(view.Problem+b.log.String(), "Muster") {
			t.Errorf("problem %q", view.Problem)
		}
	})
}
