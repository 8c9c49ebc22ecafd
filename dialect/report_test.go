package dialect

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"labagent/lab"
)

func TestUnreadable(t *testing.T) {
	secret := "SECRETNAME"
	for protocol, texts := range map[string][]string{
		"astm": {"", "H", secret, "P|1|" + secret + "\rL|1\r", "H|\\^&\rP|1|" + secret + "\rH|\\^&\rP|1\rL|1\r", "HHHHH" + secret},
		"hl7":  {"", "MSH", secret, "PID|1|" + secret, "MSH|^~\\&|An\rPID|1|" + secret + "\rMSH|^~\\&|An\r"},
	} {
		for _, text := range texts {
			report, err := Dialects[protocol].Report([]byte(text), Setup{}, received)
			if err == nil {
				t.Errorf("%s %q was read: %+v", protocol, text, report)
			} else if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the error tells data: %v", protocol, err)
			}
		}
	}
}

// TestTorn: of a message that was torn off, what is left of the last line is not read.
func TestTorn(t *testing.T) {
	astm := "H|\\^&\rP|1\rO|1|700001\rR|1|^^^K|4.1|mmol/L\rR|2|^^^NA|14"
	if got := all(t, "astm", astm, Setup{}, received); len(got) != 1 || got[0].Value.Number != "4.1" {
		t.Errorf("%+v", got)
	}
	report, _ := Dialects["astm"].Report([]byte(astm), Setup{}, received)
	if !reflect.DeepEqual(report.Unused, []string{"R"}) {
		t.Errorf("unused %v", report.Unused)
	}
	if got := all(t, "astm", astm+"2|mmol/L\rL|1", Setup{}, received); len(got) != 2 || got[1].Value.Number != "142" {
		t.Errorf("%+v", got)
	}
	hl7 := "MSH|^~\\&|An\rOBR|1||F1\rOBX|1|NM|K||4.1\rOBX|2|NM|NA||14"
	if got := all(t, "hl7", hl7, Setup{Torn: true}, received); len(got) != 1 || got[0].Value.Number != "4.1" {
		t.Errorf("%+v", got)
	}
	if got := all(t, "hl7", hl7+"2\r", Setup{Torn: true}, received); len(got) != 2 {
		t.Errorf("%+v", got)
	}
	// A whole message whose last CR the sender left out.
	if got := all(t, "hl7", hl7+"2", Setup{}, received); len(got) != 2 || got[1].Value.Number != "142" {
		t.Errorf("%+v", got)
	}
}

// TestCharsets reads text in many sets, also such whose characters hold the bytes of delimiters (5C, 5E, 7C).
func TestCharsets(t *testing.T) {
	for _, test := range []struct{ name, protocol, encoding, text, unit, note string }{
		{"Latin-1 by default", "astm", "", "R|1|^^^X|5|\xb5g/L\rC|1|I|f\xfcnf\r", "µg/L", "fünf"},
		{"UTF-8", "astm", "utf-8", "R|1|^^^X|5|\xc2\xb5g/L\rC|1|I|f\xc3\xbcnf\r", "µg/L", "fünf"},
		{"cyrillic", "astm", "cp1251", "R|1|^^^X|5|\xec\xe3/\xeb\rC|1|I|\xef\xff\xf2\xfc\r", "мг/л", "пять"},
		{"Shift_JIS with 5C and 7C inside", "astm", "shift-jis", "R|1|^^^X|5|\x83\x5cg\rC|1|I|\x83\x7c\x83\x5c\r", "ソg", "ポソ"},
		{"GB18030 with 7C and 5E inside", "astm", "gb18030", "R|1|^^^X|5|\x81\x7c\x81\x5e\rC|1|I|ok\r", "亅乛", "ok"},
		{"declared UTF-8", "hl7", "", "OBX|1|NM|X||5|\xc2\xb5g/L\rNTE|1||f\xc3\xbcnf", "µg/L", "fünf"},
		{"bytes that are not as declared", "hl7", "from-message", "OBX|1|NM|X||5|\xb5g/L\rNTE|1||f\xfcnf", "µg/L", "fünf"},
		{"the config knows better", "hl7", "gb18030", "OBX|1|NM|X||5|\x81\x7cg\rNTE|1||\x81\x5e", "亅g", "乛"},
		{"hex escapes", "hl7", "cp1252", "OBX|1|NM|X||5|\\XB5\\g/L\rNTE|1||\\X80\\", "µg/L", "€"},
	} {
		head := map[string]string{"astm": "H|\\^&\rP|1\rO|1|700001\r", "hl7": "MSH|^~\\&|An|||||||1|P|2.5||||||UNICODE UTF-8\rOBR|1||700001\r"}[test.protocol]
		got := all(t, test.protocol, head+test.text, Setup{Encoding: test.encoding}, received)
		if len(got) != 1 || got[0].Unit != test.unit || len(got[0].Notes) != 1 || got[0].Notes[0] != test.note {
			t.Errorf("%s: %+v, want unit %q note %q", test.name, got, test.unit, test.note)
		}
	}
}

// legal is FHIR's decimal as JSON writes it.
var legal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

func FuzzReport(f *testing.F) {
	for _, text := range []string{astmTimed, astmTimeless, astmText, hl7Timed, hl7Timeless, hl7Text,
		"H|\\^&\rQ|1|^7\\8||ALL||||||||A\rL|1|I", "MSH|^~\\&|||||||QBP^Q11|1\rQPD|WOS|t|7\rQRD|||||||8|9|CAN",
		"MSH|^~\\&\rSPM|1|7\rSAC|||8\rPID|1\rORC|1|2\rNTE|||x\rOBR|1\rOBX|1|SN|a||^1^:^2\rOBX|2|CE|a||^^L\rOBX||ED|c||^x\rOBX||CE|d^e^f^S_OTHER||5"} {
		f.Add([]byte(text), "", false)
		f.Add([]byte(text), "shift-jis", true)
	}
	f.Fuzz(func(t *testing.T, text []byte, encoding string, torn bool) {
		for protocol, dialect := range Dialects {
			s := Setup{Encoding: encoding, Torn: torn}
			dialect.Specimen(text, s)
			report, err := dialect.Report(text, s, received)
			if err != nil {
				continue
			}
			if out, err := json.Marshal(report); err != nil || strings.Contains(string(out), `\ufffd`) && !strings.Contains(string(text), "\uFFFD") && encoding == "" && protocol == "astm" {
				t.Errorf("%s: %v %s", protocol, err, out)
			}
			for _, p := range report.Parts {
				for _, r := range p.Results {
					check(t, protocol, r)
				}
			}
		}
	})
}

func check(t *testing.T, protocol string, r lab.Result) {
	t.Helper()
	if want := map[string]int{"astm": 11, "hl7": 13}[protocol]; len(r.Slot) != want || len(r.Version) < 3 {
		t.Errorf("%s: a place of %d fields, a version of %d", protocol, len(r.Slot), len(r.Version))
	}
	v := r.Value
	for _, d := range []string{v.Number, v.Low, v.High} {
		if d != "" && !legal.MatchString(d) {
			t.Errorf("%q is no decimal", d)
		}
		if !strings.Contains(strings.ReplaceAll(v.Raw, " ", ""), strings.TrimLeft(d, "-0")) {
			t.Errorf("the digits of %q are not those of %q", d, v.Raw)
		}
	}
	said := false
	switch v.Kind {
	case lab.None:
		said = v.Absent != ""
	case lab.Number:
		said = v.Number != ""
	case lab.Text, lab.TimeOfDay:
		said = v.Text != ""
	case lab.Coded:
		said = len(v.Codes) > 0 || v.Text != ""
	case lab.Interval:
		said = v.Low != "" || v.High != ""
	case lab.Ratio:
		said = v.Low != "" && v.High != ""
	case lab.Moment:
		said = !v.Time.At.IsZero()
	case lab.Period:
		said = !v.Time.At.IsZero() || !v.End.At.IsZero()
	case lab.Bulk:
		said = true
	}
	if !said {
		t.Errorf("%s: a value that says nothing: %+v", protocol, v)
	}
}
