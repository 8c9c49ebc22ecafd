package dialect

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"labagent/astm"
	"labagent/lab"
)

func astmReport(text []byte, s Setup, received time.Time) (lab.Report, error) {
	m, err := astmOpen(text, s)
	if err != nil {
		return lab.Report{}, err
	}
	c := s.clock(received)
	report := lab.Report{
		Type:       "ASTM",
		Sender:     m.text(m.header, 5),
		Control:    m.field(m.header, 3).whole(),
		Sent:       c.stamp(m.text(m.header, 14)),
		Processing: strings.ToUpper(m.text(m.header, 12)),
		Ended:      strings.ToUpper(m.text(m.end, 3)),
	}
	for _, p := range m.parts {
		if !m.says(p) {
			m.unused = once(m.unused, "O")
			continue
		}
		part, err := m.part(p, s, report.Processing, c)
		if err != nil {
			return lab.Report{}, err
		}
		report.Parts = append(report.Parts, part)
	}
	for _, comment := range m.comments {
		if !m.told[comment] {
			m.unused = once(m.unused, "C")
		}
	}
	for _, q := range m.queries {
		report.Queries = append(report.Queries, m.query(q))
	}
	report.Unused = m.unused
	return report, nil
}

func astmSpecimen(text []byte, s Setup) string {
	if len(text) < 2 || text[0]|0x20 != 'h' {
		// A frame from the middle of a message: most senders keep to the delimiters of the standard.
		text = append([]byte("H|\\^&\r"), text...)
	}
	m, err := astmOpen(complete(text, text[1]), s)
	if err != nil {
		return ""
	}
	for _, p := range m.parts {
		if id, err := m.specimen(p, s); err == nil && id != "" {
			return id
		}
	}
	return ""
}

// says tells whether a part has something to report: results, comments, or an order that will have none (O.26
// of LIS02-A2: X cannot be done, Y no order, Z no patient). An order otherwise without results is an order.
func (m *astmMessage) says(p *astmPart) bool {
	if len(p.results) > 0 || len(p.notes) > 0 {
		return true
	}
	for _, repeat := range m.field(p.order, 26) {
		for _, word := range repeat {
			if word = sent(word); word == "X" || word == "Y" || word == "Z" {
				return true
			}
		}
	}
	return false
}

func (m *astmMessage) part(p *astmPart, s Setup, processing string, c clock) (lab.Part, error) {
	o := p.order
	part := lab.Part{
		Panel:     m.panel(o),
		Status:    m.text(o, 26),
		Collected: c.stamp(m.text(o, 8)),
		Reported:  c.stamp(m.text(o, 23)),
		Notes:     m.texts(m.notes, p.patient.notes, p.notes),
	}
	material := m.field(o, 16)
	part.SpecimenType = lab.Code{Code: material.part(1, 1), Text: material.part(1, 2)}
	var err error
	if part.Specimen, err = m.specimen(p, s); err != nil {
		return part, err
	}
	look := m.lookup(p)
	if s.Patient != "" {
		if part.Patient, err = look.id("astm", []string{s.Patient}); err != nil {
			return part, err
		}
	}
	if part.QC, part.Training, err = s.judge("astm", processing, part.Specimen, look); err != nil {
		return part, err
	}
	for _, r := range p.results {
		part.Results = append(part.Results, m.result(p, r, c))
	}
	return part, nil
}

func (m *astmMessage) specimen(p *astmPart, s Setup) (string, error) {
	from := s.Specimen
	if len(from) == 0 {
		from = []string{"O.3.1"}
	}
	return m.lookup(p).id("astm", from)
}

// panel is the test of O.5 where the order is for one; the list of many says nothing their results do not say.
func (m *astmMessage) panel(o astm.Record) lab.Code {
	f := m.field(o, 5)
	if len(f) != 1 {
		return lab.Code{}
	}
	code, _ := f.test()
	return code
}

// test finds the code in a universal test id (R.3 and O.5): component 4, the maker's own code, else the first that holds
// anything. The aspect is what stands behind it.
func (f field) test() (code lab.Code, aspect string) {
	if len(f) == 0 {
		return code, ""
	}
	at := 0
	for c := len(f[0]); c > 0; c-- {
		if f.part(1, c) != "" {
			at = c
		}
	}
	if f.part(1, 4) != "" {
		at = 4
	}
	if at == 0 {
		return code, ""
	}
	code.Code = f.part(1, at)
	if at > 2 {
		code.Text = f.part(1, 2)
	}
	return code, dense(f[0][at:])
}

func (m *astmMessage) result(p *astmPart, r *astmResult, c clock) lab.Result {
	value := m.field(r.record, 4)
	result := lab.Result{
		Unit:     sent(m.field(r.record, 5).whole()),
		Range:    sent(m.field(r.record, 6).whole()),
		Nature:   m.text(r.record, 8),
		Status:   m.text(r.record, 9),
		Operator: sent(m.field(r.record, 11).whole()),
		Observed: c.stamp(m.text(r.record, 12)),
		Analyzed: c.stamp(m.text(r.record, 13)),
		Device:   sent(m.field(r.record, 14).whole()),
		Notes:    m.texts(r.notes),
		Slot:     m.slot(p, r, c),
		Version:  m.version(r),
	}
	result.Test, result.Aspect = m.field(r.record, 3).test()
	result.Value = value.simple(asGuess, result.Unit != "")
	result.Value.Raw = m.decode(m.delimiters.Unescape(r.record.Field(4)))
	for _, flag := range m.field(r.record, 7) {
		if word := joined(flag); word != "" {
			result.Flags = append(result.Flags, word)
		}
	}
	return result
}

// slot names the place of a result by filing rules 2: O.3, O.4, O.5, P.3 where O.3 is empty, R.3, R.5, R.12, R.13, O.8, O.23,
// and a date where none of the times is given.
func (m *astmMessage) slot(p *astmPart, r *astmResult, c clock) [][]byte {
	o := p.order
	var patient, date []byte
	// Filing rules 2 name P.3. Where it holds nothing either, the patient's other ids stand in: Euroimmun writes all it
	// knows to P.4, and twenty patients in one message must not share a place.
	if m.field(o, 3).empty() {
		for n := 3; n <= 5 && len(patient) == 0; n++ {
			if !m.field(p.patient.record, n).empty() {
				patient = p.patient.record.Field(n)
			}
		}
	}
	times := [][]byte{r.record.Field(12), r.record.Field(13), o.Field(8), o.Field(23)}
	if !valuedAny(times) {
		date = c.date(m.header.Field(14))
	}
	return append([][]byte{o.Field(3), o.Field(4), o.Field(5), patient, r.record.Field(3), r.record.Field(5)}, append(times, date)...)
}

// version tells one version of a result from another: value, status, flags and comments, these without their sequence
// number. R, sent before, is F sent again.
func (m *astmMessage) version(r *astmResult) [][]byte {
	status := r.record.Field(9)
	if string(bytes.TrimSpace(status)) == "R" {
		status = []byte("F")
	}
	version := [][]byte{r.record.Field(4), status, r.record.Field(7)}
	for _, c := range r.notes {
		version = append(version, c.Field(3), c.Field(4), c.Field(5))
	}
	return version
}

// query reads Q. The specimen is component 2 of Q.3 in LIS02-A2; Roche has it in 3, and Erba sends a list whose later
// repetitions are bare ids.
func (m *astmMessage) query(q astm.Record) lab.Query {
	query := lab.Query{Cancel: m.text(q, 13) == "A"}
	for _, asked := range m.field(q, 3) {
		id := field{asked}.part(1, 2)
		for c := 1; id == "" && c <= len(asked); c++ {
			id = field{asked}.part(1, c)
		}
		if id != "" {
			query.Specimens = append(query.Specimens, id)
		}
	}
	return query
}

// texts reads comments: C.4, and C.3 where a maker writes more than a source into it (IH-1000 has reagents there).
func (m *astmMessage) texts(lists ...[]*astm.Record) []string {
	var texts []string
	for _, c := range slices.Concat(lists...) {
		m.told[c] = true
		for _, n := range []int{3, 4} {
			for _, repeat := range m.field(*c, n) {
				if text := dense(repeat); len(text) > 1 || n == 4 && text != "" {
					texts = append(texts, text)
				}
			}
		}
	}
	return texts
}
