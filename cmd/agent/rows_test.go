package main

import (
	"fmt"
	"strings"
	"testing"

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
