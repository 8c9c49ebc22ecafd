package fhir

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"labagent/filing"
	"labagent/lab"
)

// object reads what Observation rendered.
func rendered(t *testing.T, p lab.Part, r lab.Result) map[string]any {
	t.Helper()
	o := Observation(filing.Part{Part: p}, filing.Result{Result: r, Standing: filing.Preliminary}, setting)
	var got map[string]any
	dec := json.NewDecoder(strings.NewReader(string(o.Body)))
	dec.UseNumber()
	if err := dec.Decode(&got); err != nil {
		t.Fatalf("%v in %s", err, o.Body)
	}
	return got
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		name  string
		value lab.Value
		want  string // the member value[x] or dataAbsentReason as JSON
	}{
		{"number", numeric("5.10"), `"valueQuantity":{"value":5.10,"unit":"u"}`},
		{"trailing zeros", numeric("5.000000"), `"valueQuantity":{"value":5.000000,"unit":"u"}`},
		{"negative zero", numeric("-0.000"), `"valueQuantity":{"value":-0.000,"unit":"u"}`},
		{"twenty digits", numeric("12345678901234567890.1"), `"valueQuantity":{"value":12345678901234567890.1,"unit":"u"}`},
		{"exponent", numeric("3.26E+05"), `"valueQuantity":{"value":3.26E+05,"unit":"u"}`},
		{"comparator", lab.Value{Kind: lab.Number, Raw: "<5", Number: "5", Comparator: "<"}, `"valueQuantity":{"value":5,"comparator":"<","unit":"u"}`},
		{"strange comparator", lab.Value{Kind: lab.Number, Raw: "~5", Number: "5", Comparator: "~"}, `"valueString":"~5"`},
		{"no decimal", lab.Value{Kind: lab.Number, Raw: "+.5", Number: "+.5"}, `"valueString":"+.5"`},
		{"beyond a double", lab.Value{Kind: lab.Number, Raw: "1e400", Number: "1e400"}, `"valueString":"1e400"`},
		{"text", lab.Value{Kind: lab.Text, Raw: "NEG", Text: "NEG"}, `"valueString":"NEG"`},
		{"empty text", lab.Value{Kind: lab.Text}, `"dataAbsentReason":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/data-absent-reason","code":"unknown","display":"Unknown"}]}`},
		{"open interval", lab.Value{Kind: lab.Interval, Raw: "5-", Low: "5"}, `"valueRange":{"low":{"value":5,"unit":"u"}}`},
		{"interval that is none", lab.Value{Kind: lab.Interval, Raw: "few-many", Low: "few", High: "10"}, `"valueString":"few-many"`},
		{"ratio", lab.Value{Kind: lab.Ratio, Raw: "1:128", Low: "1", High: "128"}, `"valueRatio":{"numerator":{"value":1,"unit":"u"},"denominator":{"value":128}}`},
		{"ratio that is none", lab.Value{Kind: lab.Ratio, Raw: "1:many", Low: "1", High: "many"}, `"valueString":"1:many"`},
		{"moment not understood", lab.Value{Kind: lab.Moment, Raw: "2026-13"}, `"valueString":"2026-13"`},
		{"time of day not understood", lab.Value{Kind: lab.TimeOfDay, Raw: "25", Text: "25"}, `"valueString":"25"`},
		{"LOINC as a value is not believed", lab.Value{Kind: lab.Coded, Raw: "x", Codes: []lab.Code{{Code: "718-7", System: "LN"}}}, `"valueCodeableConcept":{"coding":[{"system":"urn:labagent:code:hematology-1:LN","code":"718-7"}],"text":"718-7"}`},
		{"coded without a code", lab.Value{Kind: lab.Coded, Raw: "^Negative", Codes: []lab.Code{{Text: "Negative"}}}, `"valueString":"^Negative"`},
		{"masked", lab.Value{Raw: "****", Absent: "masked"}, `"dataAbsentReason":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/data-absent-reason","code":"masked","display":"Masked"}],"text":"****"}`},
		{"a reason FHIR does not have", lab.Value{Raw: "?", Absent: "clot"}, `"dataAbsentReason":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/data-absent-reason","code":"unknown","display":"Unknown"}],"text":"?"}`},
		{"nothing", lab.Value{Raw: `""`}, `"dataAbsentReason":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/data-absent-reason","code":"unknown","display":"Unknown"}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := Observation(filing.Part{}, filing.Result{Result: lab.Result{Test: lab.Code{Code: "X"}, Value: c.value, Unit: "u"}}, setting)
			if !strings.Contains(string(o.Body), c.want) {
				t.Errorf("got %s, want %s", o.Body, c.want)
			}
		})
	}
}

// What the element does not show digit for digit stands in an extension as it was sent.
func TestValueAsSent(t *testing.T) {
	for raw, want := range map[string]bool{"5.1": false, "5": false, "-0.5": false, "5.10": true, "3.26E+05": true, "12345678901234567890.1": true} {
		o := Observation(filing.Part{}, filing.Result{Result: lab.Result{Value: numeric(raw)}}, setting)
		if got := strings.Contains(string(o.Body), fmt.Sprintf(`{"url":"urn:labagent:value","valueString":"%s"}`, raw)); got != want {
			t.Errorf("%s: extension %v, want %v", raw, got, want)
		}
	}
}

// The digits that go out are those that came in.
func TestDigits(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	digits := func(n int) string {
		var s strings.Builder
		for range n {
			s.WriteByte(byte('0' + rnd.IntN(10)))
		}
		return s.String()
	}
	for range 5000 {
		number := fmt.Sprint(rnd.IntN(1000))
		if rnd.IntN(2) == 0 {
			number = "-" + number
		}
		if rnd.IntN(2) == 0 {
			number += "." + digits(1+rnd.IntN(12))
		}
		if rnd.IntN(4) == 0 {
			number += []string{"e", "E+", "E-"}[rnd.IntN(3)] + digits(2)
		}
		value := rendered(t, lab.Part{}, lab.Result{Value: numeric(number)})["valueQuantity"].(map[string]any)["value"]
		if value != json.Number(number) {
			t.Fatalf("%s became %v", number, value)
		}
	}
}

// An unknown code, unit or flag never drops a result, and none is taken for a known one.
func TestUnknownWords(t *testing.T) {
	report := filled(lab.Report{Type: "ASTM", Parts: []lab.Part{{Specimen: "1", Results: []lab.Result{
		{Test: lab.Code{Code: "ZZZ"}, Value: numeric("1"), Unit: "furlong", Flags: []string{"strange", "N^^99ROC"}},
		{Test: lab.Code{}, Value: numeric("2")},
	}}}})
	got := render(sample{report: report, rules: filing.Rules{Analyzer: "a", Deliver: true}, set: Setting{Analyzer: "a"}})
	if len(got) != 3 {
		t.Fatalf("%d resources, want two Observations and a sheet", len(got))
	}
	body := string(got[0].Body)
	for _, want := range []string{
		`"code":{"coding":[{"system":"urn:labagent:code:a","code":"ZZZ"}],"text":"ZZZ"}`,
		`"valueQuantity":{"value":1,"unit":"furlong"}`,
		`{"coding":[{"system":"urn:labagent:flag:a","code":"strange"}],"text":"strange"}`,
		`{"coding":[{"system":"urn:labagent:flag:a","code":"N"}],"text":"N^^99ROC"}`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s\nhas not %s", body, want)
		}
	}
	if !strings.Contains(string(got[1].Body), `"text":"Test without a code"`) {
		t.Errorf("a test without a code: %s", got[1].Body)
	}
}

func TestInterpretation(t *testing.T) {
	for _, c := range []struct{ flag, system, code, text string }{
		{"H", flagsSystem, "H", ""}, {"<", flagsSystem, "<", ""}, {"POS", flagsSystem, "POS", ""}, {"SYN-R", flagsSystem, "SYN-R", ""},
		{"H^High", flagsSystem, "H", "H^High"}, {"H^High^HL70078", flagsSystem, "H", "H^High^HL70078"},
		{"H^High^L", flagSystem + "hematology-1", "H", "H^High^L"}, {"VAL^^99ROC", flagSystem + "hematology-1", "VAL", "VAL^^99ROC"},
		{"h", flagSystem + "hematology-1", "h", "h"}, {"HM", flagSystem + "hematology-1", "HM", "HM"},
		{"002~029", flagSystem + "hematology-1", "002~029", "002~029"}, {"^late", flagSystem + "hematology-1", "^late", "^late"},
	} {
		got := interpretation(c.flag, setting)
		if len(got.Coding) != 1 || got.Coding[0].System != c.system || got.Coding[0].Code != c.code || got.Text != c.text {
			t.Errorf("%s: %+v", c.flag, got)
		}
	}
}

func TestRanges(t *testing.T) {
	for _, c := range []struct{ said, low, high string }{
		{"4.00-10.00", "4.00", "10.00"}, {"3.5 - 4.5", "3.5", "4.5"}, {"8.5 - 10.8199997", "8.5", "10.8199997"},
		{"-9999999 - 9999999", "-9999999", "9999999"}, {"-5--1", "-5", "-1"}, {"-5 - -1", "-5", "-1"}, {"-2-3", "-2", "3"},
		{"< 4.5", "", "4.5"}, {"<=4.5", "", "4.5"}, {"> 3.5", "3.5", ""}, {"≥ -3", "-3", ""},
		{"70_105", "70", "105"}, {"100-300", "100", "300"}, {"4 to 6", "4", "6"}, {"0 – 5", "0", "5"},
		{"20 to 10,000,000", "20", "10000000"}, {"1,000 to 10,000,000", "1000", "10000000"}, {"1,234.5 - 2,000.5", "1234.5", "2000.5"},
		{".5 - 5.", "0.5", "5"}, {"+1 - 007", "1", "7"}, {"1e3 - 2E3", "1e3", "2E3"},
		{"4,5 - 10,2", "", ""}, {"1,234 - 5,678", "", ""}, {"< 1,234", "", ""}, {"-", "", ""}, {"10 - 4", "", ""}, {"NEG", "", ""},
		{"4.0 to 10.0^normal", "", ""}, {"1-2-3", "", ""}, {"<", "", ""}, {"1e999 - 2e999", "", ""},
	} {
		got := ranges(filing.Result{Result: lab.Result{Range: c.said, Unit: "g"}, UCUM: "g"})
		if len(got) != 1 || got[0].Text != c.said {
			t.Errorf("%q: %+v", c.said, got)
			continue
		}
		end := func(q *quantity) string {
			if q == nil {
				return ""
			}
			if q.Unit != "g" || q.Code != "g" {
				t.Errorf("%q: %+v", c.said, q)
			}
			return string(q.Value)
		}
		if low, high := end(got[0].Low), end(got[0].High); low != c.low || high != c.high {
			t.Errorf("%q: %q to %q, want %q to %q", c.said, low, high, c.low, c.high)
		}
	}
	for _, none := range []string{"", "  ", `""`} {
		if got := ranges(filing.Result{Result: lab.Result{Range: none}}); got != nil {
			t.Errorf("%q: %+v", none, got)
		}
	}
}
