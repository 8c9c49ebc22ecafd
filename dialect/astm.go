package dialect

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"labagent/astm"
	"labagent/charset"
	"labagent/lab"
)

// astmMessage is one LIS02-A2 message taken apart into what belongs together.
type astmMessage struct {
	delimiters astm.Delimiters
	encoding   string
	header     astm.Record
	comments   []*astm.Record // every C
	told       map[*astm.Record]bool
	notes      []*astm.Record // comments on the whole message
	parts      []*astmPart
	queries    []astm.Record
	end        astm.Record
	unused     []string
}

// astmPart is an order with what hangs on it, or results without an order.
type astmPart struct {
	patient *astmPatient
	order   astm.Record // without text where R came without O
	notes   []*astm.Record
	results []*astmResult
	records []astm.Record // the records under the order, R, C and all others, for paths
}

type astmPatient struct {
	record astm.Record
	notes  []*astm.Record
}

type astmResult struct {
	record astm.Record
	notes  []*astm.Record
}

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

// astmOpen parses a message and groups its records by their levels (LIS02-A2 5.1).
func astmOpen(text []byte, s Setup) (*astmMessage, error) {
	m := &astmMessage{encoding: s.Encoding, told: map[*astm.Record]bool{}}
	if m.encoding == "" || m.encoding == "from-message" {
		m.encoding = "latin-1" // LIS02-A2 5.2: ISO 8859-1
	}
	if charset.Hides(m.encoding) {
		// Characters of these sets hold the bytes of delimiters, so the text is decoded before it is cut. Here alone
		// identity is made over decoded bytes.
		text, _ = charset.Decode(m.encoding, text)
		m.encoding = "utf-8"
	}
	parsed, err := astm.Parse(text)
	if err != nil {
		return nil, err
	}
	m.delimiters = parsed.Delimiters
	records := parsed.Records
	// The link ends every record it hands on. One that is not ended was torn, and what is left of a value is not the
	// value; but a last L says all there is to say.
	if last := len(records) - 1; last > 0 && records[last].Type() != 'L' && !bytes.ContainsAny(text[len(text)-1:], "\r\n") {
		m.unused = once(m.unused, string(rune(records[last].Type())))
		records = records[:last]
	}
	m.group(records)
	return m, nil
}

func (m *astmMessage) group(records []astm.Record) {
	patient := &astmPatient{}
	var part *astmPart
	open := func(order astm.Record) {
		part = &astmPart{patient: patient, order: order}
		m.parts = append(m.parts, part)
	}
	notes := &m.notes // where a comment goes: it belongs to the record before it
	for i, r := range records {
		kind := r.Type()
		switch kind {
		case 'H':
			m.header = r
			continue
		case 'P':
			patient, part = &astmPatient{record: r}, nil
			notes = &patient.notes
			continue
		case 'O':
			open(r)
			notes = &part.notes
			continue
		case 'L':
			m.end = r
			continue
		case 'Q':
			m.queries = append(m.queries, r)
			notes, part = nil, nil
			continue
		case 'R':
			if part == nil {
				open(astm.Record{})
			}
			result := &astmResult{record: r}
			part.results = append(part.results, result)
			notes = &result.notes
		case 'C':
			m.comments = append(m.comments, &records[i])
			if notes != nil {
				*notes = append(*notes, &records[i])
			}
		default:
			m.unused = once(m.unused, string(rune(kind)))
		}
		if part != nil {
			part.records = append(part.records, r)
		}
	}
}

// says tells whether a part has something to report: results, comments, or an order that will have none (LIS02-A2
// 9.4.26: X cannot be done, Y no order, Z no patient). An order otherwise without results is an order.
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

// test finds the code in a universal test id (LIS02-A2 5.6.1): component 4, the maker's own code, else the first that holds
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
	// The law names P.3. Where it holds nothing either, the patient's other ids stand in: Euroimmun writes all it knows to
	// P.4, and twenty patients in one message must not share a place.
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

// query reads Q. The specimen is component 2 of LIS02-A2 10.1.3; Roche has it in 3, and Erba sends a list whose later
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

// lookup reads paths in a part: H, P and O as they stand above it, other letters in the records under the order.
func (m *astmMessage) lookup(p *astmPart) lookup {
	return func(at path) []string {
		records := p.records
		switch at.record {
		case "H":
			records = []astm.Record{m.header}
		case "P":
			records = []astm.Record{p.patient.record}
		case "O":
			records = []astm.Record{p.order}
		}
		var found []string
		for _, r := range records {
			if r.Type() != at.record[0] {
				continue
			}
			f := m.field(r, at.field)
			for i := range f {
				if at.component > 0 {
					found = append(found, f.part(i+1, at.component))
				} else {
					found = append(found, joined(f[i]))
				}
			}
		}
		return found
	}
}

// field decodes field n of a record.
func (m *astmMessage) field(r astm.Record, n int) field {
	if len(r.Field(n)) == 0 {
		return nil
	}
	f := make(field, r.Repeats(n))
	for i := range f {
		for _, component := range split(r.Repeat(n, i+1), m.delimiters.Component) {
			f[i] = append(f[i], m.decode(m.delimiters.Unescape(component)))
		}
	}
	return f
}

// text is the first component of field n.
func (m *astmMessage) text(r astm.Record, n int) string { return m.field(r, n).part(1, 1) }

func (m *astmMessage) decode(raw []byte) string {
	text, _ := charset.Decode(m.encoding, raw)
	return strings.ToValidUTF8(string(text), "\uFFFD")
}
