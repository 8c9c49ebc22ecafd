package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"labagent/sandbox"
)

// TestBacklog: who has seen that results wait is not called again because more of them do.
func TestBacklog(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.server.Switch(func(s *sandbox.Switches) { s.Off = true })
		b.start()
		w := b.dial("hema")
		w.astm(cbc("100001"))
		b.after(11 * time.Minute)
		b.wantAttention("hema backlog 1")
		b.board.Ack(b.board.Snapshot(version).Attention[0].ID)
		w.astm(cbc("100002"))
		b.after(time.Minute)
		now := b.board.Snapshot(version).Attention
		if len(now) != 1 || !now[0].Acked || !strings.HasPrefix(now[0].Do, "2 messages wait") {
			t.Errorf("attention %+v", now)
		}
	})
}

// TestNotConfigured: what waits of an analyzer whose name was changed is never delivered, and a person is told at once.
func TestNotConfigured(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.server.Switch(func(s *sandbox.Switches) { s.Off = true })
		b.start()
		b.dial("hema").astm(cbc("100001"))
		b.cfg.Analyzers[0].Name = "hema-2"
		b.restart()
		b.wantAttention("hema not-configured 1")
	})
}

// TestFullRingsOnce: an analyzer that tries again and again on a full disk does not ring begin and end in turns.
func TestFullRingsOnce(t *testing.T) {
	onDisk(t, func(b *bubble, d *disk) {
		w := b.dial("hema")
		d.set(func(d *disk) { d.fail = errors.New("no space left on device") })
		for range 30 {
			w.send(enq + frame(1, cbc("100001")) + eot)
			b.after(21 * time.Second)
		}
		full := func(event string) int {
			n := 0
			for line := range strings.SplitSeq(b.bells.String(), "}") {
				if strings.Contains(line, `"event":"`+event+`"`) && strings.Contains(line, `"reason":"full"`) {
					n++
				}
			}
			return n
		}
		if full("begins") != 1 || full("ends") != 0 {
			t.Errorf("while the disk is full it rang %d begins and %d ends", full("begins"), full("ends"))
		}
		d.set(func(d *disk) { d.fail = nil })
		b.after(3 * time.Minute)
		if full("begins") != 1 || full("ends") != 1 {
			t.Errorf("afterwards it rang %d begins and %d ends", full("begins"), full("ends"))
		}
	})
}
