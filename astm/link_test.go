package astm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"labagent/driver"
	"labagent/talktest"
)

var _ driver.Talk = (*Link)(nil)

// chunkings are the sizes bytes are fed in; 0 is all at once.
var chunkings = []int{1, 2, 7, 64, 0}

func talks(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob("../testdata/astm/*.talk")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no .talk files: %v", err)
	}
	return paths
}

func TestTalks(t *testing.T) {
	for _, path := range talks(t) {
		steps, err := talktest.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, chunk := range chunkings {
			t.Run(fmt.Sprintf("%s/%d", strings.TrimSuffix(filepath.Base(path), ".talk"), chunk), func(t *testing.T) {
				talktest.Play(t, NewLink(Options{}), steps, chunk)
			})
		}
	}
}

// heard is what came of a run of bytes.
type heard struct {
	answers []byte
	pieces  []string // mark and text
	words   []string
}

// listener plays the loop with a disk that answers at once.
type listener struct {
	link *Link
	now  time.Time
	heard
}

func newListener(o Options) *listener {
	return &listener{link: NewLink(o), now: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)}
}

func (l *listener) feed(p []byte) {
	l.link.Feed(l.now, p)
	l.drain(func() bool { return true })
}

func (l *listener) drain(safe func() bool) {
	for {
		owed := false
		for text, mark, ok := l.link.Take(); ok; text, mark, ok = l.link.Take() {
			l.pieces = append(l.pieces, string(mark)+string(text))
			owed = owed || mark != refused
		}
		l.answers = append(l.answers, l.link.Output()...)
		if !owed {
			break
		}
		l.link.Verdict(l.now, safe())
		l.answers = append(l.answers, l.link.Output()...)
	}
	l.words = append(l.words, l.link.Remarks()...)
}

func (l *listener) wait(d time.Duration) {
	l.now = l.now.Add(d)
	l.feed(nil)
}

// messages joins the pieces of each whole message.
func (h *heard) messages() []string {
	var all []string
	var open strings.Builder
	for _, p := range h.pieces {
		switch p[0] {
		case more:
			open.WriteString(p[1:])
		case whole:
			open.WriteString(p[1:])
			all = append(all, open.String())
			open.Reset()
		case broken:
			open.Reset()
		}
	}
	return all
}

func hear(p []byte, chunk int) heard {
	l := newListener(Options{})
	if chunk == 0 {
		chunk = max(len(p), 1)
	}
	for part := range slices.Chunk(p, chunk) {
		l.feed(part)
	}
	return l.heard
}

func (h *heard) equal(other heard) bool {
	return bytes.Equal(h.answers, other.answers) && slices.Equal(h.pieces, other.pieces) && slices.Equal(h.words, other.words)
}

// session is an ENQ, the frames of the texts, and EOT.
func session(texts ...string) []byte {
	p := []byte{ENQ}
	for i, text := range texts {
		p = Frame(p, i+1, []byte(text), strings.HasSuffix(text, "\r"))
	}
	return append(p, EOT)
}

// TestCutting: however the bytes of a conversation, a good or a wild one, are cut, the answers, the pieces and the remarks
// are the same.
func TestCutting(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 7))
	for i, p := range conversations(t, random) {
		want := hear(p, 0)
		for range 20 {
			l := newListener(Options{})
			for rest := p; len(rest) > 0; {
				n := 1 + random.IntN(min(len(rest), 1+random.IntN(80)))
				l.feed(rest[:n])
				rest = rest[n:]
			}
			if !want.equal(l.heard) {
				t.Fatalf("conversation %d: cut\n%v\nat once\n%v", i, l.heard, want)
			}
		}
		for _, chunk := range chunkings {
			if got := hear(p, chunk); !want.equal(got) {
				t.Fatalf("conversation %d: in chunks of %d\n%v\nat once\n%v", i, chunk, got, want)
			}
		}
	}
}

// conversations are what the analyzer says in each .talk file, and those with bytes changed, lost and doubled.
func conversations(t *testing.T, random *rand.Rand) (all [][]byte) {
	for _, path := range talks(t) {
		steps, err := talktest.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		var said []byte
		for _, s := range steps {
			if s.Op == '<' {
				said = append(said, s.Data...)
			}
		}
		all = append(all, said)
		for range 5 {
			wild := bytes.Clone(said)
			for range 1 + random.IntN(6) {
				at := random.IntN(len(wild))
				switch random.IntN(4) {
				case 0:
					wild[at] = byte(random.IntN(256))
				case 1:
					wild[at] = []byte{STX, ETX, ETB, EOT, ENQ, CR, LF, 'L'}[random.IntN(8)]
				case 2:
					wild = slices.Delete(wild, at, min(len(wild), at+random.IntN(9)))
				case 3:
					wild = slices.Insert(wild, at, said[:min(len(said), random.IntN(60))]...)
				}
				if len(wild) == 0 {
					break
				}
			}
			all = append(all, wild)
		}
	}
	return all
}

func TestDeadline(t *testing.T) {
	l := newListener(Options{Timing: Timing{Receive: time.Minute}})
	want := func(after time.Duration) {
		t.Helper()
		due := time.Time{}
		if after > 0 {
			due = l.now.Add(after)
		}
		if got := l.link.Deadline(); !got.Equal(due) {
			t.Errorf("deadline %v, want %v", got, due)
		}
	}
	want(0)
	l.link.Feed(l.now, []byte{ENQ})
	want(0) // the analyzer waits for us
	l.drain(func() bool { return true })
	want(time.Minute)
	l.now = l.now.Add(50 * time.Second)
	l.feed([]byte("\x00 noise is no sign of life"))
	want(10 * time.Second)
	l.feed([]byte{STX})
	want(time.Minute)
	l.feed([]byte{EOT})
	want(0)
	l.feed([]byte{STX}) // without ENQ
	want(time.Minute)
	l.wait(time.Minute)
	want(0)
}

func TestFrameSize(t *testing.T) {
	text := "H|\\^&\r" + strings.Repeat("x", 87) + "\r"
	for _, c := range []struct {
		name  string
		text  string
		wrong bool
	}{
		{"just fits", text[1:], false},
		{"one too many", text, true},
		{"far too many", text + strings.Repeat("y", 5000) + "\r", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, chunk := range []int{1, 64, 1 << 20} {
				l := newListener(Options{MaxFrame: 100})
				for part := range slices.Chunk(Frame([]byte{ENQ}, 1, []byte(c.text), true), chunk) {
					l.feed(part)
				}
				want := []byte{ACK, ACK}
				if c.wrong {
					want = []byte{ACK, NAK} // once, at its end
				}
				if !bytes.Equal(l.answers, want) {
					t.Errorf("answered % x, want % x", l.answers, want)
				}
				if c.wrong != slices.Contains(l.words, "frame-size") {
					t.Errorf("remarked %v", l.words)
				}
				if cap(l.link.frame) > 512 {
					t.Errorf("%d bytes kept of a frame that may have 100", cap(l.link.frame))
				}
			}
		})
	}
}

// TestFrameWithoutEnd: bytes that never end a frame do not hold the line beyond the timer.
func TestFrameWithoutEnd(t *testing.T) {
	l := newListener(Options{})
	l.feed([]byte{ENQ, STX})
	for range 100 {
		l.now = l.now.Add(time.Second)
		l.feed(bytes.Repeat([]byte("A"), 10_000))
	}
	if !slices.Contains(l.words, "timeout") {
		t.Errorf("no timeout, only %v", l.words)
	}
	if cap(l.link.frame)+cap(l.link.kept) > 4*MaxFrame {
		t.Errorf("%d bytes kept", cap(l.link.frame)+cap(l.link.kept))
	}
}

func TestMessageSize(t *testing.T) {
	l := newListener(Options{MaxMessage: 100})
	text := []byte("M|1|" + strings.Repeat("x", 40) + "\r")
	l.feed(Frame([]byte{ENQ}, 1, []byte("H|\\^&\r"), true))
	l.feed(Frame(nil, 2, text, true))
	l.feed(Frame(nil, 3, text, true))
	l.feed(Frame(nil, 4, text, true))
	l.feed([]byte{EOT})
	if want := []byte{ACK, ACK, ACK, ACK, NAK}; !bytes.Equal(l.answers, want) {
		t.Errorf("answered % x, want % x", l.answers, want)
	}
	want := []string{"?", "=H|\\^&\r", "=" + string(text), "=" + string(text), "x" + string(text), "!"}
	if !slices.Equal(l.pieces, want) {
		t.Errorf("handed up %q, want %q", l.pieces, want)
	}
	if !slices.Contains(l.words, "message-size") {
		t.Errorf("remarked %v", l.words)
	}
	l.feed(session("H|\\^&\rM|1|" + strings.Repeat("y", 40) + "\rL|1\r")) // the next one starts from nothing
	if got := l.pieces[len(l.pieces)-1]; got[0] != whole {
		t.Errorf("the next message ended %q", got)
	}
}

// TestKeptBehindVerdict: bytes that come while the disk works are looked at after it, up to a bound.
func TestKeptBehindVerdict(t *testing.T) {
	l := newListener(Options{})
	p := session("H|\\^&\r", "P|1\r", "L|1|N\r")
	for _, b := range p {
		l.link.Feed(l.now, []byte{b})
	}
	l.drain(func() bool { return true })
	if got := l.messages(); len(got) != 1 || got[0] != "H|\\^&\rP|1\rL|1|N\r" {
		t.Errorf("messages %q", got)
	}

	l = newListener(Options{})
	l.link.Feed(l.now, []byte{ENQ})
	for range 1000 {
		l.link.Feed(l.now, make([]byte, 64<<10))
	}
	if got := cap(l.link.kept); got > 2*maxKept {
		t.Errorf("%d bytes kept behind a verdict", got)
	}
	l.drain(func() bool { return true })
	if !slices.Contains(l.words, "overrun") {
		t.Errorf("remarked %v", l.words)
	}
	l.feed(session("H|\\^&\rL|1\r"))
	if got := l.messages(); len(got) != 1 {
		t.Errorf("messages %q after an overrun", got)
	}
}

// TestVerdictOutOfTurn: a verdict nobody asked for, or on pieces not all taken, promises nothing.
func TestVerdictOutOfTurn(t *testing.T) {
	l := newListener(Options{})
	l.link.Verdict(l.now, true)
	l.link.Feed(l.now, []byte{ENQ})
	l.link.Verdict(l.now, true)
	if out := l.link.Output(); len(out) > 0 {
		t.Errorf("answered % x", out)
	}
	l.drain(func() bool { return true })
	if want := []byte{ACK}; !bytes.Equal(l.answers, want) {
		t.Errorf("answered % x, want % x", l.answers, want)
	}
}

// TestPiecesAreTheCallers: what was taken does not change while more is read.
func TestPiecesAreTheCallers(t *testing.T) {
	l := newListener(Options{})
	l.feed([]byte{ENQ})
	l.link.Feed(l.now, Frame(nil, 1, []byte("H|\\^&\r"), true))
	text, _, _ := l.link.Take()
	l.link.Verdict(l.now, true)
	l.feed(Frame(nil, 2, []byte("XXXXXX"), false))
	l.feed(Frame(nil, 3, []byte("YYYYYY"), false))
	if got := string(text); got != "H|\\^&\r" {
		t.Errorf("the piece became %q", got)
	}
}
