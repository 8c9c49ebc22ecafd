package dialect

import (
	"strings"
	"testing"

	"labagent/lab"
)

func TestDecimals(t *testing.T) {
	for _, test := range []struct {
		text, want string
		plain      bool
	}{
		{"5.000000", "5.000000", true},
		{"10.0", "10.0", true},
		{"0", "0", true},
		{"-0.000000", "-0.000000", true},
		{".5", "0.5", true},
		{"-.5", "-0.5", true},
		{"5.", "5", true},
		{"+2.5", "2.5", false},
		{"007.50", "7.50", false},
		{"000", "0", false},
		{"3.26E+05", "3.26E+05", true},
		{"1.5e-7", "1.5e-7", true},
		{"1E5", "1E5", false},
		{"123456789012345678", "123456789012345678", true},
	} {
		if got, plain, ok := decimal(test.text); !ok || got != test.want || plain != test.plain {
			t.Errorf("%q: %q plain %v ok %v, want %q %v", test.text, got, plain, ok, test.want, test.plain)
		}
	}
	for _, text := range []string{"", ".", "-", "+", "-.", "e5", "1e", "1e+", "1e+-5", "1e100", "1,5", "1.2.3", "--5", "+-5", " 5", "5 ", "0x1F", "1_000",
		"1234567890123456789", "٣", "Inf", "NaN", "½"} {
		if got, _, ok := decimal(text); ok {
			t.Errorf("%q was taken for %q", text, got)
		}
	}
}

// cut makes a field of a text with ~ and ^ in it.
func cut(text string) field {
	if text == "" {
		return nil
	}
	var f field
	for _, repeat := range strings.Split(text, "~") {
		f = append(f, strings.Split(repeat, "^"))
	}
	return f
}

func TestSimpleValues(t *testing.T) {
	number := func(d string) lab.Value { return lab.Value{Kind: lab.Number, Number: d} }
	compared := func(c, d string) lab.Value { return lab.Value{Kind: lab.Number, Comparator: c, Number: d} }
	text := func(s string) lab.Value { return lab.Value{Kind: lab.Text, Text: s} }
	absent := func(why, s string) lab.Value { return lab.Value{Absent: why, Text: s} }
	for _, test := range []struct {
		name, text string
		as         reading
		unit       bool
		want       lab.Value
	}{
		{"a padded number", "  5.50 ", asGuess, true, number("5.50")},
		{"zeros in front beside a unit", "005", asGuess, true, number("5")},
		{"zeros in front without a unit", "005", asGuess, false, text("005")},
		{"zeros in front said to be a number", "005", asNumber, false, number("5")},
		{"a plus beside a unit", "+5", asGuess, true, number("5")},
		{"a plus without a unit", "+5", asGuess, false, text("+5")},
		{"a number in a string", "6.5", asString, false, text("6.5")},
		{"a number in a string beside a unit", "6.5", asString, true, number("6.5")},
		{"a limit", "> 15000.00", asGuess, false, compared(">", "15000.00")},
		{"a limit in a string", "<5", asString, false, compared("<", "5")},
		{"a limit or equal", "≤1.005", asNumber, true, compared("<=", "1.005")},
		{"a limit in words", "< Titer min", asGuess, true, text("< Titer min")},
		{"a decimal comma", "7,41", asGuess, true, text("7,41")},
		{"thousands", "161,152", asNumber, true, text("161,152")},
		{"a unit in the value", "3.26E+05 cp/mL", asGuess, false, text("3.26E+05 cp/mL")},
		{"a titre", "1:128", asGuess, false, text("1:128")},
		{"stars", "***.**", asNumber, true, absent("error", "***.**")},
		{"question marks", "????", asGuess, false, absent("error", "????")},
		{"a line", "-----", asGuess, true, absent("error", "-----")},
		{"a strip's negative", "-", asGuess, false, text("-")},
		{"a strip's negative, doubled", "--", asGuess, false, text("--")},
		{"a strip's positive", "++++", asGuess, false, text("++++")},
		{"an error", "ERROR^", asGuess, true, absent("error", "ERROR")},
		{"no result", "no result", asString, false, absent("unknown", "no result")},
		{"not a number", "NaN", asNumber, false, absent("not-a-number", "NaN")},
		{"nothing", "", asNumber, true, absent("unknown", "")},
		{"empty components", "^^", asGuess, true, absent("unknown", "")},
		{"deleted", `""`, asNumber, true, absent("unknown", "")},
		{"a call alone", "POSITIVE^", asGuess, false, text("POSITIVE")},
		{"a number in the second component", "^10.31", asGuess, false, number("10.31")},
		{"a call and a number", "POSITIVE^10.31", asGuess, false, lab.Value{Kind: lab.Number, Number: "10.31", Text: "POSITIVE"}},
		{"a call and a number in a string", "POSITIVE^10.31", asString, false, text("POSITIVE^10.31")},
		{"a call and a limit", "POSITIVE^<40", asGuess, true, lab.Value{Kind: lab.Number, Number: "40", Comparator: "<", Text: "POSITIVE"}},
		{"two numbers", "-1^0.325", asGuess, true, text("-1^0.325")},
		{"a failed call and a number", "ERROR^0.0", asGuess, false, absent("error", "ERROR^0.0")},
		{"two masks", "???^???", asGuess, false, absent("error", "???^???")},
		{"a number and a flag", "146^  H ", asGuess, true, text("146^  H")},
		{"grades", "3+^3^45", asGuess, false, text("3+^3^45")},
		{"repetitions", "1~2", asNumber, true, text("1~2")},
		{"words said to be a number", "Clotted", asNumber, true, text("Clotted")},
	} {
		if got := cut(test.text).simple(test.as, test.unit); !same(got, test.want) {
			t.Errorf("%s, %q: %+v, want %+v", test.name, test.text, got, test.want)
		}
	}
}

func same(a, b lab.Value) bool {
	return a.Kind == b.Kind && a.Number == b.Number && a.Comparator == b.Comparator && a.Text == b.Text && a.Absent == b.Absent &&
		a.Low == b.Low && a.High == b.High
}

func TestStructuredNumbers(t *testing.T) {
	for _, test := range []struct {
		text string
		want lab.Value
	}{
		{"^10", lab.Value{Kind: lab.Number, Number: "10"}},
		{"=^10", lab.Value{Kind: lab.Number, Number: "10"}},
		{"<=^10.0", lab.Value{Kind: lab.Number, Number: "10.0", Comparator: "<="}},
		{"<>^10", lab.Value{Kind: lab.Text, Text: "<>10"}},
		{"^2^-^3", lab.Value{Kind: lab.Interval, Low: "2", High: "3"}},
		{"^2^-^", lab.Value{Kind: lab.Interval, Low: "2"}},
		{"^1^:^128", lab.Value{Kind: lab.Ratio, Low: "1", High: "128"}},
		{"^1^/^128", lab.Value{Kind: lab.Ratio, Low: "1", High: "128"}},
		{">^1^:^128", lab.Value{Kind: lab.Text, Text: ">1:128"}},
		{"^1^:", lab.Value{Kind: lab.Text, Text: "1:"}},
		{"^2^+", lab.Value{Kind: lab.Text, Text: "2+"}},
		{"<^few", lab.Value{Kind: lab.Text, Text: "<few"}},
		{"^***", lab.Value{Absent: "error", Text: "***"}},
		{"", lab.Value{Absent: "unknown"}},
		{"=", lab.Value{Absent: "unknown"}},
	} {
		if got := cut(test.text).structured(); !same(got, test.want) {
			t.Errorf("%q: %+v, want %+v", test.text, got, test.want)
		}
	}
}

func TestTimesOfDay(t *testing.T) {
	for text, want := range map[string]string{"09": "09:00:00", "0930": "09:30:00", "093015": "09:30:15", "093015.250": "09:30:15.250", "0930+0100": "09:30:00"} {
		if got := cut(text).timeOfDay(); got.Kind != lab.TimeOfDay || got.Text != want {
			t.Errorf("%q: %+v, want %s", text, got, want)
		}
	}
	for _, text := range []string{"9", "2400", "0960", "09:30", "0930.5", "093015."} {
		if got := cut(text).timeOfDay(); got.Kind != lab.Text || got.Text != text {
			t.Errorf("%q: %+v, want the text", text, got)
		}
	}
}

func TestTestCodes(t *testing.T) {
	for _, test := range []struct{ text, code, name, aspect string }{
		{"^^^WBC", "WBC", "", ""},
		{"^^^^WBC^1", "WBC", "", "1"},
		{"^^^VitD^^^1^RLU", "VitD", "", "1^RLU"},
		{"ABO", "ABO", "", ""},
		{"6690-2^Leukocytes^LN^WBC", "WBC", "Leukocytes", ""},
		{"6690-2^Leukocytes^LN", "6690-2", "", "Leukocytes^LN"},
		{"^^^", "", "", ""},
		{"", "", "", ""},
	} {
		code, aspect := cut(test.text).test()
		if code.Code != test.code || code.Text != test.name || aspect != test.aspect {
			t.Errorf("%q: %+v %q, want %q %q %q", test.text, code, aspect, test.code, test.name, test.aspect)
		}
	}
}
