package dialect

import (
	"bytes"
	"strings"
	"unicode"

	"labagent/hl7"
	"labagent/lab"
)

// obxResult is an OBX that stands for a result, with the lines that speak about it.
type obxResult struct {
	line        *hl7Line
	twin        *hl7Line   // the maker's second, empty line for the same result
	supplements []*hl7Line // IHE LAW: conditions the result was made under
	value       lab.Value
	empty       bool
}

// results reads the OBX of a part. Cobas sends each result twice, NM with the value and CE with an empty interpretation:
// they are one. A supplemental line (IHE LAW) becomes a note of the result before it, a line that is no result (OBX-29
// other than RSLT) a note of the part.
func (m *hl7Message) results(p *hl7Part, part *lab.Part, c clock) {
	var results []*obxResult
	var early []*hl7Line // supplements before any result
	places := map[string][]*obxResult{}
	for _, line := range p.lines {
		obx := &line.obx
		switch {
		case m.supplemental(obx):
			if main := m.mainOf(results, obx); main != nil {
				main.supplements = append(main.supplements, line)
			} else {
				early = append(early, line)
			}
		case m.aside(obx):
			part.Notes = append(append(part.Notes, m.said(obx)), m.texts(line.notes)...)
		default:
			r := &obxResult{line: line, value: m.value(obx, c), empty: m.emptyValue(obx)}
			place := m.place(obx)
			if first := m.twinOf(places[place], r); first == nil {
				results = append(results, r)
				places[place] = append(places[place], r)
			} else if r.empty {
				first.twin = line
			} else {
				r.twin, r.supplements = first.line, first.supplements
				*first = *r
			}
		}
	}
	for _, line := range early {
		if main := m.mainOf(results, &line.obx); main != nil {
			main.supplements = append(main.supplements, line)
		} else {
			part.Notes = append(append(part.Notes, m.said(&line.obx)), m.texts(line.notes)...)
		}
	}
	for _, r := range results {
		part.Results = append(part.Results, m.result(p, r, c))
	}
}

// supplemental tells whether a line is supplemental by IHE LAW: S_OTHER and its like in OBX-3.4.
func (m *hl7Message) supplemental(obx *hl7.Segment) bool {
	test := m.field(obx, 3)
	return test.part(1, 4) == "S_OTHER" || strings.HasPrefix(test.part(1, 4), "S_") && test.part(1, 6) == "IHELAW"
}

// aside tells whether a line says itself that it is no result (HL7 table 0936).
func (m *hl7Message) aside(obx *hl7.Segment) bool {
	kind := m.text(obx, 29)
	return kind != "" && kind != "RSLT"
}

// mainOf is the result a supplemental line speaks about: the last of the same run, else the last.
func (m *hl7Message) mainOf(results []*obxResult, obx *hl7.Segment) *obxResult {
	for i := len(results) - 1; i >= 0; i-- {
		m.spend(8)
		if bytes.Equal(results[i].line.obx.Field(4), obx.Field(4)) {
			return results[i]
		}
	}
	if len(results) == 0 {
		return nil
	}
	return results[len(results)-1]
}

// place tells lines of one result from others of the part: test, run, times and instance.
func (m *hl7Message) place(obx *hl7.Segment) string {
	var place []byte
	for _, n := range []int{3, 4, 14, 19, 21} {
		place = append(append(place, obx.Field(n)...), m.Separators.Field)
	}
	return string(place)
}

// twinOf is the result at this place that r says again in another type, one of both being empty. Two lines of one type are
// two replicates, and an empty one of them failed.
func (m *hl7Message) twinOf(there []*obxResult, r *obxResult) *obxResult {
	for _, first := range there {
		m.spend(8)
		again := !bytes.Equal(first.line.obx.Field(2), r.line.obx.Field(2))
		if again && first.twin == nil && (first.empty || r.empty) {
			return first
		}
	}
	return nil
}

// said writes a line as a note.
func (m *hl7Message) said(obx *hl7.Segment) string {
	test := m.field(obx, 3)
	name := test.part(1, 2)
	if name == "" {
		name = m.sub(*obx, 3)
	}
	value := "(in the raw message)"
	if !bulky(m.text(obx, 2)) {
		value = m.field(obx, 5).whole()
	}
	return strings.TrimSpace(name + ": " + value + " " + m.unit(obx))
}

func (m *hl7Message) unit(obx *hl7.Segment) string {
	f := m.field(obx, 6)
	if unit := f.part(1, 1); unit != "" {
		return unit
	}
	return f.part(1, 2)
}

func (m *hl7Message) result(p *hl7Part, r *obxResult, c clock) lab.Result {
	obx := &r.line.obx
	result := lab.Result{
		Test:     m.field(obx, 3).code(),
		Value:    r.value,
		Unit:     m.unit(obx),
		Range:    sent(m.field(obx, 7).whole()),
		Nature:   sent(m.field(obx, 10).whole()),
		Status:   m.text(obx, 11),
		Observed: c.stamp(m.text(obx, 14)),
		Analyzed: c.stamp(m.text(obx, 19)),
		Device:   sent(m.field(obx, 18).whole()),
		Operator: sent(m.field(obx, 16).whole()),
		Method:   sent(m.field(obx, 17).whole()),
		Notes:    m.texts(r.line.notes),
		Slot:     m.slot(p, obx, c),
	}
	// GeneXpert writes &GBS TC&Assay&4: the code is the first subcomponent that holds anything.
	if whole, first := result.Test.Code, m.sub(*obx, 3); whole != first && m.field(obx, 3).part(1, 1) == whole {
		result.Test.Code = first
		if result.Test.Text == "" {
			result.Test.Text = whole
		}
	}
	if unit := m.field(obx, 6).code(); unit.System != "" {
		result.UnitCode = unit
	}
	m.subID(obx, &result)
	result.Version = m.version(r)
	for _, line := range []*hl7Line{r.line, r.twin} {
		if line == nil {
			continue
		}
		for _, flag := range m.field(&line.obx, 8) {
			if word := joined(flag); word != "" {
				m.spend(len(result.Flags))
				result.Flags = once(result.Flags, word)
			}
		}
	}
	if r.twin != nil {
		result.Notes = append(result.Notes, m.texts(r.twin.notes)...)
	}
	for _, s := range r.supplements {
		result.Notes = append(append(result.Notes, m.said(&s.obx)), m.texts(s.notes)...)
	}
	return result
}

// subID reads OBX-4: with a letter in it it names an aspect (IC, HIV-1, analyte&Ct), without it numbers runs.
func (m *hl7Message) subID(obx *hl7.Segment, result *lab.Result) {
	var pieces []string
	for r, components := range obx.Divide(4) {
		for _, component := range components {
			for _, raw := range split(component, m.Separators.Sub) {
				pieces = append(pieces, m.decode(raw))
			}
		}
		if r == 0 {
			break
		}
	}
	id := dense(pieces)
	if strings.IndexFunc(id, unicode.IsLetter) >= 0 {
		result.Aspect = id
	} else {
		result.Run = id
	}
}

// slot names the place of a result by filing rules 2: OBR-2, -3, -4, -7, SPM-2, SAC-3, OBX-3, -4, -6, -14, -19, -21, and a date
// where none of the times is given.
func (m *hl7Message) slot(p *hl7Part, obx *hl7.Segment, c clock) [][]byte {
	var slot [][]byte
	for _, place := range []struct {
		segment *hl7.Segment
		fields  []int
	}{{p.order, []int{2, 3, 4, 7}}, {p.specimen, []int{2}}, {p.container, []int{3}}, {obx, []int{3, 4, 6, 14, 19, 21}}} {
		for _, n := range place.fields {
			slot = append(slot, raw(place.segment, n))
		}
	}
	var date []byte
	if !valuedAny([][]byte{raw(p.order, 7), obx.Field(14), obx.Field(19)}) {
		date = c.date(m.header.Field(7))
	}
	return append(slot, date)
}

// version tells one version of a result from another: value, status, flags, comments, and what the supplemental lines say.
func (m *hl7Message) version(r *obxResult) [][]byte {
	obx := &r.line.obx
	version := [][]byte{obx.Field(5), obx.Field(11), obx.Field(8)}
	lines := append([]*hl7Line{r.line}, r.supplements...)
	if r.twin != nil {
		lines = append(lines, r.twin)
		if flags := r.twin.obx.Field(8); !bytes.Equal(flags, obx.Field(8)) {
			version = append(version, flags)
		}
	}
	for _, line := range lines {
		if line != r.line && line != r.twin {
			version = append(version, line.obx.Field(3), line.obx.Field(5))
		}
		for _, nte := range line.notes {
			version = append(version, nte.Field(3))
		}
	}
	return version
}

func raw(s *hl7.Segment, n int) []byte {
	if s == nil {
		return nil
	}
	return s.Field(n)
}

// bulky tells whether values of a type stay in the raw message: images, references to them, and curves.
func bulky(kind string) bool {
	return kind == "ED" || kind == "RP" || kind == "NA" || kind == "MA"
}

// value reads OBX-5 by the type in OBX-2 (table 0125).
func (m *hl7Message) value(obx *hl7.Segment, c clock) lab.Value {
	kind := strings.ToUpper(m.text(obx, 2))
	if bulky(kind) {
		if m.emptyValue(obx) {
			return lab.Value{Absent: "unknown"}
		}
		return lab.Value{Kind: lab.Bulk}
	}
	f := m.field(obx, 5)
	unit := m.unit(obx) != ""
	var v lab.Value
	switch kind {
	case "NM":
		v = f.simple(asNumber, unit)
	case "":
		v = m.open(f).simple(asGuess, unit)
	case "ST":
		v = f.simple(asString, unit)
	case "TX", "FT":
		var lines []string
		for _, repeat := range f {
			lines = append(lines, joined(repeat))
		}
		v = field{{strings.Join(lines, "\n")}}.simple(asString, unit)
	case "SN":
		v = f.structured()
	case "NR":
		v = f.interval()
	case "CE", "CWE", "CNE", "CF", "IS":
		v = f.coded()
	case "DT", "DTM", "TS":
		v = f.date(c)
	case "DR":
		v = f.period(c)
	case "TM":
		v = f.timeOfDay()
	default:
		v = f.text()
	}
	v.Raw = m.decode(obx.Field(5))
	return v
}

// open takes components apart that were escaped into one: cobas IT middleware sends no type and 34\S\ for 34.
func (m *hl7Message) open(f field) field {
	var opened field
	for _, repeat := range f {
		var components []string
		for _, text := range repeat {
			for _, raw := range split([]byte(text), m.Separators.Component) {
				components = append(components, string(raw))
			}
		}
		opened = append(opened, components)
	}
	return opened
}

// emptyValue tells whether OBX-5 says nothing; of a code the name of its system alone says nothing.
func (m *hl7Message) emptyValue(obx *hl7.Segment) bool {
	kind := strings.ToUpper(m.text(obx, 2))
	if bulky(kind) {
		return len(bytes.Trim(obx.Field(5), `^~& "`)) == 0
	}
	f := m.field(obx, 5)
	if kind != "CE" && kind != "CWE" && kind != "CNE" && kind != "CF" {
		return f.empty()
	}
	for r := range f {
		for _, c := range []int{1, 2, 4, 5, 9} {
			if f.part(r+1, c) != "" {
				return false
			}
		}
	}
	return true
}
