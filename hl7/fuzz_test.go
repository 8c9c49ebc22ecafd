package hl7

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf8"

	"labagent/talktest"
)

// FuzzMLLP feeds any bytes at any times: no panic, no more memory than came in, a deadline while a block is open, and only
// whole blocks as answers.
func FuzzMLLP(f *testing.F) {
	files, _ := filepath.Glob("../testdata/hl7/*.talk")
	for _, file := range files {
		steps, err := talktest.Read(file)
		if err != nil {
			f.Fatal(err)
		}
		var stream []byte
		for _, s := range steps {
			if s.Op == '<' {
				stream = append(stream, s.Data...)
			}
		}
		f.Add(stream, []byte{7, 1, 200, 64})
	}
	f.Fuzz(func(t *testing.T, stream, moves []byte) {
		const limit = 512
		m := NewMLLP(Options{MaxMessage: limit})
		now, handed, answers := noon, 0, []byte(nil)
		open := false // a verdict is owed
		step := func(move byte) {
			for !open {
				piece, mark, ok := m.Take()
				if !ok {
					break
				}
				if handed += len(piece); len(piece) > limit || handed > len(stream) {
					t.Fatalf("%d bytes handed up at once, %d in all, of %d", len(piece), handed, len(stream))
				}
				switch mark {
				case '.', '!', 'x':
				default:
					t.Fatalf("mark %c", mark)
				}
			}
			if m.closed {
				open = true
			}
			if move%3 != 0 && open {
				m.Verdict(now, move%2 == 0)
				open = false
			}
			answers = append(answers, m.Output()...)
			m.Remarks()
			if (m.state == idle) != m.Deadline().IsZero() {
				t.Fatalf("state %d, deadline %v", m.state, m.Deadline())
			}
			if cap(m.block) > 4*limit {
				t.Fatalf("%d bytes kept of a block", cap(m.block))
			}
		}
		for i, rest := 0, stream; len(rest) > 0; i++ {
			move := byte(i)
			if len(moves) > 0 {
				move = moves[i%len(moves)]
			}
			n := min(int(move)%97+1, len(rest))
			m.Feed(now, rest[:n])
			rest = rest[n:]
			step(move)
			if move > 128 {
				now = now.Add(time.Duration(move) * 300 * time.Millisecond)
				m.Feed(now, nil)
				step(move)
			}
		}
		for i := 0; !m.Deadline().IsZero(); i++ {
			if i > 2 {
				t.Fatal("the deadline does not end")
			}
			m.Feed(m.Deadline(), nil)
		}
		for range 2 {
			step(1)
		}
		for len(answers) > 0 {
			payload, rest, found := Cut(answers)
			if !found {
				t.Fatalf("answer %q", answers)
			}
			if _, err := ReadHeader(payload); err != nil {
				t.Fatalf("answer %q: %v", payload, err)
			}
			answers = rest
		}
	})
}

// FuzzParse parses any bytes: no panic, all bytes are in some field, and text is UTF-8.
func FuzzParse(f *testing.F) {
	f.Add([]byte(sample), "")
	f.Add([]byte("MSH|^~\\&|A||||2026||ORU^R01|1|P|2.5||||||~ISO IR87\rOBX|1|ST|A||\x1b$B=|=^\x1b(B\\F\\\\X4|u\rx\r"), "")
	f.Add([]byte("MSH|^~\\&|\xE3\x7C||||2026||ORU^R01|1|P|2.5||||||GB 18030-2000\rOBX|1|ST|A||\x82\x5C\\S\\|u"), "")
	f.Add([]byte("MSH#@!/%#A\nOBX#1/Z03BC/#/.br/"), "shift-jis")
	f.Fuzz(func(t *testing.T, text []byte, encoding string) {
		before := bytes.Clone(text)
		m, err := ParseAs(text, encoding)
		if err != nil {
			return
		}
		total := 0
		for _, s := range m.Segments {
			first := 1
			if s.header {
				first = 2
			}
			total += len(s.Name()) + 1
			for n := first; n <= s.Fields(); n++ {
				field := s.Field(n)
				total += 1 + len(field)
				if len(field) > 300 {
					continue // putting together takes the square of the length
				}
				if again := rejoin(s, n); !bytes.Equal(again, field) {
					t.Fatalf("%q put together: %q", field, again)
				}
				if text, _ := m.Text(field); !utf8.ValidString(text) {
					t.Fatalf("text %q", text)
				}
				m.Unescape(field)
			}
		}
		blank := bytes.Count(text, []byte{CR}) + bytes.Count(text, []byte{LF}) + leading(text)
		if total > len(text)+1 || total < len(text)-blank {
			t.Fatalf("%d bytes in fields, of %d", total, len(text))
		}
		if !bytes.Equal(text, before) {
			t.Fatal("the text was changed")
		}
	})
}
