package hl7

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"labagent/talktest"
)

// run is what came of a conversation in which every verdict is yes.
type run struct {
	Pieces  []string // mark and bytes
	Answers []byte   // with our MSH-10 blanked
	Remarks []string
}

// take does what the loop does: all pieces, one verdict, and again.
func (r *run) take(t *testing.T, m *MLLP, now time.Time) {
	t.Helper()
	for owed := true; owed; {
		owed = false
		for {
			piece, mark, ok := m.Take()
			if !ok {
				break
			}
			r.Pieces = append(r.Pieces, string(mark)+string(piece))
			owed = owed || mark != 'x'
		}
		r.Answers = append(r.Answers, m.Output()...)
		r.Remarks = append(r.Remarks, m.Remarks()...)
		if owed {
			m.Verdict(now, true)
		}
	}
	r.Answers = append(r.Answers, m.Output()...)
}

// blanked gives the blocks of a stream of answers without our MSH-10, which counts and so differs.
func blanked(t *testing.T, answers []byte) (blocks []string) {
	t.Helper()
	for len(answers) > 0 {
		payload, rest, found := Cut(answers)
		if !found {
			t.Fatalf("no whole block: %q", answers)
		}
		h := header(t, string(payload))
		at := int(h.starts[9])
		blocks = append(blocks, string(payload[:at])+"*"+string(payload[at+len(h.Field(10)):]))
		answers = rest
	}
	return blocks
}

func message(id string) []byte {
	return []byte("MSH|^~\\&|A|B|C|D|20260301||ORU^R01|" + id + "|P|2.3.1\rOBR|1||S\rOBX|1|NM|GLU||5.4\r")
}

// 64 messages in one write are taken together, share one verdict and are answered in their order.
func TestPipelining(t *testing.T) {
	for _, safe := range []bool{true, false} {
		m := NewMLLP(Options{})
		var stream []byte
		for i := range 64 {
			stream = Frame(stream, message(fmt.Sprint("M", i)))
		}
		m.Feed(noon, stream)
		for i := range 64 {
			if piece, mark, ok := m.Take(); !ok || mark != '.' || !bytes.Equal(piece, message(fmt.Sprint("M", i))) {
				t.Fatalf("message %d: got %q %c %v", i, piece, mark, ok)
			}
		}
		if _, _, ok := m.Take(); ok || len(m.Output()) > 0 {
			t.Fatal("more than was sent, or an answer before the verdict")
		}
		// What comes while the disk is busy waits for its own verdict.
		m.Feed(noon, Frame(nil, message("late")))
		if _, _, ok := m.Take(); ok || len(m.Output()) > 0 {
			t.Fatal("handed up while a verdict was due")
		}
		m.Verdict(noon, safe)
		want := "AA"
		if !safe {
			want = "AE"
		}
		answers := m.Output()
		for i := range 64 {
			payload, rest, _ := Cut(answers)
			if !strings.Contains(string(payload), fmt.Sprintf("\rMSA|%s|M%d", want, i)) {
				t.Fatalf("answer %d: %q", i, payload)
			}
			answers = rest
		}
		if len(answers) > 0 {
			t.Fatalf("too many answers: %q", answers)
		}
		if piece, _, ok := m.Take(); !ok || !bytes.Equal(piece, message("late")) {
			t.Fatalf("after the verdict: got %q %v", piece, ok)
		}
	}
}

// The pieces are the caller's: what is fed later does not touch them, and changing them does not touch the answer.
func TestPiecesAreTheCallers(t *testing.T) {
	m := NewMLLP(Options{})
	buffer := Frame(nil, message("M1"))
	m.Feed(noon, buffer)
	piece, _, _ := m.Take()
	copy(buffer, Frame(nil, message("M2")))
	m.Feed(noon, buffer)
	if !bytes.Equal(piece, message("M1")) {
		t.Errorf("the piece has become %q", piece)
	}
	clear(piece)
	m.Take()
	m.Verdict(noon, true)
	if out := m.Output(); !bytes.Contains(out, []byte("MSA|AA|M1\r")) {
		t.Errorf("the answer has become %q", out)
	}
}

// A message above the limit is refused once, as soon as that is known, kept for the list of refusals, and passed over; the
// next one is taken.
func TestTooLong(t *testing.T) {
	long := append(message("LONG"), bytes.Repeat([]byte("OBX|1|ST|A||x\r"), 100)...)
	stream := Frame(Frame(Frame(nil, message("M1")), long), message("M2"))
	for _, chunk := range []int{1, 2, 7, 64, len(stream)} {
		m := NewMLLP(Options{MaxMessage: 200})
		var got run
		for rest := stream; len(rest) > 0; {
			n := min(chunk, len(rest))
			m.Feed(noon, rest[:n])
			rest = rest[n:]
			got.take(t, m, noon)
			if cap(m.block) > 1000 {
				t.Fatalf("%d bytes kept", cap(m.block))
			}
		}
		want := []string{"." + string(message("M1")), "x" + string(long[:200]), "." + string(message("M2"))}
		if !reflect.DeepEqual(got.Pieces, want) {
			t.Errorf("chunks of %d: handed up %q, want %q", chunk, got.Pieces, want)
		}
		answers := blanked(t, got.Answers)
		if len(answers) != 3 || !strings.HasSuffix(answers[1], "MSA|AE|LONG|message too long\r") || !strings.HasSuffix(answers[2], "MSA|AA|M2\r") {
			t.Errorf("chunks of %d: answered %q", chunk, answers)
		}
		if !m.Deadline().IsZero() {
			t.Errorf("chunks of %d: a deadline between blocks", chunk)
		}
	}
	exact := NewMLLP(Options{MaxMessage: len(message("M1"))})
	exact.Feed(noon, Frame(nil, message("M1")))
	if _, mark, _ := exact.Take(); mark != '.' {
		t.Errorf("a message of just the limit: %c", mark)
	}
}

// A sender that never stops is heard to the end of its block, and then there is no deadline any more.
func TestTooLongAndSilent(t *testing.T) {
	m := NewMLLP(Options{MaxMessage: 10})
	m.Feed(noon, append([]byte{VT}, message("M1")...))
	if m.Deadline().IsZero() {
		t.Fatal("no deadline inside a block")
	}
	m.Feed(noon.Add(time.Minute), nil)
	if !m.Deadline().IsZero() {
		t.Fatal("still a deadline")
	}
	m.Feed(noon, Frame(nil, message("M2")[:9]))
	m.Take()
	if piece, mark, ok := m.Take(); !ok || mark != '!' || len(piece) != 9 {
		t.Errorf("got %q %c %v", piece, mark, ok)
	}
}

// 5 minutes at one byte in 100 ms are one message.
func TestOneByteAtATime(t *testing.T) {
	m := NewMLLP(Options{})
	now := noon
	var got run
	payload := append(message("M1"), bytes.Repeat([]byte("NTE|1||slow\r"), 250)...)
	for _, b := range Frame(nil, payload) {
		now = now.Add(100 * time.Millisecond)
		if due := m.Deadline(); !due.IsZero() && now.After(due) {
			t.Fatal("the deadline passed")
		}
		m.Feed(now, []byte{b})
		got.take(t, m, now)
	}
	if len(got.Pieces) != 1 || got.Pieces[0] != "."+string(payload) {
		t.Errorf("%d pieces", len(got.Pieces))
	}
}

// An open block can be had when the connection is gone: by letting its time pass.
func TestConnectionEndsWithinABlock(t *testing.T) {
	m := NewMLLP(Options{})
	m.Feed(noon, Frame(nil, message("M1"))[:60])
	m.Feed(m.Deadline(), nil)
	if piece, mark, ok := m.Take(); !ok || mark != '!' || !bytes.Equal(piece, message("M1")[:59]) {
		t.Errorf("got %q %c %v", piece, mark, ok)
	}
}

// However a stream is cut, what is handed up, answered and remarked is the same.
func TestCuttingChangesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	parts := [][]byte{
		Frame(nil, message("M1")), Frame(nil, message("A\\T\\B^C")), Frame(nil, []byte("no message")), Frame(nil, message("")),
		{VT}, {FS}, {CR}, {LF}, {0}, {5}, []byte("noise "), message("T")[:40], message("N"),
		Frame(nil, []byte("MSH|^~\\&|A||||2026||QBP^Q11|Q|P|2.5|||AL|NE\rQPD|\r")),
		Frame(nil, []byte("MSH|^~\\&|A||||2026||ACK|K|P|2.5\rMSA|AA|9\r")),
		Frame(nil, append(message("B1"), message("B2")...)), Frame(nil, nil), {VT, 6, FS, CR}, Frame(nil, bytes.Repeat([]byte("x"), 400)),
	}
	for round := range 400 {
		var stream []byte
		for range 1 + random.IntN(12) {
			stream = append(stream, parts[random.IntN(len(parts))]...)
		}
		play := func(next func() int) run {
			m := NewMLLP(Options{MaxMessage: 300})
			var r run
			for rest := stream; len(rest) > 0; {
				n := min(next(), len(rest))
				m.Feed(noon, rest[:n])
				rest = rest[n:]
				r.take(t, m, noon)
			}
			for !m.Deadline().IsZero() {
				m.Feed(m.Deadline(), nil)
				r.take(t, m, noon)
			}
			return r
		}
		want := play(func() int { return len(stream) })
		for name, next := range map[string]func() int{
			"1": func() int { return 1 }, "2": func() int { return 2 }, "7": func() int { return 7 }, "64": func() int { return 64 },
			"any": func() int { return 1 + random.IntN(50) },
		} {
			got := play(next)
			if !reflect.DeepEqual(got.Pieces, want.Pieces) || !reflect.DeepEqual(got.Remarks, want.Remarks) ||
				!reflect.DeepEqual(blanked(t, got.Answers), blanked(t, want.Answers)) {
				t.Fatalf("round %d, cut by %s: %q\n got %q\nwant %q", round, name, stream, got, want)
			}
		}
	}
}

// Every conversation's bytes, thrown together at random with broken ones: a positive answer is given only to a message
// that was handed up whole, one answer each, in order.
func TestNoFalseAccept(t *testing.T) {
	files, _ := filepath.Glob("../testdata/hl7/*.talk")
	var stream []byte
	for _, file := range files {
		steps, err := talktest.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range steps {
			if s.Op == '<' {
				stream = append(stream, s.Data...)
			}
		}
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		m := NewMLLP(Options{})
		damaged := bytes.Clone(stream)
		for range 20 {
			damaged[random.IntN(len(damaged))] = byte(random.IntN(256))
		}
		var got run
		m.Feed(noon, damaged)
		got.take(t, m, noon)
		var accepted, whole []string
		for rest := got.Answers; len(rest) > 0; {
			payload, after, found := Cut(rest)
			if !found {
				t.Fatalf("answer %q", rest)
			}
			rest = after
			answer, err := Parse(payload)
			if err != nil {
				t.Fatal(err)
			}
			if code := answer.Segments[1].Field(1); code[1] == 'A' {
				accepted = append(accepted, string(answer.Segments[1].Field(2)))
			}
		}
		for _, piece := range got.Pieces {
			if piece[0] != '.' {
				continue
			}
			h, err := ReadHeader([]byte(piece[1:]))
			if err != nil {
				t.Fatalf("handed up as whole: %q", piece)
			}
			whole = append(whole, string(h.Field(10)))
		}
		for _, id := range accepted {
			at := -1
			for i, w := range whole {
				if w == id {
					at = i
					break
				}
			}
			if at < 0 {
				t.Fatalf("%q was accepted, whole and in order are only %q", id, whole)
			}
			whole = whole[at+1:]
		}
	}
}
