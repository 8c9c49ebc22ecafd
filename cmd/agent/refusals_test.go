package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"labagent/sandbox"
)

// TestOnlyWhatCameAfterARefusalClearsIt: a rerun of a specimen was refused; the first run, which came before and is delivered
// after, does not stand for it.
func TestOnlyWhatCameAfterARefusalClearsIt(t *testing.T) {
	onDisk(t, func(b *bubble, d *disk) {
		chem := b.dial("chem")
		b.server.Switch(func(s *sandbox.Switches) { s.Off = true })
		if code := chem.hl7(glucose("M1", "200001")); code != "AA" {
			t.Fatalf("acknowledged %s", code)
		}
		b.after(time.Minute)
		rerun := strings.Replace(glucose("M2", "200001"), "5.4", "9.9", 1)
		d.set(func(d *disk) { d.fail = errors.New("no space left on device") })
		if code := chem.hl7(rerun); code != "AE" {
			t.Fatalf("acknowledged %s", code)
		}
		d.set(func(d *disk) { d.fail = nil })
		b.server.Switch(func(s *sandbox.Switches) { s.Off = false })
		b.after(2 * time.Minute)
		b.wantObservations("200001 GLU=5.4")
		b.wantRefused("chem 200001 not stored")
		b.wantAttention("chem refused-at-the-line 1")
		if code := chem.hl7(rerun); code != "AA" {
			t.Fatalf("acknowledged %s", code)
		}
		b.wantObservations("200001 GLU=5.4", "200001 GLU=9.9")
		b.wantRefused()
	})
}
