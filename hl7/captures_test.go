package hl7

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"labagent/talktest"
)

// captured is one payload of a capture file.
type captured struct {
	path    string
	stream  []byte // as the analyzer sent it, as far as that can be known
	payload []byte
}

// stored undoes what storing did to a message. Text tools wrote LF for the CR that ends a segment and put one more at the
// end of the file; nothing else in these files is LF. A file that ends with FS (Clinitek) has lost its VT, one that ends
// without any line end has lost the last CR. Files that hold CR are as sent.
func stored(file []byte) []byte {
	file, _, _ = bytes.Cut(file, []byte{FS})
	if bytes.IndexByte(file, CR) < 0 {
		file = bytes.ReplaceAll(file, []byte{LF}, []byte{CR})
	}
	return append(bytes.TrimRight(file, "\r"), CR)
}

// captures reads what index.tsv lists of HL7; csv and json files are tables, not messages.
func captures(t *testing.T) (all []captured) {
	dir := filepath.Join(talktest.Shared(t), "captures", "hl7")
	index, err := os.ReadFile(filepath.Join(dir, "index.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(index), "\n")[1:] {
		path, _, _ := strings.Cut(line, "\t")
		framed := strings.HasSuffix(path, ".frame.bin")
		if !framed && !strings.HasSuffix(path, ".hl7") && !strings.HasSuffix(path, ".txt") {
			continue
		}
		file, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
		if err != nil {
			t.Fatal(err)
		}
		c := captured{path: path}
		if framed {
			c.stream = file
			c.payload, _, _ = Cut(file)
		} else {
			c.payload = stored(file)
			c.stream = Frame(nil, c.payload)
		}
		all = append(all, c)
	}
	return all
}

// Every captured message goes through the machine at every chunk size: handed up byte for byte, answered as its type and
// its MSH-15 want. Not answered at all are the three acknowledgements (cosyte r1-ack-aa, kardianos ack and elrerr).
func TestCapturesThroughMLLP(t *testing.T) {
	all := captures(t)
	if len(all) != 68 {
		t.Errorf("%d messages, the index had 68", len(all))
	}
	acks := 0
	for _, c := range all {
		h, err := ReadHeader(c.payload)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		if h.isAck() {
			acks++
		}
		for _, chunk := range []int{1, 2, 7, 64, len(c.stream)} {
			t.Run(fmt.Sprintf("%s/%d", c.path, chunk), func(t *testing.T) {
				m := NewMLLP(Options{})
				var got run
				for rest := c.stream; len(rest) > 0; {
					n := min(chunk, len(rest))
					m.Feed(noon, rest[:n])
					rest = rest[n:]
					got.take(t, m, noon)
				}
				if h.isAck() {
					if len(got.Pieces) > 0 || len(got.Answers) > 0 || !reflect.DeepEqual(got.Remarks, []string{"ack-received"}) {
						t.Errorf("an acknowledgement: %q, answered %q, %v", got.Pieces, got.Answers, got.Remarks)
					}
					return
				}
				if len(got.Pieces) != 1 || got.Pieces[0] != "."+string(c.payload) {
					t.Fatalf("%d pieces, want the message", len(got.Pieces))
				}
				code, text := "AA", ""
				if c.path == "kardianos__hl7/vaers_long.hl7" { // MSH-15 AL
					code = "CA"
				}
				if kind := string(h.Type()); kind == "QBP" {
					code, text = "AR", "|queries are not served yet"
				}
				want := fmt.Sprintf("\rMSA|%s|%s%s\r", code, h.Field(10), text)
				answer, rest, found := Cut(got.Answers)
				if !found || len(rest) > 0 || !bytes.HasSuffix(answer, []byte(want)) {
					t.Errorf("answered %q, want %q", got.Answers, want)
				}
			})
		}
	}
	if acks != 3 {
		t.Errorf("%d acknowledgements, want 3", acks)
	}
}

// Parsing a captured message loses nothing: put together from its fields it is the same bytes.
func TestCapturesParse(t *testing.T) {
	results := 0
	for _, c := range captures(t) {
		m, err := Parse(c.payload)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		var again []byte
		for _, s := range m.Segments {
			again = append(again, s.Name()...)
			first := 1
			if s.header {
				first = 2
			}
			for n := first; n <= s.Fields(); n++ {
				again = append(append(again, m.Separators.Field), rejoin(s, n)...)
			}
			again = append(again, CR)
			if s.Is("OBX") {
				results++
				if len(s.Field(3)) == 0 {
					t.Errorf("%s: an OBX without OBX-3", c.path)
				}
			}
			for n := 1; n <= s.Fields(); n++ {
				// kardianos order1 and order2 hold a letter above ASCII and declare no set.
				if _, certain := m.Text(s.Field(n)); !certain && m.Charset != "" {
					t.Errorf("%s: %s-%d does not fit %q", c.path, s.Name(), n, m.Charset)
				}
			}
		}
		if !bytes.Equal(bytes.TrimRight(again, "\r"), bytes.TrimRight(c.payload, "\r")) {
			t.Errorf("%s: put together again it differs", c.path)
		}
	}
	if results != 227 {
		t.Errorf("%d OBX in all captures, want 227", results)
	}
}

// rejoin puts field n together from its smallest parts.
func rejoin(s Segment, n int) []byte {
	sep := s.message.Separators
	var field []byte
	for rep := 1; rep <= s.Repeats(n); rep++ {
		if rep > 1 {
			field = append(field, sep.Repeat)
		}
		for comp := 1; comp <= max(1, s.Components(n, rep)); comp++ {
			if comp > 1 {
				field = append(field, sep.Component)
			}
			for sub := 1; ; sub++ {
				part := s.Sub(n, rep, comp, sub)
				if part == nil {
					break
				}
				if sub > 1 {
					field = append(field, sep.Sub)
				}
				field = append(field, part...)
			}
		}
	}
	return field
}
