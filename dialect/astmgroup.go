package dialect

import (
	"bytes"
	"strings"

	"labagent/astm"
	"labagent/charset"
)

// astmMessage is one LIS02-A2 message taken apart into what belongs together.
type astmMessage struct {
	effort
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

// astmOpen parses a message and groups its records by the levels of LIS02-A2.
func astmOpen(text []byte, s Setup) (*astmMessage, error) {
	m := &astmMessage{effort: effortFor(text), encoding: s.Encoding, told: map[*astm.Record]bool{}}
	if m.encoding == "" || m.encoding == "from-message" {
		m.encoding = "latin-1" // LIS02-A2 writes ISO 8859-1
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
		m.line()
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
			m.line()
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
		m.spend(len(records))
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
	repeats := [][]byte{r.Field(n)}
	if r.Repeats(n) > 1 {
		m.divisible(r.Field(n), m.delimiters.Repeat, m.delimiters.Component)
		repeats = split(r.Field(n), m.delimiters.Repeat)
	} else {
		m.divisible(r.Field(n), m.delimiters.Component, m.delimiters.Component)
	}
	f := make(field, len(repeats))
	for i, repeat := range repeats {
		for _, component := range split(repeat, m.delimiters.Component) {
			f[i] = append(f[i], m.decode(m.delimiters.Unescape(component)))
		}
	}
	return f
}

// text is the first component of field n.
func (m *astmMessage) text(r astm.Record, n int) string {
	return sent(m.decode(m.delimiters.Unescape(r.Component(n, 1, 1))))
}

func (m *astmMessage) decode(raw []byte) string {
	m.spend(1 + len(raw))
	text, _ := charset.Decode(m.encoding, raw)
	return strings.ToValidUTF8(string(text), "\uFFFD")
}
