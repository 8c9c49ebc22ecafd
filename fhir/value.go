package fhir

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"labagent/filing"
	"labagent/lab"
)

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// exact tells whether s is a decimal that JSON carries. Beyond the reach of a double a server would make null of it.
func exact(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil && decimal.MatchString(s)
}

// shown tells whether a server that holds numbers as doubles, as Medplum does, still shows the digits of s.
func shown(s string) bool {
	f, _ := strconv.ParseFloat(s, 64)
	return strconv.FormatFloat(f, 'f', -1, 64) == s
}

// measure is a number in the unit of r, nil when it is none.
func measure(number string, r filing.Result) *quantity {
	if !exact(number) {
		return nil
	}
	q := &quantity{Value: json.Number(number), Unit: text(r.Unit)}
	if code := compact(r.UCUM); code != "" {
		q.System, q.Code = ucumSystem, code
	}
	return q
}

// count is a number without a unit, nil when it is none.
func count(number string) *quantity {
	if !exact(number) {
		return nil
	}
	return &quantity{Value: json.Number(number)}
}

// answerOf renders value, flags and range of a result, and, in an extension, the value as sent where the element says it
// otherwise.
func answerOf(r filing.Result, s Setting) (answer, []extension) {
	var a answer
	same := a.value(r, s)
	for _, flag := range r.Flags {
		if text(flag) != "" {
			a.Interpretation = append(a.Interpretation, interpretation(flag, s))
		}
	}
	a.ReferenceRange = ranges(r)
	if raw := text(r.Value.Raw); !same && raw != "" && a.DataAbsentReason == nil {
		return a, []extension{{URL: valueExtension, ValueString: raw}}
	}
	return a, nil
}

// value sets value[x], or why there is none; what does not fit its kind goes out as the text it came in. It tells whether
// the raw text can be seen in what it set.
func (a *answer) value(r filing.Result, s Setting) (same bool) {
	v := r.Value
	switch v.Kind {
	case lab.Number:
		if q := measure(v.Number, r); q != nil && comparator(v.Comparator) {
			q.Comparator = v.Comparator
			a.ValueQuantity = q
			return v.Raw == v.Number && shown(v.Number)
		}
	case lab.Coded:
		if c := coded(v, s); len(c.Coding) > 0 {
			a.ValueCodeableConcept = &c
			return text(v.Raw) == c.Coding[0].Code
		}
	case lab.Interval:
		if l := (span{measure(v.Low, r), measure(v.High, r)}); (l.Low != nil || v.Low == "") && (l.High != nil || v.High == "") && (l.Low != nil || l.High != nil) {
			a.ValueRange = &l
			return false
		}
	case lab.Ratio:
		if q := (ratio{measure(v.Low, r), count(v.High)}); q.Numerator != nil && q.Denominator != nil {
			a.ValueRatio = &q
			return false
		}
	case lab.Moment:
		if a.ValueDateTime = dateTime(v.Time); a.ValueDateTime != "" {
			return false
		}
	case lab.TimeOfDay:
		if clock.MatchString(v.Text) {
			a.ValueTime = v.Text
			return v.Raw == v.Text
		}
	case lab.Period:
		if p := (period{dateTime(v.Time), dateTime(v.End)}); p.Start != "" || p.End != "" {
			a.ValuePeriod = &p
			return false
		}
	case lab.Text:
		if a.ValueString = text(v.Text); a.ValueString != "" {
			return a.ValueString == text(v.Raw)
		}
	case lab.None, lab.Bulk:
		reason := absent(r)
		a.DataAbsentReason = &reason
		return true
	}
	if a.ValueString = text(v.Raw); a.ValueString == "" {
		reason := absent(r)
		a.DataAbsentReason = &reason
	}
	return true
}

var clock = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?$`)

func comparator(c string) bool {
	return c == "" || c == "<" || c == "<=" || c == ">=" || c == ">"
}

// coded renders a coded value under the systems its sender named. A LOINC or SNOMED code is what it says it is; anything
// else is the analyzer's own.
func coded(v lab.Value, s Setting) codeableConcept {
	var c codeableConcept
	for _, code := range v.Codes {
		if c.Text == "" {
			c.Text = text(code.Text)
		}
		if compact(code.Code) == "" {
			continue
		}
		system := codeSystem + urn(s.Analyzer)
		switch {
		case code.System == "SCT":
			system = snomedSystem
		case table.MatchString(code.System):
			system = "http://terminology.hl7.org/CodeSystem/v2-" + code.System[3:]
		case code.System != "":
			system += ":" + urn(code.System)
		}
		c.Coding = append(c.Coding, coding{system, compact(code.Code), text(code.Text)})
	}
	if c.Text == "" && len(c.Coding) > 0 {
		c.Text = c.Coding[0].Code
	}
	return c
}

var table = regexp.MustCompile(`^HL7[0-9]{4}$`)

// absentReasons are the codes of FHIR for a value that is not there.
var absentReasons = map[string]string{
	"unknown": "Unknown", "asked-unknown": "Asked But Unknown", "temp-unknown": "Temporarily Unknown", "not-asked": "Not Asked",
	"asked-declined": "Asked But Declined", "masked": "Masked", "not-applicable": "Not Applicable", "unsupported": "Unsupported",
	"as-text": "As Text", "error": "Error", "not-a-number": "Not a Number (NaN)", "negative-infinity": "Negative Infinity (NINF)",
	"positive-infinity": "Positive Infinity (PINF)", "not-performed": "Not Performed", "not-permitted": "Not Permitted",
}

// absent tells why a result has no value, with what stood in its place.
func absent(r filing.Result) codeableConcept {
	reason := r.Value.Absent
	switch {
	case r.Status == "X":
		reason = "not-performed"
	case r.Status == "N" && r.Standing == filing.Cancelled:
		reason = "not-asked" // OBX-11 N
	case absentReasons[reason] == "":
		reason = "unknown"
	}
	return codeableConcept{
		Coding: []coding{{absentSystem, reason, absentReasons[reason]}},
		Text:   text(strings.Trim(r.Value.Raw, `"`)),
	}
}
