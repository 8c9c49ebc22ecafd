package main

import (
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
