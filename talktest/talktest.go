// Package talktest plays .talk files, whose form package talk tells, against a protocol machine, and finds the real traffic
// that may stand beside the checkout.
package talktest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"labagent/talk"
)

// Step is one step of a conversation.
type Step = talk.Step

// Bytes turns the text of a .talk line into bytes.
func Bytes(text string) ([]byte, error) { return talk.Bytes(text) }

// Text writes bytes as a .talk line does.
func Text(p []byte) string { return talk.Text(p) }

// Read reads a .talk file.
func Read(path string) ([]Step, error) { return talk.Read(path) }

// Shared returns the folder of real analyzer traffic that may stand beside the checkout, and skips the test where it does
// not: the traffic is not ours to copy.
func Shared(t testing.TB) string {
	t.Helper()
	for _, dir := range []string{os.Getenv("LABAGENT_SHARED"), "../shared", "../../shared", "../../../shared"} {
		if info, err := os.Stat(filepath.Join(dir, "captures")); dir != "" && err == nil && info.IsDir() {
			return dir
		}
	}
	t.Skip("the real captures (../shared/captures) are not beside this checkout")
	return ""
}

// Machine is what a .talk file is played against; driver.Talk satisfies it.
type Machine interface {
	Feed(now time.Time, p []byte)
	Output() []byte
	Take() (piece []byte, mark byte, ok bool)
	Verdict(now time.Time, safe bool)
	Deadline() time.Time
	Remarks() []string
}

// Play plays the conversation against m, feeding at most chunk bytes at a time (0: all at once). Pieces are taken as soon
// as they are there. A file that gives no verdict for what it hands up gets ok at the next step that is not an =.
func Play(t *testing.T, m Machine, steps []Step, chunk int) {
	t.Helper()
	p := &player{t: t, m: m, now: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC), remarks: map[string]bool{}}
	for _, s := range steps {
		p.step(s, chunk)
	}
	p.settle()
	if len(p.out) > 0 {
		t.Errorf("at the end: answered %s, which the file does not expect", Text(p.out))
	}
	for _, piece := range p.taken {
		t.Errorf("at the end: handed up %c %s, which the file does not expect", piece.mark, Text(piece.text))
	}
}

type taken struct {
	text []byte
	mark byte
}

type player struct {
	t       *testing.T
	m       Machine
	now     time.Time
	out     []byte // written and not yet expected
	taken   []taken
	owed    bool // something taken waits for a verdict
	remarks map[string]bool
}

func (p *player) collect() {
	p.out = append(p.out, p.m.Output()...)
	for {
		text, mark, ok := p.m.Take()
		if !ok {
			break
		}
		p.taken = append(p.taken, taken{bytes.Clone(text), mark})
		if mark != 'x' {
			p.owed = true
		}
	}
	p.out = append(p.out, p.m.Output()...)
	for _, word := range p.m.Remarks() {
		p.remarks[word] = true
	}
}

func (p *player) verdict(safe bool) {
	p.owed = false
	p.m.Verdict(p.now, safe)
	p.collect()
}

// settle gives the verdict ok that the file left out, as often as bytes kept behind one lead to the next.
func (p *player) settle() {
	for p.owed {
		p.verdict(true)
	}
}

func (p *player) step(s Step, chunk int) {
	p.t.Helper()
	switch s.Op {
	case '<':
		p.settle()
		for data := s.Data; len(data) > 0; {
			n := len(data)
			if chunk > 0 && chunk < n {
				n = chunk
			}
			p.m.Feed(p.now, data[:n])
			data = data[n:]
			p.collect()
		}
	case '@':
		p.pass(s.Wait)
	case '=':
		if len(p.taken) == 0 && p.owed {
			p.settle()
		}
		if len(p.taken) == 0 {
			p.t.Fatalf("line %d: nothing was handed up, want %c %s", s.Line, s.Mark, Text(s.Data))
		}
		got := p.taken[0]
		p.taken = p.taken[1:]
		if got.mark != s.Mark || !s.Match(got.text) {
			p.t.Fatalf("line %d: handed up\n  %c %s\nwant\n  %c %s", s.Line, got.mark, Text(got.text), s.Mark, Text(s.Data))
		}
	case '!':
		if !p.owed {
			p.t.Fatalf("line %d: a verdict, but nothing waits for one", s.Line)
		}
		p.verdict(s.Word == "ok")
	case '>':
		p.settle()
		if !s.Match(p.out) {
			p.t.Fatalf("line %d: answered\n  %s\nwant\n  %s", s.Line, Text(p.out), Text(s.Data))
		}
		p.out = nil
	case '*':
		if !p.remarks[s.Word] {
			p.t.Fatalf("line %d: %q was not remarked, only %v", s.Line, s.Word, p.remarks)
		}
	}
}

// pass lets time go by, stopping at each deadline on the way as the loop would.
func (p *player) pass(d time.Duration) {
	end := p.now.Add(d)
	for range 1000 {
		due := p.m.Deadline()
		if due.IsZero() || due.After(end) {
			break
		}
		if due.After(p.now) {
			p.now = due
		}
		p.m.Feed(p.now, nil)
		p.collect()
	}
	p.now = end
	p.m.Feed(p.now, nil)
	p.collect()
}
