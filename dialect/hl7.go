package dialect

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"time"

	"labagent/hl7"
	"labagent/lab"
)

// hl7Specimens is where the specimen's id is looked for unless the config says otherwise. Mindray's chemistry analyzers,
// for one, need it said: their OBR-3 is a rack position.
var hl7Specimens = []string{"SPM-2.1.1", "SAC-3.1", "OBR-3.1", "OBR-2.1"}

// hl7Message is one message taken apart into what belongs together.
type hl7Message struct {
	*hl7.Message
	header  hl7.Segment
	parts   []*hl7Part
	queries []lab.Query
	told    map[*hl7.Segment]bool // comments that found their place
	unused  []string
}

// hl7Part is an order with its specimen and all that hangs on it.
type hl7Part struct {
	pid, specimen, container, common, order *hl7.Segment // PID, SPM, SAC, ORC, OBR; nil where there is none
	segments                                []hl7.Segment
	notes                                   []*hl7.Segment
	inherited                               int // of the notes, those that stand above the order
	lines                                   []*hl7Line
}

// hl7Line is an OBX and its NTE.
type hl7Line struct {
	obx   hl7.Segment
	notes []*hl7.Segment
}

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

func hl7Open(text []byte, s Setup) (*hl7Message, error) {
	encoding := s.Encoding
	if encoding == "from-message" {
		encoding = ""
	}
	parsed, err := hl7.ParseAs(text, encoding)
	if err != nil {
		return nil, err
	}
	m := &hl7Message{Message: parsed, told: map[*hl7.Segment]bool{}}
	segments := parsed.Segments
	// Many senders leave out the last CR, so only who knows that the message was torn may distrust its end.
	if last := len(segments) - 1; s.Torn && last > 0 && !bytes.ContainsAny(text[len(text)-1:], "\r\n") {
		m.unused = once(m.unused, segments[last].Name())
		segments = segments[:last]
	}
	return m, m.group(segments)
}

// grouping is the walk over the segments of a message. SPM and SAC stand before the orders they are for (OUL^R22, 2.5.1
// 7.3.8) or behind the results of one order (ORU^R01 7.3.1, GeneXpert); ORC stands before OBR in ORU and behind it in OUL.
// Which of both a message does is told by what comes first in it.
type grouping struct {
	m                   *hl7Message
	specimenLeads       bool
	containerLeads      bool
	commonLeads         bool
	pid                 *hl7.Segment
	specimen, container *hl7.Segment // what stands above the orders to come
	common              *hl7.Segment
	used                bool // an order has come under the specimen
	part                *hl7Part
	person, above       []hl7.Segment   // segments over the orders of a patient, of a specimen, for paths
	patient, material   []*hl7.Segment  // comments under the patient, under the specimen
	ordered             []*hl7.Segment  // comments under ORC
	notes               *[]*hl7.Segment // where a comment goes
}

func (m *hl7Message) group(segments []hl7.Segment) error {
	g := grouping{m: m}
	g.specimenLeads, g.containerLeads, g.commonLeads = leads(segments, "SPM"), leads(segments, "SAC"), leads(segments, "ORC")
	g.notes = &g.patient
	for i := range segments {
		s := &segments[i]
		switch name := s.Name(); name {
		case "MSH":
			if i > 0 {
				return errors.New("a second MSH inside the message")
			}
			m.header = *s
		case "PID":
			g.newPatient(s)
		case "SPM":
			g.newSpecimen(s)
		case "SAC":
			g.newContainer(s)
		case "ORC":
			g.newCommon(s)
		case "OBR":
			g.open(s)
		case "OBX":
			g.line(s)
		case "NTE":
			*g.notes = append(*g.notes, s)
			g.keep(s)
		case "QPD", "QRD", "QID":
			m.query(s)
		default:
			m.unused = once(m.unused, name)
			g.keep(s)
		}
	}
	return nil
}

// leads tells whether the first segment called name stands before the first OBR and OBX.
func leads(segments []hl7.Segment, name string) bool {
	for _, s := range segments {
		if s.Is(name) {
			return true
		}
		if s.Is("OBR") || s.Is("OBX") {
			return false
		}
	}
	return false
}

// keep makes a segment reachable by path in the part it stands in, or in those it stands above.
func (g *grouping) keep(s *hl7.Segment) {
	switch {
	case g.part != nil:
		g.part.segments = append(g.part.segments, *s)
	case g.specimen != nil || g.container != nil:
		g.above = append(g.above, *s)
	default:
		g.person = append(g.person, *s)
	}
}

func (g *grouping) newPatient(s *hl7.Segment) {
	g.part, g.common = nil, nil
	g.pid, g.patient, g.person, g.ordered = s, nil, nil, nil
	if g.used {
		g.dropSpecimen()
	}
	g.notes = &g.patient
}

func (g *grouping) dropSpecimen() {
	g.specimen, g.container, g.used = nil, nil, false
	g.material, g.above = nil, nil
}

func (g *grouping) newSpecimen(s *hl7.Segment) {
	if !g.specimenLeads && g.part != nil {
		if g.part.specimen == nil {
			g.part.specimen = s
		}
		g.notes = &g.part.notes
		g.keep(s)
		return
	}
	if g.specimen != nil && !g.used {
		g.m.unused = once(g.m.unused, "SPM")
	}
	g.part, g.common = nil, nil
	g.dropSpecimen()
	g.specimen = s
	g.notes = &g.material
	g.keep(s)
}

func (g *grouping) newContainer(s *hl7.Segment) {
	switch {
	case g.part != nil && !g.containerLeads:
		if g.part.container == nil {
			g.part.container = s
		}
	case g.specimen != nil && !g.used:
		if g.container == nil {
			g.container = s
		}
	default:
		// A container without SPM begins the next specimen (OUL^R21, cobas IT middleware).
		g.part, g.common = nil, nil
		g.dropSpecimen()
		g.container = s
		g.notes = &g.material
	}
	g.keep(s)
}

func (g *grouping) newCommon(s *hl7.Segment) {
	if !g.commonLeads && g.part != nil {
		if g.part.common == nil {
			g.part.common = s
		}
		g.keep(s)
		return
	}
	g.part = nil
	g.common, g.ordered = s, nil
	g.notes = &g.ordered
}

// open begins a part; order is nil for results without an OBR.
func (g *grouping) open(order *hl7.Segment) {
	p := &hl7Part{pid: g.pid, specimen: g.specimen, container: g.container, common: g.common, order: order}
	p.notes = slices.Concat(g.patient, g.material, g.ordered)
	p.inherited = len(p.notes)
	p.segments = slices.Concat(g.person, g.above)
	for _, s := range []*hl7.Segment{g.pid, g.common, order} {
		if s != nil {
			p.segments = append(p.segments, *s)
		}
	}
	g.common, g.ordered, g.used = nil, nil, true
	g.part = p
	g.notes = &p.notes
	g.m.parts = append(g.m.parts, p)
}

func (g *grouping) line(s *hl7.Segment) {
	if g.part == nil {
		g.open(nil)
	}
	line := &hl7Line{obx: *s}
	g.part.lines = append(g.part.lines, line)
	g.notes = &line.notes
	g.keep(s)
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
		var found []string
		for _, s := range segments {
			if !s.Is(at.record) {
				continue
			}
			for r := 1; r <= s.Repeats(at.field); r++ {
				switch {
				case at.sub > 0:
					found = append(found, m.decode(s.Sub(at.field, r, at.component, at.sub)))
				case at.component > 0:
					found = append(found, m.decode(s.Component(at.field, r, at.component)))
				default:
					found = append(found, joined(m.repeat(&s, at.field, r)))
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
		for r := 1; r <= nte.Repeats(3); r++ {
			if text := sent(m.decode(nte.Repeat(3, r))); text != "" {
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
	var f field
	for r := 1; r <= s.Repeats(n); r++ {
		f = append(f, m.repeat(s, n, r))
	}
	return f
}

func (m *hl7Message) repeat(s *hl7.Segment, n, r int) []string {
	var components []string
	for c := 1; c <= s.Components(n, r); c++ {
		components = append(components, m.decode(s.Component(n, r, c)))
	}
	return components
}

// text is the first component of field n.
func (m *hl7Message) text(s *hl7.Segment, n int) string { return m.field(s, n).part(1, 1) }

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
