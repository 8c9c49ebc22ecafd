package hl7

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

const sample = "MSH|^~\\&|APP^1.2^ISO|LAB||H|20260301080000||ORU^R01^ORU_R01|7|P|2.5.1\r" +
	"PID|1||900^^^A&1.3&ISO~901||Muster^Max\r" +
	"OBX|1|NM|WBC^^L||9.81|10*9/L||N~H\r" +
	"ZZZ\r" +
	"OBX|2|ST|||\"\"|\r"

func TestFields(t *testing.T) {
	m := parse(t, sample)
	if len(m.Segments) != 5 {
		t.Fatalf("%d segments, want 5", len(m.Segments))
	}
	msh, pid, obx, bare, last := m.Segments[0], m.Segments[1], m.Segments[2], m.Segments[3], m.Segments[4]
	for _, c := range []struct {
		title string
		got   []byte
		want  string
	}{
		{"MSH-1", msh.Field(1), "|"},
		{"MSH-2", msh.Field(2), `^~\&`},
		{"MSH-2 is one repetition", msh.Repeat(2, 1), `^~\&`},
		{"MSH-2 is one component", msh.Component(2, 1, 1), `^~\&`},
		{"MSH-3.2", msh.Component(3, 1, 2), "1.2"},
		{"MSH-5 is empty", msh.Field(5), ""},
		{"MSH-9.3", msh.Component(9, 1, 3), "ORU_R01"},
		{"MSH-12", msh.Field(12), "2.5.1"},
		{"PID-3", pid.Field(3), "900^^^A&1.3&ISO~901"},
		{"PID-3(2)", pid.Repeat(3, 2), "901"},
		{"PID-3.1", pid.Component(3, 1, 1), "900"},
		{"PID-3.4", pid.Component(3, 1, 4), "A&1.3&ISO"},
		{"PID-3.4.2", pid.Sub(3, 1, 4, 2), "1.3"},
		{"PID-3.4.3", pid.Sub(3, 1, 4, 3), "ISO"},
		{"PID-3(2).1.1", pid.Sub(3, 2, 1, 1), "901"},
		{"OBX-3.2 is empty", obx.Component(3, 1, 2), ""},
		{"OBX-5", obx.Field(5), "9.81"},
		{"OBX-8(2)", obx.Repeat(8, 2), "H"},
		{"OBX-5 of the last", last.Field(5), `""`},
		{"OBX-6 of the last is empty", last.Field(6), ""},
	} {
		if c.got == nil || string(c.got) != c.want {
			t.Errorf("%s: got %q, want %q", c.title, c.got, c.want)
		}
	}
	for title, got := range map[string][]byte{
		"MSH-0": msh.Field(0), "MSH-13": msh.Field(13), "MSH-2(2)": msh.Repeat(2, 2), "MSH-2.2": msh.Component(2, 1, 2),
		"PID-3(3)": pid.Repeat(3, 3), "PID-3.5": pid.Component(3, 1, 5), "PID-3.4.4": pid.Sub(3, 1, 4, 4), "PID-3(0)": pid.Repeat(3, 0),
		"OBX-9": obx.Field(9), "ZZZ-1": bare.Field(1), "PID-99.1.1": pid.Sub(99, 1, 1, 1),
	} {
		if got != nil {
			t.Errorf("%s: got %q, want nil", title, got)
		}
	}
	for _, c := range []struct {
		title     string
		got, want int
	}{
		{"fields of MSH", msh.Fields(), 12}, {"fields of PID", pid.Fields(), 5}, {"fields of ZZZ", bare.Fields(), 0},
		{"fields of the last", last.Fields(), 6},
		{"repeats of PID-3", pid.Repeats(3), 2}, {"repeats of OBX-4", obx.Repeats(4), 0}, {"repeats of OBX-20", obx.Repeats(20), 0},
		{"repeats of MSH-2", msh.Repeats(2), 1}, {"repeats of MSH-1", msh.Repeats(1), 1},
		{"components of PID-3", pid.Components(3, 1), 4}, {"components of PID-3(2)", pid.Components(3, 2), 1}, {"components of MSH-2", msh.Components(2, 1), 1},
		{"components of OBX-4", obx.Components(4, 1), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %d, want %d", c.title, c.got, c.want)
		}
	}
	if bare.Name() != "ZZZ" || !obx.Is("OBX") || obx.Is("OB") {
		t.Errorf("names: %q, %q", bare.Name(), obx.Name())
	}
}

func TestSegmentEnds(t *testing.T) {
	const head = `MSH|^~\&|A||||20260301||ORU^R01|1|P|2.3.1`
	for _, c := range []struct {
		title, text string
		names       string
		obx5        string // of the last OBX
	}{
		{"CR", head + "\rOBX|1|ST|A||x\r", "MSH OBX", "x"},
		{"LF", head + "\nOBX|1|ST|A||x\n", "MSH OBX", "x"},
		{"CR LF", head + "\r\nOBX|1|ST|A||x\r\n", "MSH OBX", "x"},
		{"none at the end", head + "\rOBX|1|ST|A||x", "MSH OBX", "x"},
		{"blank lines", head + "\r\r\r\nOBX|1|ST|A||x\r\r\n\r", "MSH OBX", "x"},
		{"before MSH", "\xEF\xBB\xBF\r\n " + head + "\rOBX|1|ST|A||x\r", "MSH OBX", "x"},
		{"a line end within a field", head + "\rOBX|1|TX|A||first\rsecond line|u\rNTE|1\r", "MSH OBX NTE", "first\rsecond line"},
		{"LF within a field", head + "\rOBX|1|TX|A||first\nsecond\rNTE|1\r", "MSH OBX NTE", "first\nsecond"},
		{"a blank line within a field", head + "\rOBX|1|TX|A||first\r\rsecond\r", "MSH OBX", "first\r\rsecond"},
		{"a segment without fields", head + "\rOBX|1|ST|A||x\rDSC\r", "MSH OBX DSC", "x"},
		{"a Z segment", head + "\rZ2A|\rOBX|1|ST|A||x\r", "MSH Z2A OBX", "x"},
		{"only MSH", head, "MSH", ""},
	} {
		t.Run(c.title, func(t *testing.T) {
			m := parse(t, c.text)
			var names []string
			obx5 := ""
			for _, s := range m.Segments {
				names = append(names, s.Name())
				if s.Is("OBX") {
					obx5 = string(s.Field(5))
				}
			}
			if got := strings.Join(names, " "); got != c.names || obx5 != c.obx5 {
				t.Errorf("got %s with OBX-5 %q, want %s with %q", got, obx5, c.names, c.obx5)
			}
		})
	}
}

func TestNotAMessage(t *testing.T) {
	for title, text := range map[string]string{
		"nothing": "", "blanks": " \r\n", "other": "GET / HTTP/1.1", "MSH alone": "MSH", "no delimiter": "MSHA^~", "a line end": "MSH\r|",
		"lower case": "msh|^~\\&|", "text in MSH-2": "MSH|APP|FAC\r", "a batch": "BHS|^~\\&|\rMSH|^~\\&|\r", "high delimiter": "MSH\xA6^~\\&\xA6",
	} {
		_, err := Parse([]byte(text))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%s: got %v, want a *SyntaxError", title, err)
		}
	}
}

func TestSeparatorsDeclared(t *testing.T) {
	for _, c := range []struct {
		title, msh string
		want       Separators
	}{
		{"standard", `MSH|^~\&|A`, Standard},
		{"short", `MSH|^~\|A`, Separators{Field: '|', Component: '^', Repeat: '~', Escape: '\\'}},
		{"component only", `MSH|^|A`, Separators{Field: '|', Component: '^'}},
		{"none", `MSH||A`, Standard},
		{"truncation", `MSH|^~\&#|A`, Separators{'|', '^', '~', '\\', '&', '#'}},
		{"others", `MSH*:!/%*A`, Separators{Field: '*', Component: ':', Repeat: '!', Escape: '/', Sub: '%'}},
	} {
		if got := parse(t, c.msh).Separators; got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.title, got, c.want)
		}
	}
	// What is not declared does not divide.
	s := parse(t, "MSH|^|A\rOBX|a~b^c&d\x00e\r").Segments[1]
	if got := s.Sub(1, 1, 2, 1); string(got) != "c&d\x00e" {
		t.Errorf("got %q", got)
	}
	if got := s.Component(1, 1, 1); string(got) != "a~b" {
		t.Errorf("got %q", got)
	}
}

func TestUnescape(t *testing.T) {
	m := parse(t, "MSH|^~\\&#|A\r")
	for _, c := range []struct{ title, raw, want string }{
		{"nothing", "plain", "plain"},
		{"separators", `\F\\S\\T\\R\\E\\P\`, `|^&~\#`},
		{"within text", `34\S\`, `34^`},
		{"a qualitative code and a number", `-1\S\0.0515`, `-1^0.0515`},
		{"masked", `???\S\???`, `???^???`},
		{"hexadecimal", `\X41\\X4a4B\`, `AJK`},
		{"an odd digit", `\X4\`, `\X4\`},
		{"no hexadecimal", `\XZZ\`, `\XZZ\`},
		{"no digits", `\X\`, `\X\`},
		{"a code point (BioSystems BA200)", `\Z03BC\g/L`, "\u03bcg/L"},
		{"a code point beyond the first plane", `\Z1F600\`, "\U0001F600"},
		{"a Z that is no code point", `\Zab\\ZUNIT\`, `\Zab\\ZUNIT\`},
		{"a surrogate", `\ZD800\`, `\ZD800\`},
		{"a new line", `a\.br\b`, "a\nb"},
		{"highlighting", `\H\high\N\`, "high"},
		{"other formatting is kept", `\.sp3\`, `\.sp3\`},
		{"character sets are kept", `\C2842\\M2442\`, `\C2842\\M2442\`},
		{"one backslash", `a\b`, `a\b`},
		{"a backslash at the end", `a\`, `a\`},
		{"a backslash and an escape", `\\E\`, `\\`},
		{"two backslashes", `\\`, `\\`},
		{"a path", `C:\data\run\S\1`, `C:\data\run^1`},
		{"lower case is unknown", `\s\`, `\s\`},
		{"empty", ``, ``},
	} {
		t.Run(c.title, func(t *testing.T) {
			raw := []byte(c.raw)
			if got := m.Unescape(raw); string(got) != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if got, certain := m.Text(raw); got != c.want || !certain {
				t.Errorf("as text: got %q (certain %v), want %q", got, certain, c.want)
			}
			if string(raw) != c.raw {
				t.Errorf("the bytes were changed to %q", raw)
			}
		})
	}
	slash := parse(t, "MSH#@!/%#A\r")
	if got := slash.Unescape([]byte(`/F//S//R//E//T/\F\`)); string(got) != `#@!/%\F\` {
		t.Errorf("with its own escape character: %q", got)
	}
	without := parse(t, "MSH|^~|A\r")
	if got := without.Unescape([]byte(`\F\`)); string(got) != `\F\` {
		t.Errorf("without an escape character: %q", got)
	}
}

func TestEscapeAndBack(t *testing.T) {
	for _, msh := range []string{`MSH|^~\&|A`, `MSH|^~\&#|A`, `MSH#@!/%#A`} {
		m := parse(t, msh)
		const text = `|^~\&#@!/% and \F\`
		escaped := m.Separators.AppendEscaped(nil, text)
		if strings.ContainsAny(string(escaped), string(rune(m.Separators.Field))) {
			t.Errorf("%q still holds a separator", escaped)
		}
		if got := m.Unescape(escaped); string(got) != text {
			t.Errorf("%s: got %q back", msh, got)
		}
	}
	if got := parse(t, "MSH|^~|A").Separators.AppendEscaped(nil, "a|b^c"); string(got) != "a b c" {
		t.Errorf("without an escape character: %q", got)
	}
}

func TestCharsets(t *testing.T) {
	const head = `MSH|^~\&|A||||20260301||ORU^R01|1|P|2.5||||||`
	for _, c := range []struct {
		title, msh18, obx string
		raw5, text5       string
		certain           bool
		charset           string
	}{
		{"UTF-8", "UNICODE UTF-8", "OBX|1|ST|A||5 \xC2\xB5g|u", "5 \xC2\xB5g", "5 µg", true, "UNICODE UTF-8"},
		{"Latin-1", "8859/1", "OBX|1|ST|A||5 \xB5g|u", "5 \xB5g", "5 µg", true, "8859/1"},
		{"a wrong declaration", "UNICODE UTF-8", "OBX|1|ST|A||5 \xB5g|u", "5 \xB5g", "5 µg", false, "UNICODE UTF-8"},
		{"no declaration", "", "OBX|1|ST|A||\xB5g|u", "\xB5g", "µg", false, ""},
		{"GB18030 with | as a trail byte", "GB 18030-2000", "OBX|1|ST|A||\xE3\x7C\x8F\x5E|u", "\xE3\x7C\x8F\x5E", "銃廭", true, "GB 18030-2000"},
		{"GB18030 with the escape as a trail byte", "GB 18030-2000", "OBX|1|ST|A||\x82\x5Cx\\S\\|u", "\x82\x5Cx\\S\\", "俓x^", true, "GB 18030-2000"},
		{"Big5 with the escape as a trail byte", "BIG-5", "OBX|1|ST|A||\xA5\x5C\xB3\x5C\\T\\|u", "\xA5\x5C\xB3\x5C\\T\\", "功許&", true, "BIG-5"},
		{"ISO-2022-JP", "~ISO IR87", "OBX|1|ST|A||\x1b$B=|=^\x1b(B\\F\\|u", "\x1b$B=|=^\x1b(B\\F\\", "除殉|", true, "ISO IR87"},
		{"ISO-2022-JP beside a named ASCII", "ASCII~ISO IR87", "OBX|1|ST|A||\x1b$B;3\x1b(B|u", "\x1b$B;3\x1b(B", "山", true, "ISO IR87"},
		{"a second set that is none of these", "8859/1~UNICODE UTF-8", "OBX|1|ST|A||\xB5|u", "\xB5", "µ", true, "8859/1"},
		{"hexadecimal in the message's set", "GB 18030-2000", "OBX|1|ST|A||\\XD6D0\\\\XD6\\\\XD0\\|u", "\\XD6D0\\\\XD6\\\\XD0\\", "中中", true, "GB 18030-2000"},
		{"a code point in a Latin-1 message", "8859/1", "OBX|1|ST|A||\xB5\\Z03BC\\|u", "\xB5\\Z03BC\\", "µμ", true, "8859/1"},
	} {
		t.Run(c.title, func(t *testing.T) {
			m := parse(t, head+c.msh18+"\r"+c.obx+"\r")
			s := m.Segments[1]
			if got := s.Field(5); string(got) != c.raw5 {
				t.Fatalf("raw: got %q, want %q", got, c.raw5)
			}
			if got := s.Field(6); string(got) != "u" {
				t.Fatalf("the field behind: got %q, want u", got)
			}
			if got, certain := m.Text(s.Field(5)); got != c.text5 || certain != c.certain {
				t.Errorf("text: got %q (certain %v), want %q", got, certain, c.text5)
			}
			if m.Charset != c.charset {
				t.Errorf("charset %q, want %q", m.Charset, c.charset)
			}
		})
	}
}

// A config may know better than MSH-18; components too are found behind trail bytes.
func TestParseAs(t *testing.T) {
	text := []byte("MSH|^~\\&|A||||20260301||ORU^R01|1|P|2.5||||||UNICODE UTF-8\rOBX|1|ST|\x83\x5C\x81\x5E\x81\x7C^n|\x95\x5C\r")
	m, err := ParseAs(text, "shift-jis")
	if err != nil {
		t.Fatal(err)
	}
	s := m.Segments[1]
	if got, _ := m.Text(s.Component(3, 1, 1)); got != "ソ／－" {
		t.Errorf("OBX-3.1: got %q", got)
	}
	if got := s.Component(3, 1, 2); string(got) != "n" {
		t.Errorf("OBX-3.2: got %q", got)
	}
	if got := s.Repeats(3); got != 1 {
		t.Errorf("repeats of OBX-3: got %d", got)
	}
}

// A facility in kanji hides separators and moves MSH-10 and MSH-18 for whoever does not look.
func TestHeaderBehindKanji(t *testing.T) {
	h, err := ReadHeader([]byte("MSH|^~\\&|\xE3\x7C\xE3\x7C|\x8F\x7C|\xE3\x7C||20260301||ORU^R01|\xD6\xD0\xE3\x7C7|P|2.3.1||||||GB 18030-2000\rOBX|"))
	if err != nil {
		t.Fatal(err)
	}
	if got := h.Field(10); string(got) != "\xD6\xD0\xE3\x7C7" {
		t.Errorf("MSH-10: got %q", got)
	}
	if got := h.Charset(); got != "GB 18030-2000" {
		t.Errorf("charset: got %q", got)
	}
}
