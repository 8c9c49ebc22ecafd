package dialect

import (
	"strings"
	"time"

	"labagent/hl7"
	"labagent/lab"
)

// hl7Specimens is where the specimen's id is looked for unless the config says otherwise. Mindray's chemistry analyzers,
// for one, need it said: their OBR-3 is a rack position.
var hl7Specimens = []string{"SPM-2.1.1", "SAC-3.1", "OBR-3.1", "OBR-2.1"}

func hl7Report(text []byte, s Setup, received time.Time) (lab.Report, error) {
	m, err := hl7Open(text, s)
	if err != nil {
		return lab.Report{}, err
	}
	c := s.clock(received)
	report := lab.Report{
		Type:       m.field(&m.header, 9).whole(),
		Sender:     m.text(&m.header, 3),
		Control:    m.field(&m.header, 10).whole(),
		Sent:       c.stamp(m.text(&m.header, 7)),
		Processing: strings.ToUpper(m.text(&m.header, 11)),
		Queries:    m.queries,
	}
	for _, p := range m.parts {
		if !m.says(p) {
			m.unused = once(m.unused, "OBR")
			continue
		}
		part, err := m.part(p, s, report.Processing, c)
		if err != nil {
			return lab.Report{}, err
		}
		report.Parts = append(report.Parts, part)
	}
	for i := range m.Segments {
		switch name := m.Segments[i].Name(); name {
		case "NTE":
			if !m.told[&m.Segments[i]] {
				m.unused = once(m.unused, name)
			}
		case "SPM", "SAC", "ORC":
			if len(report.Parts) == 0 {
				m.unused = once(m.unused, name)
			}
		}
	}
	report.Unused = m.unused
	return report, nil
}

func hl7Specimen(text []byte, s Setup) string {
	if len(text) < 4 {
		return ""
	}
	m, err := hl7Open(complete(text, text[3]), s)
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

// says tells whether a part has something to report: results, comments of its own, or an order that will have none (table
// 0123: X, Y and Z). An order otherwise without results is an order.
func (m *hl7Message) says(p *hl7Part) bool {
	switch status := m.text(p.order, 25); {
	case len(p.lines) > 0, status == "X", status == "Y", status == "Z":
		return true
	}
	return len(p.notes) > p.inherited
}

func (m *hl7Message) part(p *hl7Part, s Setup, processing string, c clock) (lab.Part, error) {
	part := lab.Part{
		SpecimenType: m.field(p.specimen, 4).code(),
		Placer:       identifier(m.text(p.order, 2)),
		Filler:       identifier(m.text(p.order, 3)),
		Panel:        m.field(p.order, 4).code(),
		Status:       m.text(p.order, 25),
		Collected:    c.stamp(m.text(p.specimen, 17)),
		Reported:     c.stamp(m.text(p.order, 22)),
		Notes:        m.texts(p.notes),
	}
	if part.Placer == "" {
		part.Placer = identifier(m.text(p.common, 2))
	}
	if part.SpecimenType == (lab.Code{}) && p.order != nil {
		part.SpecimenType = lab.Code{Code: m.sub(*p.order, 15)}
	}
	if part.Collected.Raw == "" {
		part.Collected = c.stamp(m.text(p.order, 7))
	}
	var err error
	if part.Specimen, err = m.specimen(p, s); err != nil {
		return part, err
	}
	look := m.lookup(p)
	if s.Patient != "" {
		if part.Patient, err = look.id("hl7", []string{s.Patient}); err != nil {
			return part, err
		}
	}
	if part.QC, part.Training, err = s.judge("hl7", processing, part.Specimen, look); err != nil {
		return part, err
	}
	m.results(p, &part, c)
	return part, nil
}

func (m *hl7Message) specimen(p *hl7Part, s Setup) (string, error) {
	from := s.Specimen
	if len(from) == 0 {
		from = hl7Specimens
	}
	return m.lookup(p).id("hl7", from)
}

// lookup reads paths in a part.
func (m *hl7Message) lookup(p *hl7Part) lookup {
	return func(at path) []string {
		segments := p.segments
		if at.record == "MSH" {
			segments = []hl7.Segment{m.header}
		}
		m.spend(len(segments))
		var found []string
		for _, s := range segments {
			if !s.Is(at.record) {
				continue
			}
			if at.sub > 0 {
				for r := 1; r <= s.Repeats(at.field); r++ {
					m.spend(len(s.Field(at.field)))
					found = append(found, m.decode(s.Sub(at.field, r, at.component, at.sub)))
				}
				continue
			}
			for _, repeat := range m.field(&s, at.field) {
				switch {
				case at.component == 0:
					found = append(found, joined(repeat))
				case at.component <= len(repeat):
					found = append(found, repeat[at.component-1])
				default:
					found = append(found, "")
				}
			}
		}
		return found
	}
}

// query reads QPD (QBP^Q11, GeneXpert's Z01 and Z03), QRD (QRY^Q02 of Mindray) and QID (cancel). In answers, where QPD and
// QRD are echoed, they ask nothing.
func (m *hl7Message) query(s *hl7.Segment) {
	kind, event := m.text(&m.header, 9), m.field(&m.header, 9).part(1, 2)
	query := lab.Query{}
	at := 0
	switch {
	case s.Is("QID") && kind == "QCN":
		query.Cancel = true
	case s.Is("QRD") && kind == "QRY":
		query.Cancel = m.text(s, 9) == "CAN"
		at = 8
	case s.Is("QPD") && kind == "QBP":
		at = 3
		if event == "Z03" {
			at = 4
		}
	default:
		m.unused = once(m.unused, s.Name())
		return
	}
	name := m.text(s, 1)
	for r := 1; at > 0 && r <= s.Repeats(at); r++ {
		m.spend(len(s.Field(at)))
		// IHE PDQ asks for people (@PID.5.1^Name), never for a specimen.
		if id := sent(m.decode(s.Sub(at, r, 1, 1))); id != "" && !strings.HasPrefix(id, "@PID") {
			query.Specimens = append(query.Specimens, id)
		}
	}
	if len(query.Specimens) == 0 && !query.Cancel && (event == "Z01" || name == "WOS_ALL" || at == 8) {
		query.Specimens = []string{"ALL"}
	}
	m.queries = append(m.queries, query)
}

// texts reads NTE-3, each repetition.
func (m *hl7Message) texts(notes []*hl7.Segment) []string {
	var texts []string
	for _, nte := range notes {
		m.told[nte] = true
		for _, repeat := range nte.AllRepeats(3) {
			if text := sent(m.decode(repeat)); text != "" {
				texts = append(texts, text)
			}
		}
	}
	return texts
}

// field decodes field n of a segment; nil where there is no segment.
func (m *hl7Message) field(s *hl7.Segment, n int) field {
	if s == nil {
		return nil
	}
	m.divisible(s.Field(n), m.Separators.Repeat, m.Separators.Component)
	var f field
	for _, repeat := range s.Divide(n) {
		var components []string
		for _, component := range repeat {
			components = append(components, m.decode(component))
		}
		f = append(f, components)
	}
	return f
}

// text is the first component of field n.
func (m *hl7Message) text(s *hl7.Segment, n int) string {
	if s == nil {
		return ""
	}
	return sent(m.decode(s.Component(n, 1, 1)))
}

// sub is the first subcomponent of the first component of field n that holds anything.
func (m *hl7Message) sub(s hl7.Segment, n int) string {
	for _, raw := range split(s.Component(n, 1, 1), m.Separators.Sub) {
		if text := sent(m.decode(raw)); text != "" {
			return text
		}
	}
	return ""
}

func (m *hl7Message) decode(raw []byte) string {
	m.spend(1 + len(raw))
	text, _ := m.Text(raw)
	return strings.ToValidUTF8(text, "\uFFFD")
}

// code reads CE and CWE: code^text^system, else the same in components 4 to 6.
func (f field) code() lab.Code {
	c := 1
	if f.part(1, 1) == "" && f.part(1, 4) != "" {
		c = 4
	}
	return lab.Code{Code: f.part(1, c), Text: f.part(1, c+1), System: f.part(1, c+2)}
}
