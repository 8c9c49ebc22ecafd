package fhir

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"labagent/filing"
	"labagent/lab"
)

// sample is a report with the rules it is filed by; each has a golden file.
type sample struct {
	name   string
	report lab.Report
	rules  filing.Rules
	set    Setting
	item   filing.Item
}

var (
	zurich   = time.FixedZone("", 3600)
	received = time.Date(2026, 3, 1, 8, 5, 0, 0, time.UTC)
	setting  = Setting{Analyzer: "hematology-1", Label: "XN-1000, window side", TagSystem: "urn:labagent", TagCode: "lab-7"}
)

func second(h, m, s int) lab.Time {
	at := time.Date(2026, 3, 1, h, m, s, 0, zurich)
	return lab.Time{Raw: at.Format("20060102150405"), At: at}
}

func numeric(s string) lab.Value { return lab.Value{Kind: lab.Number, Raw: s, Number: s} }

// filled gives every result raw fields for its identity.
func filled(rep lab.Report) lab.Report {
	for i, p := range rep.Parts {
		for j, r := range p.Results {
			rep.Parts[i].Results[j].Slot = [][]byte{[]byte(p.Specimen), []byte(r.Test.Code), []byte(r.Aspect), []byte(r.Unit), []byte(r.Analyzed.Raw)}
			rep.Parts[i].Results[j].Version = [][]byte{[]byte(r.Value.Raw), []byte(r.Status), []byte(strings.Join(r.Flags, "~"))}
		}
	}
	return rep
}

var cbc = filled(lab.Report{
	Type: "ASTM", Sent: second(9, 0, 0), Parts: []lab.Part{{
		Specimen: "123456789", SpecimenType: lab.Code{Text: "EDTA blood"}, Panel: lab.Code{Code: "CBC", Text: "Blood count"},
		Placer: "ORD-77", Status: "F", Collected: second(7, 30, 0), Notes: []string{"drawn twice"},
		Results: []lab.Result{
			{Test: lab.Code{Code: "WBC", Text: "Leucocytes"}, Aspect: "1", Value: numeric("5.10"), Unit: "10^9/L", Range: "4.00-10.00", Flags: []string{"N"}, Status: "F", Analyzed: second(8, 45, 0), Device: "12345", Operator: "anna", Method: "impedance"},
			{Test: lab.Code{Code: "PLT"}, Aspect: "1", Value: lab.Value{Kind: lab.Number, Raw: "< 20", Number: "20", Comparator: "<"}, Unit: "10^9/L", Range: "150-400", Flags: []string{"L", "PLT_Abn"}, Nature: "A", Status: "F", Analyzed: second(8, 45, 0), Notes: []string{"clumps"}},
			{Test: lab.Code{Code: "HGB"}, Aspect: "1", Value: lab.Value{Raw: "----", Absent: "error"}, Unit: "g/dL", Status: "F", Analyzed: second(8, 45, 0)},
			{Test: lab.Code{Code: "NEW"}, Aspect: "1", Value: numeric("1"), Status: "F"},
		},
	}},
})

var codes = []filing.Code{
	{Code: "WBC", LOINC: "6690-2", Display: "Leukocytes [#/volume] in Blood", UCUM: "10*9/L"},
	{Code: "PLT", LOINC: "777-3", Display: "Platelets [#/volume] in Blood"}, {Code: "HGB", LOINC: "718-7"},
}

var centaur = filled(lab.Report{
	Type: "ASTM", Parts: []lab.Part{{Specimen: "123456789", Patient: "P-1", Results: []lab.Result{
		{Test: lab.Code{Code: "TSH"}, Aspect: "1^DOSE", Value: numeric("2.50"), Unit: "uIU/mL", Status: "F", Observed: second(8, 0, 0)},
		{Test: lab.Code{Code: "TSH"}, Aspect: "1^RLU", Value: numeric("4711"), Unit: "RLU", Status: "F", Observed: second(8, 0, 0)},
		{Test: lab.Code{Code: "TSH"}, Aspect: "1^INTR", Value: lab.Value{Kind: lab.Text, Raw: "normal", Text: "normal"}, Status: "F"},
	}}},
})

var kinds = filled(lab.Report{
	Type: "ORU^R01", Sent: lab.Time{Raw: "20260301", At: time.Date(2026, 3, 1, 0, 0, 0, 0, zurich), Precision: lab.Day},
	Parts: []lab.Part{{Specimen: "S 1,2|3", Filler: "F-1", Reported: second(9, 30, 0), Status: "F", Results: []lab.Result{
		{Test: lab.Code{Code: "text"}, Value: lab.Value{Kind: lab.Text, Raw: "NEG", Text: "NEG"}, Status: "F"},
		{Test: lab.Code{Code: "coded"}, Value: lab.Value{Kind: lab.Coded, Raw: "260385009^Negative^SCT~N^neg^99X", Codes: []lab.Code{{Code: "260385009", Text: "Negative", System: "SCT"}, {Code: "N", Text: "neg", System: "99X"}, {Code: "A", System: "HL70136"}, {Code: "own"}}}, Status: "F"},
		{Test: lab.Code{Code: "interval"}, Value: lab.Value{Kind: lab.Interval, Raw: "^5^-^10", Low: "5", High: "10"}, Unit: "/HPF", Status: "F"},
		{Test: lab.Code{Code: "ratio"}, Value: lab.Value{Kind: lab.Ratio, Raw: "^1^:^128", Low: "1", High: "128"}, Status: "F"},
		{Test: lab.Code{Code: "moment"}, Value: lab.Value{Kind: lab.Moment, Raw: "20260301", Time: lab.Time{Raw: "20260301", At: received, Precision: lab.Day}}, Status: "F"},
		{Test: lab.Code{Code: "month"}, Value: lab.Value{Kind: lab.Moment, Raw: "202603", Time: lab.Time{Raw: "202603", At: received, Precision: lab.Month}}, Status: "F"},
		{Test: lab.Code{Code: "year"}, Value: lab.Value{Kind: lab.Moment, Raw: "2026", Time: lab.Time{Raw: "2026", At: received, Precision: lab.Year}}, Status: "F"},
		{Test: lab.Code{Code: "time"}, Value: lab.Value{Kind: lab.TimeOfDay, Raw: "083000", Text: "08:30:00"}, Status: "F"},
		{Test: lab.Code{Code: "period"}, Value: lab.Value{Kind: lab.Period, Raw: "20260301080000^20260301090000", Time: second(8, 0, 0), End: second(9, 0, 0)}, Status: "F"},
		{Test: lab.Code{Code: "exact"}, Value: numeric("5.000000"), Status: "F"},
		{Test: lab.Code{Code: "exponent"}, Value: numeric("3.26E+05"), Unit: "cp/mL", Status: "F"},
		{Test: lab.Code{Code: "not decimal"}, Value: lab.Value{Kind: lab.Number, Raw: ".5.", Number: ".5."}, Unit: "furlong", Status: "F"},
		{Test: lab.Code{Code: "masked"}, Value: lab.Value{Raw: "***.**", Absent: "masked"}, Status: "F"},
		{Test: lab.Code{Code: "cancelled"}, Value: lab.Value{}, Status: "X"},
		{Test: lab.Code{Code: "not asked"}, Value: lab.Value{}, Status: "N"},
		{Test: lab.Code{Code: "deleted"}, Value: numeric("5"), Status: "D"},
		{Test: lab.Code{Code: "no status"}, Value: numeric("5")},
		{Test: lab.Code{Code: "autumn"}, Value: numeric("5"), Status: "P", Observed: lab.Time{Raw: "20261025023000", At: time.Date(2026, 10, 25, 2, 30, 0, 0, zurich), Doubled: true}, Analyzed: second(8, 1, 0)},
	}}},
})

var samples = []sample{
	{"cbc-unverified", cbc, filing.Rules{Analyzer: "hematology-1", Codes: codes}, setting, filing.Item{Received: received}},
	{"cbc-as-sent", cbc, filing.Rules{Analyzer: "hematology-1", Codes: codes, AsSent: true, Deliver: true}, setting, filing.Item{Received: received}},
	{"components", centaur, filing.Rules{Analyzer: "immuno 1", AsSent: true, Codes: []filing.Code{
		{Code: "TSH", Aspect: "DOSE", Unit: "uIU/mL", LOINC: "3016-3", UCUM: "u[IU]/mL"},
		{Code: "TSH", Aspect: "RLU", As: filing.AsComponent}, {Code: "TSH", Aspect: "INTR", As: filing.AsNote},
	}}, Setting{Analyzer: "immuno 1", TagSystem: "urn:labagent", TagCode: "lab-7", PatientSystem: "urn:oid:1.2.3", NoSheet: true}, filing.Item{Received: received}},
	{"kinds", kinds, filing.Rules{Analyzer: "hematology-1", AsSent: true, Deliver: true}, setting, filing.Item{Received: received}},
}

// render is what is delivered of a sample: the Observations that are not held, and the sheet.
func render(c sample) []Resource {
	var all []Resource
	for _, p := range c.rules.File(c.report, c.item) {
		ids := map[string]string{}
		for _, r := range p.Results {
			if p.Hold != "" || r.Hold != "" {
				continue
			}
			all = append(all, Observation(p, r, c.set))
			ids[r.Version] = fmt.Sprintf("id-%d-%d", p.Index, r.Index)
		}
		if len(ids) > 0 && !c.set.NoSheet {
			all = append(all, Sheet(p, ids, p.Held(), c.set))
		}
	}
	return all
}

// randomSample is a report of odd texts in every field.
func randomSample(seed uint64) sample {
	rnd := rand.New(rand.NewPCG(seed, 2))
	texts := []string{"", "A", "WBC", "5.10", "-0.000", "1e400", "12345678901234567890.10", "\x00\x1f", "a\u00a0b", "  two  words ", "\ufeff", "\u2028", "<>&\"", "\\", "ä,ö|$", "\xff\xfe", "4.0 - 5.0", "-5--1", "H^High^L", "line\rline\nline", "\u0085", "%41", "LN"}
	pick := func() string { return texts[rnd.IntN(len(texts))] }
	code := func() lab.Code { return lab.Code{Code: pick(), Text: pick(), System: pick()} }
	moment := func() lab.Time {
		if rnd.IntN(2) == 0 {
			return lab.Time{Raw: pick()}
		}
		return lab.Time{Raw: pick(), At: time.Unix(rnd.Int64N(4e9), rnd.Int64N(1e9)).In(zurich), Precision: lab.Precision(rnd.IntN(4)), Doubled: rnd.IntN(2) == 0}
	}
	part := lab.Part{Specimen: "1" + pick(), SpecimenType: code(), Patient: pick(), Placer: pick(), Filler: pick(), Panel: code(), Status: pick(), Collected: moment(), Reported: moment(), Notes: []string{pick()}}
	for range 1 + rnd.IntN(4) {
		part.Results = append(part.Results, lab.Result{
			Test: code(), Aspect: pick(), Run: pick(), Unit: pick(), UnitCode: code(), Range: pick(), Flags: []string{pick(), "N", pick()}, Nature: pick(),
			Status: []string{"F", "P", "X", "N", "D", "", pick()}[rnd.IntN(7)], Observed: moment(), Analyzed: moment(), Device: pick(), Operator: pick(), Method: pick(), Notes: []string{pick(), pick()},
			Value: lab.Value{Kind: lab.Kind(rnd.IntN(9)), Raw: pick(), Number: pick(), Comparator: []string{"", "<", "~"}[rnd.IntN(3)], Text: pick(), Codes: []lab.Code{code(), code()}, Low: pick(), High: pick(), Time: moment(), End: moment(), Absent: pick()},
		})
	}
	rules := filing.Rules{Analyzer: "analyzer " + pick(), AsSent: rnd.IntN(2) == 0, Deliver: true, Codes: []filing.Code{{Code: "WBC", LOINC: "6690-2", UCUM: "10*9/L"}}}
	set := Setting{Analyzer: rules.Analyzer, Label: pick(), TagSystem: "urn:labagent", TagCode: "lab-7", PatientSystem: []string{"", "urn:oid:1.2.3"}[rnd.IntN(2)], NoSheet: rnd.IntN(3) == 0}
	return sample{"random", filled(lab.Report{Type: []string{"ASTM", "ORU^R01"}[rnd.IntN(2)], Sent: moment(), Parts: []lab.Part{part}}), rules, set, filing.Item{Received: received}}
}
