package main

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"labagent/queue"
	"labagent/simulate"
	"labagent/talk"
)

// TestTalks plays every conversation whose disk says yes against the whole agent, cut in several ways: the answers are
// those of the file, and each message that it hands up is an item as it came.
func TestTalks(t *testing.T) {
	for protocol, analyzer := range map[string]string{"astm": "hema", "hl7": "chem"} {
		files, err := filepath.Glob(filepath.Join("..", "..", "testdata", protocol, "*.talk"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no conversations of %s: %v", protocol, err)
		}
		for _, path := range files {
			steps, err := talk.Read(path)
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(steps, func(s talk.Step) bool { return s.Op == '!' && s.Word != "ok" }) {
				continue // a disk that says no is played in disk_test.go
			}
			t.Run(protocol+"/"+filepath.Base(path), func(t *testing.T) {
				for _, chunk := range []int{0, 7} {
					playTalk(t, analyzer, steps, chunk)
				}
			})
		}
	}
}

func playTalk(t *testing.T, analyzer string, steps []talk.Step, chunk int) {
	t.Helper()
	inBubble(t, func(b *bubble) {
		b.start()
		ours, theirs := net.Pipe()
		b.lines[analyzer] <- theirs
		if err := simulate.Play(b.Context(), ours, steps, chunk, time.Second); err != nil {
			t.Errorf("chunks of %d: %v", chunk, err)
		}
		synctest.Wait()
		var stored []string
		err := b.plant.queue.List(func(i *queue.Item) bool { stored = append(stored, talk.Text(i.Text)); return true }, true,
			append(slices.Clone(queue.Undelivered), queue.Delivered)...)
		if err != nil {
			t.Fatal(err)
		}
		want := handedUp(steps)
		slices.Sort(stored)
		slices.Sort(want)
		if !slices.Equal(stored, want) {
			t.Errorf("chunks of %d: stored\n  %s\nwant\n  %s", chunk, strings.Join(stored, "\n  "), strings.Join(want, "\n  "))
		}
	})
}

// handedUp lists the messages that a conversation hands up, whole ones and broken ones; what is open at its end breaks off.
func handedUp(steps []talk.Step) (messages []string) {
	var open []byte
	begun := false
	for _, s := range append(slices.Clone(steps), talk.Step{Op: '=', Mark: '!'}) {
		if s.Op != '=' || s.Mark == '?' || s.Mark == 'x' {
			continue
		}
		begun = begun || len(s.Data) > 0
		open = append(open, s.Data...)
		if s.Mark != '=' && begun {
			messages = append(messages, talk.Text(open))
		}
		if s.Mark != '=' {
			open, begun = nil, false
		}
	}
	return messages
}
