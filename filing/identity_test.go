package filing

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"labagent/lab"
)

// line is an ASTM result with the raw fields of its place (rules 2), as a dialect fills them.
type line struct {
	specimen, instrument, order, patient string // O.3, O.4, O.5, P.3 where O.3 is empty
	test, unit, started, completed       string // R.3, R.5, R.12, R.13
	collected, reported                  string // O.8, O.23
	day                                  string // of H.14 or receipt, where none of the times is given
	value, status, flags                 string // R.4, R.9, R.7
	comments                             []string
}

func (l line) result() lab.Result {
	bytes := func(fields ...string) (raw [][]byte) {
		for _, f := range fields {
			raw = append(raw, []byte(f))
		}
		return raw
	}
	parts := strings.SplitN(strings.TrimPrefix(l.test, "^^^"), "^", 2)
	r := lab.Result{
		Test: lab.Code{Code: parts[0]}, Value: lab.Value{Kind: lab.Number, Raw: l.value, Number: l.value}, Unit: l.unit,
		Status: l.status, Notes: l.comments,
		Slot: bytes(l.specimen, l.instrument, l.order, l.patient, l.test, l.unit, l.started, l.completed, l.collected, l.reported, l.day),
	}
	if len(parts) > 1 {
		r.Aspect = parts[1]
	}
	status := l.status
	if status == "R" {
		status = "F"
	}
	r.Version = bytes(append([]string{l.value, status, l.flags}, l.comments...)...)
	return r
}

// message is an ASTM message: a part for each run of lines with one specimen.
func message(lines ...line) lab.Report {
	report := lab.Report{Type: "ASTM"}
	for i, l := range lines {
		if i == 0 || lines[i-1].specimen != l.specimen {
			report.Parts = append(report.Parts, lab.Part{Specimen: l.specimen})
		}
		part := &report.Parts[len(report.Parts)-1]
		part.Results = append(part.Results, l.result())
	}
	return report
}

var rules = &Rules{Analyzer: "hematology-1", Deliver: true}

// results are all results of a message, as filed.
func results(r *Rules, rep lab.Report, decisions ...Decision) []Result {
	var all []Result
	for _, p := range r.File(rep, Item{Received: noon, Decisions: decisions}) {
		all = append(all, p.Results...)
	}
	return all
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// with copies a line and changes it.
func (l line) with(change func(*line)) line {
	l.comments = slices.Clone(l.comments)
	change(&l)
	return l
}

// The test table of filing rules 2.
func TestIdentity(t *testing.T) {
	wbc := line{specimen: "123456789", order: "^^^CBC", test: "^^^WBC^1", unit: "10*3/uL", completed: "20260301080000", value: "5.10", status: "F", flags: "N"}
	timeless := wbc.with(func(l *line) { l.completed, l.day = "", "20260301" })
	aspect := func(name, unit, value string) line {
		return wbc.with(func(l *line) { l.test, l.unit, l.value = "^^^TSH^"+name, unit, value })
	}
	const (
		same    = "the same version"
		version = "another version in the same place"
		slot    = "another place"
	)
	for _, c := range []struct {
		name          string
		first, second lab.Report
		want          string
	}{
		{"retransmission with new MSH-7 or H.14",
			func() lab.Report { m := message(wbc); m.Sent.Raw, m.Control = "20260301080100", "1"; return m }(),
			func() lab.Report { m := message(wbc); m.Sent.Raw, m.Control = "20260301093000", "2"; return m }(), same},
		{"rerun with a new time", message(wbc), message(wbc.with(func(l *line) { l.completed = "20260301081500" })), slot},
		{"rerun with the same value in the same minute", message(wbc), message(wbc), same},
		{"rerun with another value in the same minute", message(wbc), message(wbc.with(func(l *line) { l.value = "5.20" })), version},
		{"mass and molar of one code", message(aspect("", "mg/dL", "90")), message(aspect("", "mmol/L", "5.0")), slot},
		{"RLU and DOSE of one test (Centaur)", message(aspect("1^RLU", "", "4711")), message(aspect("1^DOSE", "", "4711")), slot},
		{"RLU and COFF of one test (Centaur)", message(aspect("1^RLU", "", "4711")), message(aspect("1^COFF", "", "4711")), slot},
		{"F and P of one assay (Architect)", message(aspect("F", "", "1")), message(aspect("P", "", "1")), slot},
		{"F and I of one assay (Architect)", message(aspect("F", "", "1")), message(aspect("I", "", "1")), slot},
		{"P then F", message(wbc.with(func(l *line) { l.status = "P" })), message(wbc), version},
		{"a flag added on re-send", message(wbc), message(wbc.with(func(l *line) { l.flags = `N\A` })), version},
		{"a comment added on re-send", message(wbc), message(wbc.with(func(l *line) { l.comments = []string{"clot"} })), version},
		{"correction C", message(wbc), message(wbc.with(func(l *line) { l.status, l.value = "C", "5.30" })), version},
		{"sent before, R", message(wbc), message(wbc.with(func(l *line) { l.status = "R" })), same},
		{"a daily counter on two days without times",
			message(timeless.with(func(l *line) { l.specimen, l.value = "12", "NEG" })),
			message(timeless.with(func(l *line) { l.specimen, l.value, l.day = "12", "NEG", "20260302" })), slot},
		{"a daily counter re-sent on its day", message(timeless), message(timeless), same},
		{"the same id for two patients months apart", message(wbc), message(wbc.with(func(l *line) { l.completed = "20260801080000" })), slot},
		{"dilution repeat", message(wbc.with(func(l *line) { l.test = "^^^5/1/not" })), message(wbc.with(func(l *line) { l.test = "^^^5/10/not" })), slot},
		{"a dead instrument clock, the same sample again", message(wbc.with(func(l *line) { l.completed = "18991230" })), message(wbc.with(func(l *line) { l.completed = "18991230" })), same},
		{"a dead instrument clock, another sample", message(wbc.with(func(l *line) { l.completed = "18991230" })), message(wbc.with(func(l *line) { l.completed, l.specimen = "18991230", "987654321" })), slot},
		{"two specimens", message(wbc), message(wbc.with(func(l *line) { l.specimen = "123456780" })), slot},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, second := results(rules, c.first)[0], results(rules, c.second)[0]
			got := slot
			switch {
			case first.Version == second.Version:
				got = same
			case first.Slot == second.Slot:
				got = version
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestTwoAnalyzersOneSpecimen(t *testing.T) {
	m := message(line{specimen: "123456789", test: "^^^GLU", value: "5.0", completed: "20260301080000"})
	one, two := results(&Rules{Analyzer: "chemistry-1"}, m)[0], results(&Rules{Analyzer: "chemistry-2"}, m)[0]
	if one.Slot == two.Slot || one.Version == two.Version {
		t.Error("two analyzers share the identity of a result")
	}
}

func TestReplicatesInOneMessage(t *testing.T) {
	pt := line{specimen: "123456789", test: "^^^PT", unit: "s", completed: "20260301080000", value: "12.1", status: "F"}
	first := results(rules, message(pt, pt))
	if first[0].Slot == first[1].Slot || first[0].Version == first[1].Version {
		t.Error("two replicates are one")
	}
	again := results(rules, message(pt, pt))
	for i := range first {
		if first[i].Version != again[i].Version {
			t.Errorf("replicate %d is new on re-send", i)
		}
	}
}

func TestDayResentAsBatch(t *testing.T) {
	var day []line
	for i := range 20 {
		day = append(day, line{specimen: fmt.Sprint(123456700 + i), test: "^^^GLU", value: "5.0", completed: fmt.Sprintf("2026030108%02d00", i), status: "F"})
	}
	batch := results(rules, message(day...))
	for i, l := range day {
		if single := results(rules, message(l))[0]; single.Version != batch[i].Version {
			t.Errorf("result %d is new in the batch", i)
		}
	}
}

func TestEmptySpecimen(t *testing.T) {
	for _, id := range []string{"", "  "} {
		parts := rules.File(message(line{specimen: id, patient: "P1", test: "^^^GLU", value: "5.0"}), Item{Received: noon, Decisions: []Decision{{0, -1, NoSpecimen}, {0, 0, NoSpecimen}}})
		p := parts[0]
		if p.Hold != NoSpecimen || p.Held() != 1 {
			t.Errorf("specimen %q: held %q with %d, want no-specimen with 1 whatever a person says", id, p.Hold, p.Held())
		}
		if r := p.Results[0]; r.Slot != "" || r.Version != "" || p.Accession != "" {
			t.Errorf("specimen %q was hashed", id)
		}
	}
}

// The bytes of an identity are interface: a change makes every delivered result a new one.
func TestIdentityIsFixed(t *testing.T) {
	r := results(&Rules{Analyzer: "a"}, message(line{specimen: "1", test: "^^^GLU", value: "5.0", status: "F", completed: "20260301080000"}))[0]
	if want := "94d992d418643385951b293ff79977b77ac6533f3f865d777ec8820572070cfc"; r.Slot != want {
		t.Errorf("slot %s, want %s", r.Slot, want)
	}
	if want := "314ec1abbab75a9d5df9e0d96effae54312c6a1bb2b4a87061f1ed8e72d7b798"; r.Version != want {
		t.Errorf("version %s, want %s", r.Version, want)
	}
}

func TestSheetIdentity(t *testing.T) {
	if Sheet([]string{"a", "b"}) != Sheet([]string{"b", "a"}) {
		t.Error("the order of results changes the sheet")
	}
	if Sheet([]string{"a", "b"}) == Sheet([]string{"a"}) || Sheet([]string{"ab"}) == Sheet([]string{"a", "b"}) {
		t.Error("two sheets share an identity")
	}
}

func TestAccession(t *testing.T) {
	at := func(day int) lab.Time {
		return lab.Time{Raw: "x", At: time.Date(2026, 3, day, 23, 30, 0, 0, time.UTC)}
	}
	zone := time.FixedZone("", 3600)
	result := lab.Result{Observed: at(4), Analyzed: at(3)}
	for _, c := range []struct {
		name string
		part lab.Part
		sent lab.Time
		want string
	}{
		{"collected", lab.Part{Specimen: "4711", Collected: at(2), Results: []lab.Result{result}}, at(5), "4711.20260303"},
		{"earliest result", lab.Part{Specimen: "4711", Results: []lab.Result{{Observed: at(6)}, result}}, at(5), "4711.20260304"},
		{"message", lab.Part{Specimen: "4711", Results: []lab.Result{{}}}, at(5), "4711.20260306"},
		{"receipt", lab.Part{Specimen: "4711"}, lab.Time{}, "4711.20260301"},
		{"id with other characters", lab.Part{Specimen: "47_11/ä,|"}, lab.Time{}, "47_5F11_2F_C3_A4_2C_7C.20260301"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := accession(c.part, c.sent, noon, zone); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
