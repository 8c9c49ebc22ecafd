package dialect

import (
	"strings"
	"unicode"

	"labagent/lab"
)

// decimal turns s into a decimal legal in FHIR R4 without touching its value: a plus sign and zeros in front
// go, .5 gets its zero, 5. loses its point. plain tells that nothing but the point was mended, and that it is not a whole
// number with an exponent (1E5 may be a position). What no JSON reader keeps (more than 18 digits, an exponent beyond two
// digits) is not a decimal.
func decimal(s string) (d string, plain, ok bool) {
	mantissa, exponent := s, ""
	if at := strings.IndexAny(s, "eE"); at >= 0 {
		mantissa, exponent = s[:at], s[at:]
		digits := strings.TrimLeft(exponent[1:], "+-")
		if !allDigits(digits) || len(digits) > 2 || len(exponent)-1-len(digits) > 1 {
			return "", false, false
		}
	}
	sign := ""
	plain = true
	switch {
	case strings.HasPrefix(mantissa, "-"):
		sign, mantissa = "-", mantissa[1:]
	case strings.HasPrefix(mantissa, "+"):
		mantissa, plain = mantissa[1:], false
	}
	whole, fraction, point := strings.Cut(mantissa, ".")
	if !allDigits(whole+fraction) || len(whole)+len(fraction) > 18 {
		return "", false, false
	}
	short := strings.TrimLeft(whole, "0")
	if short == "" {
		short = "0"
	}
	if whole != "" && short != whole || exponent != "" && !point {
		plain = false
	}
	d = sign + short
	if fraction != "" {
		d += "." + fraction
	}
	return d + exponent, plain, true
}

// number is s as a decimal, empty where it is none.
func number(s string) string {
	d, _, _ := decimal(strings.TrimSpace(s))
	return d
}

// comparators in front of a number, longest first, and what FHIR calls them.
var comparators = []struct{ text, code string }{
	{"<=", "<="}, {">=", ">="}, {"≤", "<="}, {"≥", ">="}, {"<", "<"}, {">", ">"},
}

// compared reads <5, > 15000.00, ≤1.005.
func compared(s string) (comparator, d string, ok bool) {
	for _, c := range comparators {
		if rest, found := strings.CutPrefix(s, c.text); found {
			d, _, ok = decimal(strings.TrimSpace(rest))
			return c.code, d, ok
		}
	}
	return "", "", false
}

// failures are words analyzers write for a value that was not obtained, and why in the words of FHIR.
var failures = map[string]string{
	"ERROR": "error", "INVALID": "error",
	"NO RESULT": "unknown", "NULL": "unknown",
	"NOT DONE": "not-performed", "NOT PERFORMED": "not-performed", "CANCELLED": "not-performed", "ABORTED": "not-performed",
	"NAN": "not-a-number",
}

// absent tells why s is no value, empty when it is one: a word of failure, or a mask (***.**, ????, --.-). A single or
// double dash is left alone: it is how test strips say negative.
func absent(s string) string {
	if why := failures[strings.ToUpper(s)]; why != "" {
		return why
	}
	if strings.ContainsAny(s, "*?") && strings.Trim(s, "*?#., -") == "" {
		return "error"
	}
	if strings.Trim(s, "-., ") == "" && (strings.Count(s, "-") > 2 || strings.Count(s, "-") > 1 && strings.ContainsAny(s, ".,")) {
		return "error"
	}
	return ""
}

// reading is how freely a text may be taken for a number.
type reading byte

const (
	asNumber reading = iota // the sender says it is a number
	asGuess                 // the sender says nothing: ASTM, or OBX-2 empty
	asString                // the sender says it is a string
)

// scalar reads one text. A number in a string is a quantity only with a unit beside it or a comparator in front: a string
// may be a lot or a position. Zeros in front make a number only where a number is said or a unit stands beside it.
func scalar(s string, as reading, unit bool) lab.Value {
	if s == "" {
		return lab.Value{Absent: "unknown"}
	}
	if why := absent(s); why != "" {
		return lab.Value{Absent: why, Text: s}
	}
	if d, plain, ok := decimal(s); ok && (unit || as == asNumber || as == asGuess && plain) {
		return lab.Value{Kind: lab.Number, Number: d}
	}
	if c, d, ok := compared(s); ok {
		return lab.Value{Kind: lab.Number, Number: d, Comparator: c}
	}
	return lab.Value{Kind: lab.Text, Text: s}
}

// simple reads a field that holds one value, perhaps in the wrong component: "POSITIVE^", "^10.31". A word and a number
// ("POSITIVE^10.31", GeneXpert) are the number and its word. Whatever else stands in several components stays one text:
// which of two numbers is the value only a profile may say (filing rules 7).
func (f field) simple(as reading, unit bool) lab.Value {
	if len(f) > 1 {
		return f.text()
	}
	var valued []string
	masked := 0
	for c := 1; len(f) == 1 && c <= len(f[0]); c++ {
		if s := f.part(1, c); s != "" {
			valued = append(valued, s)
			if absent(s) != "" {
				masked++
			}
		}
	}
	switch {
	case len(valued) == 0:
		return scalar("", as, unit)
	case len(valued) == 1:
		return scalar(valued[0], as, unit)
	case masked == len(valued), masked > 0 && absent(valued[0]) != "":
		return lab.Value{Absent: absent(valued[0]), Text: f.whole()}
	case len(valued) == 2 && valued[0] == f.part(1, 1) && valued[1] == f.part(1, 2) && strings.IndexFunc(valued[0], unicode.IsLetter) >= 0:
		v := scalar(valued[1], as, unit)
		if v.Kind == lab.Number {
			v.Text = valued[0]
			return v
		}
	}
	return f.text()
}

// text keeps the field as one text.
func (f field) text() lab.Value {
	s := f.whole()
	if strings.Trim(s, "~^ ") == "" {
		return lab.Value{Absent: "unknown"}
	}
	return lab.Value{Kind: lab.Text, Text: s}
}

// structured reads SN: comparator^number^separator^number (HL7 v2.5.1 chapter 2A).
func (f field) structured() lab.Value {
	comparator, first, separator, second := f.part(1, 1), f.part(1, 2), f.part(1, 3), f.part(1, 4)
	if comparator == "=" {
		comparator = ""
	}
	low, high := number(first), number(second)
	text := comparator + first + separator + second
	switch {
	case text == "":
		return lab.Value{Absent: "unknown"}
	case len(f) > 1, low == "", second != "" && high == "":
	case separator == "" && second == "":
		if comparator == "" {
			return lab.Value{Kind: lab.Number, Number: low}
		}
		if c, d, ok := compared(comparator + first); ok {
			return lab.Value{Kind: lab.Number, Number: d, Comparator: c}
		}
	case comparator == "" && separator == "-":
		return lab.Value{Kind: lab.Interval, Low: low, High: high}
	case comparator == "" && (separator == ":" || separator == "/") && high != "":
		return lab.Value{Kind: lab.Ratio, Low: low, High: high}
	}
	if why := absent(first); why != "" {
		return lab.Value{Absent: why, Text: text}
	}
	return lab.Value{Kind: lab.Text, Text: text}
}

// interval reads NR: low^high.
func (f field) interval() lab.Value {
	low, high := number(f.part(1, 1)), number(f.part(1, 2))
	if len(f) > 1 || low == "" && high == "" || low == "" && f.part(1, 1) != "" || high == "" && f.part(1, 2) != "" {
		return f.text()
	}
	return lab.Value{Kind: lab.Interval, Low: low, High: high}
}

// coded reads CE, CWE, CNE, CF and IS: code^text^system^code^text^system, each repetition; CWE.9 is the original text.
func (f field) coded() lab.Value {
	v := lab.Value{Kind: lab.Coded}
	for r := range f {
		for c := 1; c <= 4; c += 3 {
			if f.part(r+1, c) != "" || f.part(r+1, c+1) != "" {
				v.Codes = append(v.Codes, lab.Code{Code: f.part(r+1, c), Text: f.part(r+1, c+1), System: f.part(r+1, c+2)})
			}
		}
		if v.Text == "" {
			v.Text = f.part(r+1, 9)
		}
	}
	if len(v.Codes) == 0 && v.Text == "" {
		// ^^99ROC names a system and nothing in it.
		return lab.Value{Absent: "unknown", Text: f.whole()}
	}
	if len(v.Codes) == 1 && v.Text == "" {
		code, word := v.Codes[0].Code, v.Codes[0].Text
		if word == "" {
			word = code
		}
		if why := absent(word); why != "" && (code == "" || absent(code) != "") {
			return lab.Value{Absent: why, Text: word}
		}
	}
	return v
}

// date reads DT, DTM and TS.
func (f field) date(c clock) lab.Value {
	t := c.moment(f.part(1, 1))
	if len(f) != 1 || t.At.IsZero() {
		return f.text()
	}
	return lab.Value{Kind: lab.Moment, Time: t}
}

// period reads DR: start^end.
func (f field) period(c clock) lab.Value {
	start, end := c.moment(f.part(1, 1)), c.moment(f.part(1, 2))
	if len(f) != 1 || start.At.IsZero() && end.At.IsZero() || start.Raw != "" && start.At.IsZero() || end.Raw != "" && end.At.IsZero() {
		return f.text()
	}
	return lab.Value{Kind: lab.Period, Time: start, End: end}
}

// timeOfDay reads TM: HH[MM[SS[.S...]]][+-ZZZZ].
func (f field) timeOfDay() lab.Value {
	s := f.part(1, 1)
	if at := strings.IndexAny(s, "+-"); at > 0 {
		s = s[:at]
	}
	digits, fraction, fractional := strings.Cut(s, ".")
	if len(f) != 1 || !allDigits(digits) || len(digits) > 6 || len(digits)%2 != 0 || fractional && (len(digits) != 6 || !allDigits(fraction)) {
		return f.text()
	}
	digits = (digits + "0000")[:6]
	if digits[:2] > "23" || digits[2:4] > "59" || digits[4:] > "59" {
		return f.text()
	}
	text := digits[:2] + ":" + digits[2:4] + ":" + digits[4:]
	if fractional {
		text += "." + fraction
	}
	return lab.Value{Kind: lab.TimeOfDay, Text: text}
}
