package filing

import (
	"slices"
	"strings"
	"testing"

	"labagent/lab"
)

func TestCodes(t *testing.T) {
	codes := []Code{
		{Code: "5", LOINC: "2345-7"},
		{Code: "A", LOINC: "718-7"},
		{Code: "TSH", Aspect: "DOSE", Unit: "uIU/mL", LOINC: "3016-3", Display: "Thyrotropin", UCUM: "m[IU]/L"},
		{Code: "TSH", Aspect: "RLU", As: AsComponent},
		{Code: "GLU", Unit: "mg/dL", LOINC: "2345-7"},
		{Code: "GLU", Unit: "mmol/L", LOINC: "15074-8"},
		{Code: "WBC", LOINC: "6690-2", UCUM: "10*9/L"},
		{Code: "HIV", LOINC: "7917-8"},
		{Code: "718-7", Trust: true},
		{Code: "718-8", Trust: true},
		{Code: "COMMENT", As: AsNote},
	}
	result := func(code, aspect, unit string) lab.Result {
		return lab.Result{Test: lab.Code{Code: code}, Aspect: aspect, Unit: unit, Value: number("1")}
	}
	ln := func(code string) lab.Result {
		r := result(code, "", "")
		r.Test.System, r.Test.Text = "LN", "Hemoglobin"
		return r
	}
	said := result("GLU", "", "")
	said.Value = lab.Value{Kind: lab.Text, Text: "NEG"}
	coded := result("WBC", "", "Giga per litre")
	coded.UnitCode = lab.Code{Code: "10*9/L", System: "UCUM"}
	for _, c := range []struct {
		name              string
		result            lab.Result
		hold, loinc, ucum string
	}{
		{"exact", result("GLU", "", "mg/dL"), "", "2345-7", "mg/dL"},
		{"the same code in another listed unit", result("GLU", "", "mmol/L"), "", "15074-8", "mmol/L"},
		{"in a unit that is not listed", result("GLU", "", "g/L"), Unit, "", "g/L"},
		{"a number without its unit", result("GLU", "", ""), Unit, "", ""},
		{"a word needs no unit", said, "", "2345-7", ""},
		{"in another case of letters", result("glu", "", "mg/dL"), Unmapped, "", "mg/dL"},
		{"dilution", result("5/10/not", "", ""), "", "2345-7", ""},
		{"a slash in a name is no dilution", result("A/G", "", ""), Unmapped, "", ""},
		{"a number behind a slash is no dilution", result("A/16", "", ""), Unmapped, "", ""},
		{"the end of the aspect", result("TSH", "1^DOSE", "µIU/mL"), "", "3016-3", "m[IU]/L"},
		{"not the end of a word", result("TSH", "1^XDOSE", "uIU/mL"), Unmapped, "", "u[IU]/mL"},
		{"aspect with the other micro sign", result("TSH", "DOSE", "μIU/mL"), "", "3016-3", "m[IU]/L"},
		{"no aspect where the list names some", result("TSH", "", "uIU/mL"), Unmapped, "", "u[IU]/mL"},
		{"an entry without aspect fits any", result("HIV", "IC", ""), "", "7917-8", ""},
		{"UCUM of the list, the unit spelled otherwise", result("WBC", "", "10^9/l"), "", "6690-2", "10*9/L"},
		{"UCUM of the list, another unit", result("WBC", "", "10^3/uL"), Unit, "", "10*3/uL"},
		{"UCUM of the list, an unknown unit", result("WBC", "", "Gpt"), Unit, "", ""},
		{"UCUM of the list, no unit sent", result("WBC", "", ""), "", "6690-2", "10*9/L"},
		{"UCUM by the sender", coded, "", "6690-2", "10*9/L"},
		{"a trusted LOINC", ln("718-7"), "", "718-7", ""},
		{"a trusted code that is no LOINC", ln("718-8"), "", "", ""},
		{"a trusted code of another system", result("718-7", "", ""), "", "", ""},
		{"a LOINC nobody trusts", ln("2345-7"), Unmapped, "", ""},
		{"a note without a result", result("COMMENT", "", ""), "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := results(&Rules{Analyzer: "a", Codes: codes}, lab.Report{Parts: []lab.Part{{Specimen: "1", Results: []lab.Result{c.result}}}})
			if len(got) != 1 {
				t.Fatalf("%d results", len(got))
			}
			if r := got[0]; r.Hold != c.hold || r.LOINC != c.loinc || r.UCUM != c.ucum {
				t.Errorf("hold %q, LOINC %q, UCUM %q; want %q, %q, %q", r.Hold, r.LOINC, r.UCUM, c.hold, c.loinc, c.ucum)
			}
		})
	}
}

// An entry without an aspect does not say which of several it means.
func TestSeveralAspects(t *testing.T) {
	report := lab.Report{Parts: []lab.Part{{Specimen: "1", Results: []lab.Result{
		{Test: lab.Code{Code: "17"}, Aspect: "F", Value: number("1")},
		{Test: lab.Code{Code: "17"}, Aspect: "P", Value: number("2")},
		{Test: lab.Code{Code: "18"}, Aspect: "F", Value: number("3")},
	}}}}
	codes := []Code{{Code: "17", LOINC: "2345-7"}, {Code: "18"}}
	for _, deliver := range []bool{false, true} {
		for i, r := range results(&Rules{Analyzer: "a", Codes: codes, Deliver: deliver}, report) {
			if want := []string{Unmapped, Unmapped, ""}[i]; r.Hold != want {
				t.Errorf("deliver %v, result %d: held %q, want %q", deliver, i, r.Hold, want)
			}
			if want := []string{"F", "P", ""}[i]; r.Distinct != want {
				t.Errorf("deliver %v, result %d: distinct by %q, want %q", deliver, i, r.Distinct, want)
			}
		}
	}
	for i, r := range results(&Rules{Analyzer: "a", Deliver: true}, report) {
		if want := []string{"F", "P", ""}[i]; r.Hold != "" || r.Distinct != want {
			t.Errorf("nothing listed, result %d: held %q, distinct by %q, want %q", i, r.Hold, r.Distinct, want)
		}
	}
}

func TestAs(t *testing.T) {
	codes := []Code{
		{Code: "TSH", Aspect: "DOSE", Unit: "uIU/mL"}, {Code: "TSH", Aspect: "RLU", Unit: "RLU", As: AsComponent},
		{Code: "TSH", Aspect: "INTR", As: AsNote}, {Code: "TSH", Aspect: "RAW", As: AsIgnore}, {Code: "FT4"},
	}
	dose := lab.Result{Test: lab.Code{Code: "TSH"}, Aspect: "1^DOSE", Unit: "uIU/mL", Value: number("2.50")}
	rlu := lab.Result{Test: lab.Code{Code: "TSH"}, Aspect: "1^RLU", Unit: "RLU", Value: number("4711")}
	note := lab.Result{Test: lab.Code{Code: "TSH", Text: "Thyrotropin"}, Aspect: "1^INTR", Value: lab.Value{Kind: lab.Text, Raw: "normal"}, Flags: []string{"N"}}
	raw := lab.Result{Test: lab.Code{Code: "TSH"}, Aspect: "1^RAW", Value: number("3")}
	ft4 := lab.Result{Test: lab.Code{Code: "FT4"}, Value: number("1")}
	image := lab.Result{Test: lab.Code{Code: "SCATTER"}, Value: lab.Value{Kind: lab.Bulk}}
	file := func(lines ...lab.Result) Part {
		return (&Rules{Analyzer: "a", Codes: codes}).File(lab.Report{Parts: []lab.Part{{Specimen: "1", Results: lines}}}, Item{})[0]
	}

	p := file(ft4, dose, rlu, note, raw, image)
	if len(p.Results) != 2 || p.Ignored != 2 {
		t.Fatalf("%d results, %d ignored, want 2 and 2", len(p.Results), p.Ignored)
	}
	r := p.Results[1]
	if len(r.Components) != 1 || r.Components[0].Value.Number != "4711" || r.Index != 1 || r.Components[0].Index != 2 {
		t.Errorf("components %+v", r.Components)
	}
	if want := []string{"Thyrotropin (1^INTR): normal; N"}; !slices.Equal(r.Remarks, want) {
		t.Errorf("remarks %q, want %q", r.Remarks, want)
	}

	t.Run("before its result", func(t *testing.T) {
		if p := file(rlu, ft4, dose); len(p.Results) != 2 || len(p.Results[1].Components) != 1 {
			t.Errorf("got %+v", p.Results)
		}
	})
	t.Run("by its run", func(t *testing.T) {
		one, two := rlu, rlu
		one.Run, two.Run = "1", "2"
		first, second := dose, dose
		first.Run, second.Run = "1", "2"
		p := file(first, second, one, two)
		for i, r := range p.Results {
			if len(r.Components) != 1 || r.Components[0].Run != r.Run {
				t.Errorf("result %d has %+v", i, r.Components)
			}
		}
	})
	t.Run("alone", func(t *testing.T) {
		for _, l := range []lab.Result{rlu, note} {
			if p := file(l); len(p.Results) != 1 || p.Results[0].As != AsResult {
				t.Errorf("a line without its result: %+v", p.Results)
			}
		}
	})
	t.Run("a held component holds its result", func(t *testing.T) {
		other := rlu
		other.Unit = "counts"
		lines := lab.Report{Parts: []lab.Part{{Specimen: "1", Results: []lab.Result{dose, other}}}}
		r := &Rules{Analyzer: "a", Codes: codes}
		if got := results(r, lines); len(got) != 1 || got[0].Hold != Unit {
			t.Fatalf("got %+v", got)
		}
		for at := range 2 {
			if got := results(r, lines, Decision{0, at, Unit}); got[0].Hold != "" || len(got[0].Components) != 1 {
				t.Errorf("released at %d: %+v", at, got[0])
			}
		}
	})
}

func TestCheck(t *testing.T) {
	good := []Code{
		{Code: "GLU", Unit: "mg/dL", LOINC: "2345-7"}, {Code: "GLU", Unit: "mmol/L", LOINC: "15074-8"},
		{Code: "TSH", Aspect: "DOSE"}, {Code: "TSH", Aspect: "RLU", As: AsComponent}, {Code: "HB", Trust: true}, {Code: "RAW", As: AsIgnore},
	}
	if errs := (&Rules{Analyzer: "a", Codes: good}).Check(); len(errs) != 0 {
		t.Errorf("a good list: %v", errs)
	}
	for _, c := range []struct {
		name string
		list []Code
		want string
	}{
		{"aspect missing", []Code{{Code: "5", Aspect: "F"}, {Code: "5"}}, "codes[1] (5): codes[0] is the same code, and only one of both names an aspect"},
		{"doubled", []Code{{Code: "5"}, {Code: "5"}}, "codes[1] (5): codes[0] is the same code again"},
		{"doubled with aspect and unit", []Code{{Code: "5", Aspect: "F", Unit: "g"}, {Code: "5", Aspect: "F", Unit: "g"}}, "the same code (aspect F, unit g) again"},
		{"one unit", []Code{{Code: "5", Unit: "g"}, {Code: "5"}}, "only one of both names a unit"},
		{"no code", []Code{{LOINC: "2345-7"}}, "code is missing"},
		{"space", []Code{{Code: "5 "}}, "code has a space"},
		{"as", []Code{{Code: "5", As: "drop"}}, `as: "drop" is not one of`},
		{"ignore with a LOINC", []Code{{Code: "5", As: "ignore", LOINC: "2345-7"}}, "as: ignore leaves no place"},
		{"check digit", []Code{{Code: "5", LOINC: "2345-8"}}, `loinc "2345-8" is not a LOINC code`},
		{"form", []Code{{Code: "5", LOINC: "GLU"}}, `loinc "GLU"`},
		{"loinc and trust", []Code{{Code: "5", LOINC: "2345-7", Trust: true}}, "exclude each other"},
		{"ucum", []Code{{Code: "5", UCUM: "10^9 /L"}}, "ucum"},
		{"component with the LOINC of a result", []Code{{Code: "5", LOINC: "2345-7"}, {Code: "6", LOINC: "2345-7", As: AsComponent}}, "they must differ"},
	} {
		t.Run(c.name, func(t *testing.T) {
			errs := (&Rules{Analyzer: "a", Codes: c.list}).Check()
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want) {
				t.Errorf("got %v, want one error with %q", errs, c.want)
			}
		})
	}
	if errs := (&Rules{}).Check(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "name is missing") {
		t.Errorf("no analyzer: %v", errs)
	}
}

func TestLOINC(t *testing.T) {
	for _, code := range []string{"6690-2", "718-7", "2345-7", "11502-2", "3016-3", "15074-8", "94500-6"} {
		if !LOINC(code) {
			t.Errorf("%s is a LOINC code", code)
		}
	}
	for _, code := range []string{"", "-", "6690-3", "6690", "6690-22", "a-1"} {
		if LOINC(code) {
			t.Errorf("%s is no LOINC code", code)
		}
	}
}

func TestUCUM(t *testing.T) {
	for unit, want := range map[string]string{
		" 10*3/uL ": "10*3/uL", "10^3/µL": "10*3/uL", "x10^9/l": "10*9/L", "g/dl": "g/dL", "mIU/mL": "m[IU]/mL", "IU/l": "[IU]/L",
		"sec": "s", "copies/mL": "{copies}/mL", "mEq/L": "meq/L", "%": "%", "fl": "fL", "mcg/dL": "ug/dL",
		"": "", "furlong": "", "G/L": "", "MG": "",
	} {
		if got := UCUM(unit); got != want {
			t.Errorf("%q: %q, want %q", unit, got, want)
		}
	}
}
