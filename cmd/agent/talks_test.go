package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"labagent/driver"
	"labagent/lab"
	"labagent/queue"
	"labagent/simulate"
	"labagent/talk"
)

// TestTalks plays every conversation against the whole agent, cut in several ways, over a disk that says what the file
// says: the answers are those of the file, and each message whose pieces were safe is an item as it came.
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
		pieces := verdicts(steps)
		b.out.store = func(s driver.Store) driver.Store { return &scripted{Store: s, left: slices.Clone(pieces)} }
		b.start()
		ours, theirs := net.Pipe()
		b.lines[analyzer] <- theirs
		if err := simulate.Play(b.Context(), ours, steps, chunk, 11*time.Second); err != nil {
			t.Errorf("chunks of %d: %v", chunk, err)
		}
		synctest.Wait()
		var stored []string
		err := b.plant.queue.List(func(i *queue.Item) bool { stored = append(stored, talk.Text(i.Text)); return true }, true,
			append(slices.Clone(queue.Undelivered), queue.Delivered)...)
		if err != nil {
			t.Fatal(err)
		}
		want := safe(pieces)
		slices.Sort(stored)
		slices.Sort(want)
		if !slices.Equal(stored, want) {
			t.Errorf("chunks of %d: stored\n  %s\nwant\n  %s", chunk, strings.Join(stored, "\n  "), strings.Join(want, "\n  "))
		}
	})
}

// judged is something a conversation hands up, and the verdict on it.
type judged struct {
	lab.Piece
	verdict string // ok, no, late
}

// verdicts lists what a conversation hands up for a verdict. Where the file gives none it is ok.
func verdicts(steps []talk.Step) (list []judged) {
	open := 0 // of list, waiting for a verdict
	for _, s := range steps {
		switch {
		case s.Op == '=' && s.Mark != 'x':
			list = append(list, judged{lab.Piece{Text: s.Data, Mark: lab.Mark(s.Mark)}, "ok"})
		case s.Op == '!':
			for i := open; i < len(list); i++ {
				list[i].verdict = s.Word
			}
			open = len(list)
		case s.Op == '<' || s.Op == '>':
			open = len(list)
		}
	}
	return list
}

// safe lists the messages of all pieces that were safe, whole ones and broken ones; what is open at the end breaks off.
func safe(pieces []judged) (messages []string) {
	var text []byte
	begun := false
	for _, p := range append(slices.Clone(pieces), judged{lab.Piece{Mark: lab.Broken}, "ok"}) {
		if p.verdict != "ok" || p.Mark == lab.Open {
			continue
		}
		begun = begun || len(p.Text) > 0
		text = append(text, p.Text...)
		if p.Mark == lab.More {
			continue
		}
		if begun {
			messages = append(messages, talk.Text(text))
		}
		text, begun = nil, false
	}
	return messages
}

// scripted is a disk that says what a conversation wants it to say.
type scripted struct {
	driver.Store
	left []judged
}

// judge finds the verdict on a piece, and passes by what stands before it.
func (s *scripted) judge(p lab.Piece) string {
	for i, j := range s.left {
		if j.Mark == p.Mark && bytes.Equal(j.Text, p.Text) {
			s.left = s.left[i+1:]
			return j.verdict
		}
	}
	return "ok"
}

var errScript = errors.New("the conversation wants it so")

func (s *scripted) Ready() error {
	if s.judge(lab.Piece{Mark: lab.Open}) != "ok" {
		return errScript
	}
	return s.Store.Ready()
}

func (s *scripted) Append(ctx context.Context, pieces []lab.Piece) error {
	verdict := "ok"
	for i, p := range pieces {
		if v := s.judge(p); i == 0 {
			verdict = v
		}
	}
	switch verdict {
	case "late":
		<-ctx.Done()
		return ctx.Err()
	case "no":
		return errScript
	}
	return s.Store.Append(ctx, pieces)
}
