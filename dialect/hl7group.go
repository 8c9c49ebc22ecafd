package dialect

import (
	"bytes"
	"errors"
	"slices"

	"labagent/hl7"
	"labagent/lab"
)

// hl7Message is one message taken apart into what belongs together.
type hl7Message struct {
	*hl7.Message
	effort
	header  hl7.Segment
	parts   []*hl7Part
	queries []lab.Query
	told    map[*hl7.Segment]bool // comments that found their place
	unused  []string
}

// hl7Part is an order with its specimen and all that hangs on it.
type hl7Part struct {
	specimen, container, common, order *hl7.Segment // SPM, SAC, ORC, OBR; nil where there is none
	segments                           []hl7.Segment
	notes                              []*hl7.Segment
	inherited                          int // of the notes, those that stand above the order
	lines                              []*hl7Line
}

// hl7Line is an OBX and its NTE.
type hl7Line struct {
	obx   hl7.Segment
	notes []*hl7.Segment
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
	m := &hl7Message{Message: parsed, effort: effortFor(text), told: map[*hl7.Segment]bool{}}
	segments := parsed.Segments
	// Many senders leave out the last CR, so only who knows that the message was torn may distrust its end.
	if last := len(segments) - 1; s.Torn && last > 0 && !bytes.ContainsAny(text[len(text)-1:], "\r\n") {
		m.unused = once(m.unused, segments[last].Name())
		segments = segments[:last]
	}
	return m, m.group(segments)
}

// grouping is the walk over the segments of a message. SPM and SAC stand before the orders they are for (OUL^R22) or
// behind the results of one order (ORU^R01 of HL7 v2.5.1, GeneXpert); ORC stands before OBR in ORU and behind it in OUL.
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
	ahead               []hl7.Segment   // segments between ORC and its OBR, for paths
	message, patient    []*hl7.Segment  // comments on the message, under the patient
	material            []*hl7.Segment  // comments under the specimen
	ordered             []*hl7.Segment  // comments under ORC
	notes               *[]*hl7.Segment // where a comment goes
}

func (m *hl7Message) group(segments []hl7.Segment) error {
	g := grouping{m: m}
	g.specimenLeads, g.containerLeads, g.commonLeads = leads(segments, "SPM"), leads(segments, "SAC"), leads(segments, "ORC")
	g.notes = &g.message
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
			m.spend(len(m.unused))
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
	case g.common != nil:
		g.ahead = append(g.ahead, *s)
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
		g.part.specimen = g.m.naming(g.part.specimen, s, 2)
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

// naming is the first of two segments of a kind that names something in field n, or the first: the one whose id a lookup
// finds is the one the identity of the results is made with.
func (m *hl7Message) naming(first, second *hl7.Segment, n int) *hl7.Segment {
	names := func(s *hl7.Segment) bool {
		m.spend(len(s.Field(n)))
		return identifier(m.field(s, n).whole()) != ""
	}
	if first == nil || !names(first) && names(second) {
		return second
	}
	return first
}

func (g *grouping) newContainer(s *hl7.Segment) {
	switch {
	case g.part != nil && !g.containerLeads:
		g.part.container = g.m.naming(g.part.container, s, 3)
	case g.specimen != nil && !g.used:
		g.container = g.m.naming(g.container, s, 3)
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
	g.common, g.ahead, g.ordered = s, nil, nil
	g.notes = &g.ordered
}

// open begins a part; order is nil for results without an OBR.
func (g *grouping) open(order *hl7.Segment) {
	g.m.line()
	p := &hl7Part{specimen: g.specimen, container: g.container, common: g.common, order: order}
	above := len(g.person) + len(g.above) + len(g.ahead) + len(g.message) + len(g.patient) + len(g.material) + len(g.ordered)
	g.m.spend(32 * above) // about what each costs of memory
	p.notes = slices.Concat(g.message, g.patient, g.material, g.ordered)
	p.inherited = len(p.notes)
	p.segments = slices.Concat(g.person, g.above, g.ahead)
	for _, s := range []*hl7.Segment{g.pid, g.common, order} {
		if s != nil {
			p.segments = append(p.segments, *s)
		}
	}
	g.common, g.ahead, g.ordered, g.used = nil, nil, nil, true
	g.part = p
	g.notes = &p.notes
	g.m.parts = append(g.m.parts, p)
}

func (g *grouping) line(s *hl7.Segment) {
	if g.part == nil {
		g.open(nil)
	}
	g.m.line()
	line := &hl7Line{obx: *s}
	g.part.lines = append(g.part.lines, line)
	g.notes = &line.notes
	g.keep(s)
}
