package astm

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"labagent/talktest"
)

// FuzzLink does anything at any time to two links, of which one gets every byte by itself: neither panics, neither keeps
// more than it may, both have a deadline while they receive, and both say the same.
//
// A step is a byte: up to 3 are a verdict, taking, or time; others are how many of the bytes behind it are fed.
func FuzzLink(f *testing.F) {
	for _, path := range talks(f) {
		steps, err := talktest.Read(path)
		if err != nil {
			f.Fatal(err)
		}
		var program []byte
		for _, s := range steps {
			switch s.Op {
			case '<':
				for part := range slices.Chunk(s.Data, 250) {
					program = append(append(program, byte(len(part)+4)), part...)
				}
				program = append(program, 0, 2)
			case '!':
				program = append(program, 0, 2+byte(len(s.Word)%2))
			case '@':
				program = append(program, 1)
			}
		}
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		options := Options{MaxFrame: 300, MaxMessage: 2000}
		a, b := newListener(options), newListener(options)
		for len(program) > 0 {
			op := program[0]
			program = program[1:]
			var p []byte
			if op > 3 {
				n := min(int(op)-4, len(program))
				p, program = program[:n], program[n:]
			}
			a.fuzz(op, p)
			if op > 3 && len(p) > 0 {
				for i := range p {
					b.fuzz(op, p[i:i+1])
				}
			} else {
				b.fuzz(op, p)
			}
			a.check(t, options)
			b.check(t, options)
			if !a.equal(b.heard) || !a.link.Deadline().Equal(b.link.Deadline()) {
				t.Fatalf("at once\n%v\nbyte by byte\n%v", a.heard, b.heard)
			}
			a.heard, b.heard = heard{}, heard{}
		}
	})
}

func (l *listener) fuzz(op byte, p []byte) {
	switch op {
	case 0: // as the loop does
		for text, mark, ok := l.link.Take(); ok; text, mark, ok = l.link.Take() {
			l.pieces = append(l.pieces, string(mark)+string(text))
		}
	case 1:
		l.now = l.now.Add(11 * time.Second)
		l.link.Feed(l.now, nil)
	case 2, 3:
		l.link.Verdict(l.now, op == 2)
	default:
		l.link.Feed(l.now, p)
	}
	l.answers = append(l.answers, l.link.Output()...)
	l.words = append(l.words, l.link.Remarks()...)
}

func (l *listener) check(t *testing.T, o Options) {
	k := l.link
	for _, kept := range [][]byte{k.frame, k.last, k.refusal} {
		if cap(kept) > 4*o.MaxFrame {
			t.Fatalf("%d bytes kept of a frame that may have %d", cap(kept), o.MaxFrame)
		}
	}
	if cap(k.kept) > 2*maxKept || k.cutter.size > o.MaxMessage {
		t.Fatalf("%d bytes behind a verdict, %d bytes in a message", cap(k.kept), k.cutter.size)
	}
	receiving := k.awaits == 0 && (k.session || k.phase != outside || len(k.refusal) > 1)
	if receiving && k.Deadline().IsZero() {
		t.Fatal("receiving without a deadline")
	}
	if k.awaits == 0 && k.eaten < len(k.kept) {
		t.Fatal("bytes wait for a verdict, but none is outstanding")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("H|\\^&\rP|1\rL|1\r"))
	for _, path := range samples(f) {
		f.Add([]byte(text(read(f, path))))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		var records [][]byte
		for _, r := range m.Records {
			var fields [][]byte
			for n := range r.Fields() {
				fields = append(fields, r.Field(n+1))
				for repeat := range r.Repeats(n + 1) {
					m.Delimiters.Unescape(r.Component(n+1, repeat+1, 1))
				}
			}
			if got := bytes.Join(fields, []byte{m.Delimiters.Field}); !bytes.Equal(got, r.Text) {
				t.Errorf("the fields join to %q, the record is %q", got, r.Text)
			}
			records = append(records, r.Text)
		}
		lines := bytes.FieldsFunc(text, func(r rune) bool { return r == CR || r == LF })
		if got, want := bytes.Join(records, []byte{CR}), bytes.Join(lines, []byte{CR}); !bytes.Equal(got, want) {
			t.Errorf("the records join to %q, the text is %q", got, want)
		}
	})
}
