package astm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// samples are the messages of invented patients beside the conversations, after the shapes of real analyzers.
func samples(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob("../testdata/astm/*.astm")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no .astm files: %v", err)
	}
	return paths
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// text is the message as it is to come out of the frames: one CR behind each record.
func text(message []byte) string { return string(bytes.Join(Split(message, 0), nil)) }

// framed is a session that carries the texts.
func framed(texts [][]byte) []byte {
	p := []byte{ENQ}
	for i, text := range texts {
		p = Frame(p, i+1, text, text[len(text)-1] == CR)
	}
	return append(p, EOT)
}

// hearMessage plays the records of one message in frames of every size and chunks of every size, and returns it read.
func hearMessage(t *testing.T, records []byte) *Message {
	t.Helper()
	want := text(records)
	for _, size := range []int{0, 1, 3, 240, 1 << 20} {
		texts := Split(records, min(size, MaxFrame-overhead))
		for _, chunk := range chunkings {
			got := hear(framed(texts), chunk)
			if answers := bytes.Repeat([]byte{ACK}, 1+len(texts)); !bytes.Equal(got.answers, answers) {
				t.Fatalf("frames of %d in chunks of %d: answered % x, want %d ACK", size, chunk, got.answers, len(answers))
			}
			if messages := got.messages(); len(messages) != 1 || messages[0] != want {
				t.Fatalf("frames of %d in chunks of %d: %d messages\n%q\nwant\n%q", size, chunk, len(messages), messages, want)
			}
			if len(got.words) > 0 {
				t.Errorf("frames of %d in chunks of %d: remarked %v", size, chunk, got.words)
			}
		}
	}
	m, err := Parse([]byte(want))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSamples(t *testing.T) {
	kinds := map[string]string{
		"cbc": "HPCOCRRRRRRRRRCL", "e411": "HPORRRCL", "aspects": "HPORRRCCL", "xpert": "HPORRRRCL", "dxh": "HPOCRRL", "erba": "HPORCRL",
	}
	for _, path := range samples(t) {
		name := strings.TrimSuffix(filepath.Base(path), ".astm")
		t.Run(name, func(t *testing.T) {
			m := hearMessage(t, read(t, path))
			if got := types(m); got != kinds[name] {
				t.Errorf("records %s, want %s", got, kinds[name])
			}
		})
	}
}

func types(m *Message) string {
	var all []byte
	for _, r := range m.Records {
		all = append(all, r.Type())
	}
	return string(all)
}

// TestSampleFields reads what is odd in each sample as a dialect would.
func TestSampleFields(t *testing.T) {
	for _, c := range []struct {
		sample                           string
		record, field, repeat, component int
		want                             string
	}{
		{"cbc", 13, 4, 1, 1, `PNG\20260301\2026_03_01_07_58_260301001_WDF.PNG`},
		{"cbc", 3, 4, 1, 3, "             260301001"},
		{"e411", 2, 5, 3, 4, "10"},
		{"e411", 3, 4, 1, 2, "0.211"},
		{"aspects", 4, 3, 1, 8, "DOSE"},
		{"xpert", 3, 11, 1, 1, "Ada @Doe"},
		{"xpert", 4, 4, 1, 2, ""},
		{"xpert", 7, 4, 1, 3, "Errors | none"},
		{"dxh", 3, 4, 1, 1, "Test names beginning with ! are for research"},
		{"dxh", 4, 5, 1, 1, "10~3/uL"},
		{"dxh", 5, 4, 1, 2, "  H"},
		{"erba", 2, 5, 2, 4, "UREA"},
		{"erba", 2, 3, 3, 1, ""},
		{"erba", 5, 4, 1, 1, "7,41"},
	} {
		t.Run(fmt.Sprintf("%s %d.%d", c.sample, c.record, c.field), func(t *testing.T) {
			m, err := Parse([]byte(text(read(t, "../testdata/astm/"+c.sample+".astm"))))
			if err != nil {
				t.Fatal(err)
			}
			got := m.Delimiters.Unescape(m.Records[c.record].Component(c.field, c.repeat, c.component))
			if got == nil || string(got) != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestFrame(t *testing.T) {
	// By hand: '1' + 'A' + ETX = 31 + 41 + 03 = 75, all hexadecimal.
	for _, c := range []struct {
		number int
		text   string
		last   bool
		want   string
	}{
		{1, "A", true, "\x021A\x0375\r\n"},
		{1, "A", false, "\x021A\x1789\r\n"},
		{8, "", true, "\x020\x0333\r\n"},
		{15, "L|1|N\r", true, "\x027L|1|N\r\x030A\r\n"},
	} {
		if got := string(Frame(nil, c.number, []byte(c.text), c.last)); got != c.want {
			t.Errorf("frame %d of %q: %q, want %q", c.number, c.text, got, c.want)
		}
	}
	if got := Frame([]byte{ENQ}, 1, []byte("A"), true); got[0] != ENQ || len(got) != 9 {
		t.Errorf("not appended: %q", got)
	}
}

func TestSplit(t *testing.T) {
	long := "M|1|" + strings.Repeat("x", MaxFrame) + "\r"
	for _, c := range []struct {
		name, message string
		size          int
		want          []string
	}{
		{"a record a frame", "H|\\^&\r\nP|1\n\nL|1", 0, []string{"H|\\^&\r", "P|1\r", "L|1\r"}},
		{"no frame above the standard's size", long, 0, []string{long[:MaxFrame-overhead], long[MaxFrame-overhead:]}},
		{"at a size", "H|\\^&\rL|1|N\r", 5, []string{"H|\\^&", "\rL|1|", "N\r"}},
		{"nothing", "\r\n", 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, text := range Split([]byte(c.message), c.size) {
				got = append(got, string(text))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
