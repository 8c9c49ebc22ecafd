package hl7

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// TestLineEnds: a run of line ends that ends no segment is passed over once, in MSH, where the listener reads it before
// anything is stored, and behind it.
func TestLineEnds(t *testing.T) {
	run := bytes.Repeat([]byte{CR}, 1<<20)
	for _, text := range []string{"MSH|^~\\&|A%sx||||||ORU|1\r", "MSH|^~\\&|A||||||ORU|1\rNTE|1||%sx\r"} {
		began := time.Now()
		m, err := Parse(fmt.Appendf(nil, text, run))
		if d := time.Since(began); err != nil || d > 10*time.Second {
			t.Errorf("%s: %v after %v", text, err, d)
		} else if last := m.Segments[len(m.Segments)-1]; last.Fields() < 3 || !bytes.HasSuffix(last.Field(3), []byte("x")) {
			t.Errorf("%s: read as %d segments", text, len(m.Segments))
		}
	}
}

// TestDivide: what is given in one pass is what is given one by one.
func TestDivide(t *testing.T) {
	for _, field := range []string{"", "a", "a^b~c", "~", "^~^", "~~a^", "a&b^c~~"} {
		for _, encoding := range []string{"^~\\&", "^", ""} {
			m, err := Parse([]byte("MSH|" + encoding + "|A\rOBX|" + field + "|z\r"))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range m.Segments {
				for n := 1; n <= 3; n++ {
					all, repeats := s.AllRepeats(n), s.Divide(n)
					if len(all) != s.Repeats(n) || len(repeats) != s.Repeats(n) {
						t.Fatalf("%q %q: %d and %d repetitions, want %d", encoding, field, len(all), len(repeats), s.Repeats(n))
					}
					for r := range repeats {
						if !bytes.Equal(all[r], s.Repeat(n, r+1)) || len(repeats[r]) != s.Components(n, r+1) {
							t.Errorf("%q %q: repetition %d is %q", encoding, field, r+1, repeats[r])
						}
						for c := range repeats[r] {
							if !bytes.Equal(repeats[r][c], s.Component(n, r+1, c+1)) {
								t.Errorf("%q %q: component %d.%d is %q", encoding, field, r+1, c+1, repeats[r][c])
							}
						}
					}
				}
			}
		}
	}
}

// TestNoiseIsNoMessage: bytes of a line at the wrong speed, a VT among them now and then, leave nothing to keep; the torn
// beginning of a message does.
func TestNoiseIsNoMessage(t *testing.T) {
	for text, want := range map[string]int{
		"\x0b\xff\x80xyz\x0b\x00\xfe\x0b\x0bA\x0b": 0,
		"\x0bMSH|^~\\&|A\x0bMSH|^~\\&|B\x0b":       2,
		"\x0b\r\nMS\x0bBHS|^~\\&\x0b":              2,
	} {
		m := NewMLLP(Options{})
		m.Feed(time.Now(), []byte(text))
		got := 0
		for _, mark, ok := m.Take(); ok; _, mark, ok = m.Take() {
			if mark == '!' {
				got++
			}
		}
		if got != want {
			t.Errorf("%q: %d pieces, want %d", text, got, want)
		}
	}
}
