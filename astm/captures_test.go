package astm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"labagent/talktest"
)

// capture is what real traffic must come to. The files are not ours: they are read where they stand beside the checkout.
type capture struct {
	path    string
	restore func([]byte) []byte // to the bytes on the wire; nil: stored as they were
	frames  int
	records map[byte]int
	words   string // what is remarked, each word once for each time
	enq     bool   // stored with ENQ
}

// The outcomes stated below are those of the files as they are; index.tsv beside them tells their sources.
func TestFramedCaptures(t *testing.T) {
	root := filepath.Join(talktest.Shared(t), "captures/astm")
	ruby, senaite := "wordjelly+Ruby-ASTM/test/resources/", "senaite+senaite.astm/src/senaite/astm/tests/data/"
	erba := "saleh-abbaas+General-ASTM/"
	cases := []capture{
		// LF stands for CR; the frames stand without ENQ, so a header opens the session.
		{ruby + "roche_result.txt", lfToCR, 2, kinds("H1P1O1R2L1"), "no-enq", false},
		{ruby + "roche_enquiry.txt", lfToCR, 1, kinds("H1Q1L1"), "noise no-enq", false}, // two stray ACK before the frame
		{ruby + "stago.txt", reads, 31, kinds("H1P1O6R6C10M6L1"), "", true},
		// The second of the two frames numbered 2 holds a result of its own.
		{ruby + "sysmex_550_sample.txt", crlfToCR, 40, kinds("H1P1C3O1R33L1"), "same-number", true},
		{ruby + "d10_error.txt", reads, 1, kinds("H1P1O1R1L1"), "", true},
		{erba + "multisamplequery", caretToControl, 1, kinds("H1Q1L1"), "", true},
		{senaite + "cobas_c111.txt", nil, 7, kinds("H1P1O1R1C1M1L1"), "no-enq", false},
		{senaite + "genexpert.txt", nil, 1, kinds("H1P1O1R84C3L1"), "no-enq", false},
		{senaite + "sysmex_xp100.txt", nil, 1, kinds("H1P1O1R20L1"), "no-enq", false},
	}
	data, err := filepath.Glob(filepath.Join(root, erba, "misc/sofiaa/utility/data/*"))
	if err != nil || len(data) != 10 {
		t.Fatalf("%d files of one analyzer: %v", len(data), err)
	}
	for _, path := range data {
		cases = append(cases, capture{erba + "misc/sofiaa/utility/data/" + filepath.Base(path), nil, 1, kinds("H1P1O1R1C1L1"), "", true})
	}
	for _, c := range cases {
		t.Run(c.path, func(t *testing.T) {
			wire := read(t, filepath.Join(root, c.path))
			if c.restore != nil {
				wire = c.restore(wire)
			}
			c.play(t, wire)
			c.playDamaged(t, wire)
		})
	}
	if got := indexed(t, root, "wire frames"); got != len(cases) {
		t.Errorf("the index lists %d framed files, %d are told of here", got, len(cases))
	}
}

func (c *capture) play(t *testing.T, wire []byte) {
	for _, chunk := range chunkings {
		got := hear(wire, chunk)
		answers := c.frames
		if c.enq {
			answers++
		}
		if !bytes.Equal(got.answers, bytes.Repeat([]byte{ACK}, answers)) {
			t.Fatalf("chunks of %d: answered % x, want %d ACK", chunk, got.answers, answers)
		}
		if words := strings.Join(got.words, " "); words != c.words {
			t.Errorf("chunks of %d: remarked %q, want %q", chunk, words, c.words)
		}
		messages := got.messages()
		if len(messages) != 1 {
			t.Fatalf("chunks of %d: %d messages, want 1", chunk, len(messages))
		}
		m, err := Parse([]byte(messages[0]))
		if err != nil {
			t.Fatal(err)
		}
		if got := count(m); fmt.Sprint(got) != fmt.Sprint(c.records) {
			t.Errorf("chunks of %d: records %v, want %v", chunk, got, c.records)
		}
		if frames := texts(wire); strings.Join(frames, "") != messages[0] {
			t.Errorf("chunks of %d: the message is not the texts of its frames", chunk)
		}
	}
}

// playDamaged sends each frame first with another checksum: each is refused, and all are taken when they come again.
func (c *capture) playDamaged(t *testing.T, wire []byte) {
	var damaged []byte
	for rest := wire; len(rest) > 0; {
		end := bytes.IndexAny(rest, "\x03\x17")
		if end < 0 {
			damaged = append(damaged, rest...)
			break
		}
		frame := rest[:end+3]
		again := frame[bytes.IndexByte(frame, STX):]
		damaged = append(damaged, frame...)
		damaged[len(damaged)-1] ^= 1 // a digit becomes another, or no digit at all
		damaged = append(damaged, again...)
		rest = rest[end+3:]
	}
	got := hear(damaged, 7)
	if naks := bytes.Count(got.answers, []byte{NAK}); naks != c.frames {
		t.Errorf("damaged: %d NAK for %d frames", naks, c.frames)
	}
	want := hear(wire, 7)
	if a, b := got.messages(), want.messages(); len(a) != 1 || a[0] != b[0] {
		t.Errorf("damaged and repeated, another message came of it")
	}
}

// TestStoredCaptures plays the damaged files as they are stored: a sum that no longer fits is refused, what has lost its
// control characters is noise, and nothing becomes a message.
func TestStoredCaptures(t *testing.T) {
	root := filepath.Join(talktest.Shared(t), "captures/astm")
	for _, c := range []struct {
		path     string
		ack, nak int
		pieces   int // ENQ, and what stands refused at EOT
		word     string
	}{
		{"wordjelly+Ruby-ASTM/test/resources/roche_result.txt", 0, 2, 0, "checksum"},
		{"wordjelly+Ruby-ASTM/test/resources/roche_enquiry.txt", 0, 1, 0, "checksum"},
		{"wordjelly+Ruby-ASTM/test/resources/sysmex_550_sample.txt", 1, 40, 2, "checksum"},
		{"wordjelly+Ruby-ASTM/test/resources/stago.txt", 0, 0, 0, "noise"},
		{"wordjelly+Ruby-ASTM/test/resources/d10_error.txt", 0, 0, 0, "noise"},
		{"saleh-abbaas+General-ASTM/multisamplequery", 0, 0, 0, "noise"},
	} {
		t.Run(c.path, func(t *testing.T) {
			for _, chunk := range chunkings {
				got := hear(read(t, filepath.Join(root, c.path)), chunk)
				ack, nak := bytes.Count(got.answers, []byte{ACK}), bytes.Count(got.answers, []byte{NAK})
				if ack != c.ack || nak != c.nak || len(got.pieces) != c.pieces || len(got.messages()) != 0 {
					t.Errorf("chunks of %d: %d ACK, %d NAK, %d pieces, %d messages", chunk, ack, nak, len(got.pieces), len(got.messages()))
				}
				if !slices.Contains(got.words, c.word) {
					t.Errorf("chunks of %d: remarked %v", chunk, got.words)
				}
			}
		})
	}
}

// TestRecordCaptures sends the files that hold records only through frames.
func TestRecordCaptures(t *testing.T) {
	root := filepath.Join(talktest.Shared(t), "captures/astm")
	played := 0
	for _, row := range index(t, root) {
		if row[2] != "records only" {
			continue
		}
		played++
		t.Run(row[0], func(t *testing.T) {
			records := read(t, filepath.Join(root, row[0]))
			for bytes.HasPrefix(records, []byte("#")) { // a title, not traffic
				_, records, _ = bytes.Cut(records, []byte("\n"))
				records = bytes.TrimLeft(records, "\r\n")
			}
			m := hearMessage(t, records)
			_, want, _ := strings.Cut(row[4], "records ")
			want, _, _ = strings.Cut(want, ";")
			if got := count(m); fmt.Sprint(got) != fmt.Sprint(kinds(strings.ReplaceAll(want, " ", ""))) {
				t.Errorf("records %v, want %s", got, want)
			}
		})
	}
	if played == 0 {
		t.Error("the index lists no file of records")
	}
}

func index(t *testing.T, root string) (rows [][]string) {
	for line := range strings.Lines(string(read(t, filepath.Join(root, "index.tsv")))) {
		if row := strings.Split(strings.TrimRight(line, "\n"), "\t"); len(row) == 5 {
			rows = append(rows, row)
		}
	}
	return rows
}

func indexed(t *testing.T, root, kind string) (n int) {
	for _, row := range index(t, root) {
		if strings.HasPrefix(row[2], kind) {
			n++
		}
	}
	return n
}

// kinds reads "H1P1R20" as the number of records of each type.
func kinds(text string) map[byte]int {
	counts := map[byte]int{}
	var kind byte
	for _, b := range []byte(text) {
		if b >= 'A' {
			kind = b
			continue
		}
		counts[kind] = counts[kind]*10 + int(b-'0')
	}
	return counts
}

func count(m *Message) map[byte]int {
	counts := map[byte]int{}
	for _, r := range m.Records {
		counts[r.Type()]++
	}
	return counts
}

// texts cuts the texts out of frames known to be whole, by nothing but their control characters.
func texts(wire []byte) (all []string) {
	for {
		_, rest, found := bytes.Cut(wire, []byte{STX})
		if !found {
			return all
		}
		end := bytes.IndexAny(rest, "\x03\x17")
		all = append(all, string(rest[1:end]))
		wire = rest[end:]
	}
}

func lfToCR(p []byte) []byte { return bytes.ReplaceAll(p, []byte{LF}, []byte{CR}) }

// caretToControl undoes a terminal's way of showing control characters; the carets of the records stand before digits.
func caretToControl(p []byte) []byte {
	shown := strings.NewReplacer("^E", "\x05", "^B", "\x02", "^C", "\x03", "^D", "\x04", "\n", "\r")
	return []byte(shown.Replace(string(p)))
}

func crlfToCR(p []byte) []byte { return bytes.ReplaceAll(p, []byte{CR, LF}, []byte{CR}) }

// reads joins a list of serial reads, [[5], [2, 49, ...], ...].
func reads(p []byte) []byte {
	var lists [][]int
	if err := json.Unmarshal(p, &lists); err != nil {
		panic(err)
	}
	var wire []byte
	for _, list := range lists {
		for _, b := range list {
			wire = append(wire, byte(b))
		}
	}
	return wire
}
