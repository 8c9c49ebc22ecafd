package astm

import (
	"errors"
	"strings"
	"testing"
)

func parse(t *testing.T, text string) *Message {
	t.Helper()
	m, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestParseDelimiters(t *testing.T) {
	for _, c := range []struct {
		name, header string
		want         Delimiters
	}{
		{"standard", `H|\^&|||Hema`, Delimiters{'|', '\\', '^', '&'}},
		{"Erba", "H|`^&||||||||||P|E 1394-97|20260301080000", Delimiters{'|', '`', '^', '&'}},
		{"GeneXpert", `H|@^\|ctl||Xpert`, Delimiters{'|', '@', '^', '\\'}},
		{"DxH", `H|\!~|||DxH`, Delimiters{'|', '\\', '!', '~'}},
		{"no more than delimiters", `H|\^&`, Delimiters{'|', '\\', '^', '&'}},
		{"no escape", `H|\^|||Hema`, Delimiters{'|', '\\', '^', 0}},
		{"no escape, nothing more", `H|\^`, Delimiters{'|', '\\', '^', 0}},
		{"lower case", `h;\^&;;;Hema`, Delimiters{';', '\\', '^', '&'}},
		{"Latin-1", "H\xA6\\^&\xA6\xA6", Delimiters{0xA6, '\\', '^', '&'}},
		{"blank lines before", "\r\nH|\\^&", Delimiters{'|', '\\', '^', '&'}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := parse(t, c.header+"\rL|1\r").Delimiters; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       string
	}{
		{"nothing", "", "record 1: not a header"},
		{"only line ends", "\r\n\r", "record 1: not a header"},
		{"no header", "P|1\rL|1\r", "record 1: not a header"},
		{"header cut", "H|\\\rP|1\r", "record 1: a header without delimiters"},
		{"letters", "HELLO\r", "record 1: delimiters that cannot be told apart"},
		{"twice the same", "H|||\rP|1\r", "record 1: delimiters that cannot be told apart"},
		{"a control character", "H\x00\\^&\rP|1\r", "record 1: delimiters that cannot be told apart"},
		{"second header", "H|\\^&\r\rP|1\rH|\\^&\rL|1\r", "record 3: a second header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Parse([]byte(c.text))
			var syntax *SyntaxError
			if m != nil || !errors.As(err, &syntax) || err.Error() != c.want {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestParseLines(t *testing.T) {
	want := []string{`H|\^&`, "P|1", "Z|own record||", "L|1|N", "C|1|I|behind L"}
	for _, end := range []string{"\r", "\n", "\r\n", "\r\r\n\r"} {
		for _, last := range []string{end, ""} {
			m := parse(t, strings.Join(want, end)+last)
			if len(m.Records) != len(want) {
				t.Fatalf("%q: %d records, want %d", end, len(m.Records), len(want))
			}
			for i, r := range m.Records {
				if string(r.Text) != want[i] {
					t.Errorf("%q: record %d is %q, want %q", end, i, r.Text, want[i])
				}
			}
		}
	}
}

func TestFields(t *testing.T) {
	m := parse(t, "H|\\^&|77||Hema^1.2|||||||P|1|20260301080000\rO|1|26^^7||^^^WBC\\^^^HGB\\^^^PLT|\rr|1|^^^^WBC^1|\r")
	h, o, r := m.Records[0], m.Records[1], m.Records[2]
	if h.Type() != 'H' || o.Type() != 'O' || r.Type() != 'R' || (Record{}).Type() != 0 {
		t.Errorf("types %c %c %c", h.Type(), o.Type(), r.Type())
	}
	for _, c := range []struct {
		name string
		got  []byte
		want string
		none bool
	}{
		{"H.1", h.Field(1), "H", false},
		{"H.2", h.Field(2), `\^&`, false},
		{"H.2 repeat", h.Repeat(2, 1), `\^&`, false},
		{"H.2 second repeat", h.Repeat(2, 2), "", true},
		{"H.2 component", h.Component(2, 1, 1), `\^&`, false},
		{"H.2 second component", h.Component(2, 1, 2), "", true},
		{"H.3", h.Field(3), "77", false},
		{"H.4 empty", h.Field(4), "", false},
		{"H.5.1", h.Component(5, 1, 1), "Hema", false},
		{"H.5.2", h.Component(5, 1, 2), "1.2", false},
		{"H.14", h.Field(14), "20260301080000", false},
		{"H.15 absent", h.Field(15), "", true},
		{"H.0", h.Field(0), "", true},
		{"O.3.2 empty", o.Component(3, 1, 2), "", false},
		{"O.3.3", o.Component(3, 1, 3), "7", false},
		{"O.3.4 absent", o.Component(3, 1, 4), "", true},
		{"O.5 second repeat", o.Repeat(5, 2), "^^^HGB", false},
		{"O.5 third repeat", o.Component(5, 3, 4), "PLT", false},
		{"O.5 fourth repeat", o.Repeat(5, 4), "", true},
		{"O.5 repeat 0", o.Repeat(5, 0), "", true},
		{"O.5 component 0", o.Component(5, 1, 0), "", true},
		{"O.6 empty", o.Field(6), "", false},
		{"R.3", r.Field(3), "^^^^WBC^1", false},
		{"R.3.5", r.Component(3, 1, 5), "WBC", false},
		{"R.4 first of nothing", r.Repeat(4, 1), "", false},
		{"R.9 absent", r.Component(9, 1, 1), "", true},
		{"no record", Record{}.Component(1, 1, 1), "", true},
	} {
		if string(c.got) != c.want || c.none != (c.got == nil) {
			t.Errorf("%s: %q (nil %v), want %q", c.name, c.got, c.got == nil, c.want)
		}
	}
	for _, c := range []struct{ got, want int }{
		{h.Repeats(2), 1}, {h.Repeats(4), 0}, {h.Repeats(5), 1}, {o.Repeats(5), 3}, {o.Repeats(9), 0}, {o.Fields(), 6}, {Record{}.Fields(), 0},
	} {
		if c.got != c.want {
			t.Errorf("got %d, want %d", c.got, c.want)
		}
	}
}

// TestFieldsDoNotGrow: appending to a field does not write over its neighbour.
func TestFieldsDoNotGrow(t *testing.T) {
	m := parse(t, "H|\\^&|a^b\\c|d\r")
	for _, p := range [][]byte{m.Records[0].Field(3), m.Records[0].Repeat(3, 1), m.Records[0].Component(3, 1, 1)} {
		_ = append(p, "XXXX"...)
	}
	if got := string(m.Records[0].Text); got != "H|\\^&|a^b\\c|d" {
		t.Errorf("the record became %q", got)
	}
}

func TestUnescape(t *testing.T) {
	standard := Delimiters{'|', '\\', '^', '&'}
	xpert := Delimiters{'|', '@', '^', '\\'}
	for _, c := range []struct {
		name      string
		d         Delimiters
		raw, want string
	}{
		{"nothing", standard, "plain", "plain"},
		{"all delimiters", standard, "&F&&S&&R&&E&", `|^\&`},
		{"path of an image", standard, "PNG&R&20260301&R&1.PNG", `PNG\20260301\1.PNG`},
		{"declared escape", xpert, `Ada \R\Doe`, "Ada @Doe"},
		{"no escape of this message", xpert, "a &F& b", "a &F& b"},
		{"hexadecimal", standard, "a&X0D0a&b", "a\r\nb"},
		{"odd hexadecimal", standard, "a&X0D0&b", "a&X0D0&b"},
		{"empty hexadecimal", standard, "&X&", "&X&"},
		{"highlight", standard, "&H&high&N& text", "high text"},
		{"maker's own", standard, "&Zabc&F&F&", "&Zabc&F|"},
		{"bare", standard, "R & D", "R & D"},
		{"bare, then real", standard, "A & B &F& C", "A & B | C"},
		{"doubled", standard, "A && B", "A && B"},
		{"open at the end", standard, "A &F", "A &F"},
		{"only one", standard, "&", "&"},
		{"lower case is text", standard, "&f&", "&f&"},
		{"no escape declared", Delimiters{'|', '\\', '^', 0}, "&F&\x00F\x00", "&F&\x00F\x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			raw := []byte(c.raw)
			if got := string(c.d.Unescape(raw)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if string(raw) != c.raw {
				t.Errorf("the raw bytes became %q", raw)
			}
		})
	}
}
