package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"labagent/astm"
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

// TestRefusedOnce: a frame that was refused once and came right leaves nothing behind for a person to clear; one that never
// came right does.
func TestRefusedOnce(t *testing.T) {
	for name, again := range map[string]bool{"offered again": true, "given up": false} {
		t.Run(name, func(t *testing.T) {
			onDisk(t, func(b *bubble, d *disk) {
				w := b.dial("hema")
				w.send(enq)
				w.want(ack)
				records := astm.Split([]byte(cbc("100001")), 0)
				last := len(records) - 1
				for i, r := range records[:last] {
					w.send(frame(i+1, string(r)))
					w.want(ack)
				}
				d.set(func(d *disk) { d.fail = errors.New("no space left on device") })
				w.send(frame(last+1, string(records[last])))
				w.want(nak)
				d.set(func(d *disk) { d.fail = nil })
				if again {
					w.send(frame(last+1, string(records[last])))
					w.want(ack)
				}
				w.send(eot)
				b.after(time.Minute)
				if again {
					b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9")
					b.wantRefused()
					b.wantAttention()
				} else {
					b.wantObservations()
					b.wantRefused("hema 100001 not stored")
					b.wantAttention("hema broken 1", "hema refused-at-the-line 1")
				}
			})
		})
	}
}
