package filing

import (
	"regexp"
	"testing"

	"labagent/lab"
)

func TestPartHolds(t *testing.T) {
	r := &Rules{Analyzer: "a", Pattern: regexp.MustCompile(`^[0-9]{9}$`), Deliver: true}
	every := []Decision{{0, -1, SpecimenID}, {0, -1, QC}, {0, -1, NoSpecimen}, {0, 0, QC}}
	for _, c := range []struct {
		name         string
		part         lab.Part
		want, lifted string // without and with a person's release of everything
	}{
		{"a patient's", lab.Part{Specimen: "123456789"}, "", ""},
		{"no specimen", lab.Part{}, NoSpecimen, NoSpecimen},
		{"an id that does not look like a patient's", lab.Part{Specimen: "RACK 3"}, SpecimenID, ""},
		{"quality control", lab.Part{Specimen: "123456789", QC: "O.12=Q"}, QC, QC},
		{"quality control without an id", lab.Part{QC: "O.12=Q"}, QC, QC},
		{"quality control with a strange id", lab.Part{Specimen: "QC-1", QC: "specimen.qc~^QC"}, QC, QC},
		{"training", lab.Part{Specimen: "123456789", Training: true}, QC, QC},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.part.Results = []lab.Result{{Test: lab.Code{Code: "GLU"}}}
			report := lab.Report{Type: "HL7", Parts: []lab.Part{c.part}}
			p := r.File(report, Item{})[0]
			if p.Hold != c.want {
				t.Errorf("held %q, want %q", p.Hold, c.want)
			}
			if p.Hold != "" && p.Held() != 1 {
				t.Errorf("%d results are held with the part, want 1", p.Held())
			}
			if p = r.File(report, Item{Decisions: every})[0]; p.Hold != c.lifted {
				t.Errorf("after a release held %q, want %q", p.Hold, c.lifted)
			}
		})
	}
}

// One held result never holds its neighbours, and a decision is for one result and one reason (rules 1).
func TestResultHolds(t *testing.T) {
	r := &Rules{Analyzer: "a", Codes: []Code{{Code: "GLU", Unit: "mg/dL", LOINC: "2345-7", UCUM: "mg/dL"}}}
	report := lab.Report{Type: "HL7", Parts: []lab.Part{{Specimen: "1", Results: []lab.Result{
		{Test: lab.Code{Code: "GLU"}, Unit: "mg/dL", Value: number("90")},
		{Test: lab.Code{Code: "GLU"}, Unit: "mmol/L", Value: number("5.0")},
		{Test: lab.Code{Code: "NEW"}, Unit: "mmol/L", Value: number("5.0")},
	}}}}
	holds := func(decisions ...Decision) (got [3]string) {
		for i, result := range results(r, report, decisions...) {
			got[i] = result.Hold
		}
		return got
	}
	if got, want := holds(), [3]string{"", Unit, Unmapped}; got != want {
		t.Errorf("held %q, want %q", got, want)
	}
	if got, want := holds(Decision{0, 1, Unit}), [3]string{"", "", Unmapped}; got != want {
		t.Errorf("unit released: held %q, want %q", got, want)
	}
	if got, want := holds(Decision{0, 1, Unmapped}, Decision{1, 2, Unmapped}, Decision{0, -1, Unmapped}), [3]string{"", Unit, Unmapped}; got != want {
		t.Errorf("decisions on other holds: held %q, want %q", got, want)
	}
	released := results(r, report, Decision{0, 1, Unit}, Decision{0, 2, Unmapped})
	for _, i := range []int{1, 2} {
		if released[i].LOINC != "" || released[i].UCUM != "mmol/L" {
			t.Errorf("released result %d has LOINC %q, UCUM %q; want no LOINC, which stands for one unit", i, released[i].LOINC, released[i].UCUM)
		}
	}
	parts := r.File(report, Item{})
	if got := parts[0].Held(); got != 2 {
		t.Errorf("%d held, want 2", got)
	}
	r.Deliver = true
	if got, want := holds(), [3]string{"", Unit, ""}; got != want {
		t.Errorf("unmapped: deliver: held %q, want %q", got, want)
	}
}

// A mended code list releases what it now maps (rules 9).
func TestMendedCodes(t *testing.T) {
	report := lab.Report{Parts: []lab.Part{{Specimen: "1", Results: []lab.Result{{Test: lab.Code{Code: "NEW"}, Value: number("1")}}}}}
	before := results(&Rules{Analyzer: "a"}, report)[0]
	after := results(&Rules{Analyzer: "a", Codes: []Code{{Code: "NEW", LOINC: "2345-7"}}}, report)[0]
	if before.Hold != Unmapped || after.Hold != "" || after.LOINC != "2345-7" || before.Version != after.Version {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func number(s string) lab.Value { return lab.Value{Kind: lab.Number, Raw: s, Number: s} }
