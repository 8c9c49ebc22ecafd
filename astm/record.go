package astm

import (
	"bytes"
	"fmt"
)

// Message is the records of one message, H to L, as LIS02-A2 has them.
type Message struct {
	Delimiters Delimiters // as its H declares them
	Records    []Record   // all of them in order, also those of unknown types and those behind L
}

// Delimiters are the bytes that divide a record: LIS02-A2 5.4. Escape is 0 where the header declares none.
type Delimiters struct{ Field, Repeat, Component, Escape byte }

// Record is one record. Its fields are raw bytes, escapes included; LIS02-A2 decodes after dividing.
type Record struct {
	Text []byte // as received, without the CR

	ends       []uint32 // where each field ends in Text
	delimiters *Delimiters
}

// SyntaxError tells why a text is no message. It holds nothing of the text.
type SyntaxError struct {
	Record int    // number of the record at fault, from 1
	Reason string // what is wrong, in plain words
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("record %d: %s", e.Record, e.Reason)
}

// Parse reads the joined text of one message. Records end in CR, LF or both; empty ones are passed over. A missing L is no
// error: the text of a torn message is read as far as it goes. The message refers to text, which must not change.
// Delimiters are looked for byte by byte, so text in an encoding whose characters may hold such bytes (GB18030,
// Shift-JIS) is to be decoded first.
//
// The error is a *SyntaxError.
func Parse(text []byte) (*Message, error) {
	start := len(text) - len(bytes.TrimLeft(text, "\r\n"))
	text = text[start:]
	m := &Message{}
	if err := m.Delimiters.declare(text); err != nil {
		return nil, err
	}
	field := m.Delimiters.Field
	lines := 1 + bytes.Count(text, []byte{CR}) + bytes.Count(text, []byte{LF})
	m.Records = make([]Record, 0, lines)
	ends := make([]uint32, 0, lines+bytes.Count(text, []byte{field}))
	from, first := 0, 0
	for i, b := range text {
		switch b {
		case field:
			ends = append(ends, uint32(i-from))
		case CR, LF:
			if i > from {
				ends = append(ends, uint32(i-from))
				m.add(text[from:i:i], ends[first:len(ends):len(ends)])
				first = len(ends)
			}
			from = i + 1
		}
	}
	if from < len(text) {
		ends = append(ends, uint32(len(text)-from))
		m.add(text[from:], ends[first:])
	}
	for i, r := range m.Records[1:] {
		if r.Type() == 'H' {
			return nil, &SyntaxError{i + 2, "a second header"}
		}
	}
	return m, nil
}

func (m *Message) add(text []byte, ends []uint32) {
	m.Records = append(m.Records, Record{text, ends, &m.Delimiters})
}

// declare reads the delimiters from the header at the start of text: its bytes 2 to 5, LIS02-A2 5.4.
func (d *Delimiters) declare(text []byte) error {
	if n := lineEnd(text, true); n < len(text) {
		text = text[:n]
	}
	if len(text) == 0 || upper(text[0]) != 'H' {
		return &SyntaxError{1, "not a header"}
	}
	if len(text) < 4 {
		return &SyntaxError{1, "a header without delimiters"}
	}
	*d = Delimiters{Field: text[1], Repeat: text[2], Component: text[3]}
	// Some write H|\^| and mean that there is no escape.
	if len(text) > 4 && text[4] != d.Field {
		d.Escape = text[4]
	}
	used := []byte{d.Field, d.Repeat, d.Component, d.Escape}
	for i, b := range used {
		if alphanumeric(b) || b <= ' ' && (b != 0 || i < 3) || bytes.IndexByte(used[:i], b) >= 0 {
			return &SyntaxError{1, "delimiters that cannot be told apart"}
		}
	}
	return nil
}

// Type is the letter of the record in upper case, 0 when it is empty.
func (r Record) Type() byte {
	if len(r.Text) == 0 {
		return 0
	}
	return upper(r.Text[0])
}

// Fields is the number of fields, the type included.
func (r Record) Fields() int { return len(r.ends) }

// Field is the field at position n as LIS02-A2 counts: 1 is the type, and field 2 of H is the delimiters. It is nil when
// the record is shorter.
func (r Record) Field(n int) []byte {
	if n < 1 || n > len(r.ends) {
		return nil
	}
	from, to := uint32(0), r.ends[n-1]
	if n > 1 {
		from = r.ends[n-2] + 1
	}
	return r.Text[from:to:to]
}

// Repeats is the number of repetitions of a field, 0 when it is empty.
func (r Record) Repeats(n int) int {
	field := r.Field(n)
	if len(field) == 0 {
		return 0
	}
	if r.declares(n) {
		return 1
	}
	return 1 + bytes.Count(field, []byte{r.delimiters.Repeat})
}

// Repeat is one repetition of a field, counted from 1; nil when there are fewer.
func (r Record) Repeat(n, repeat int) []byte {
	if r.declares(n) {
		return nth(r.Field(n), repeat, r.delimiters.Field)
	}
	if field := r.Field(n); field != nil {
		return nth(field, repeat, r.delimiters.Repeat)
	}
	return nil
}

// Component is one component of a repetition of a field, counted from 1; nil when there are fewer.
func (r Record) Component(n, repeat, component int) []byte {
	text := r.Repeat(n, repeat)
	if text == nil || r.declares(n) {
		return nth(text, component, 0)
	}
	return nth(text, component, r.delimiters.Component)
}

// declares tells whether field n is the delimiters of a header, which divide nothing.
func (r Record) declares(n int) bool { return n == 2 && r.Type() == 'H' && len(r.ends) > 1 }

// nth is the part number n, from 1, of text divided by the delimiter; nil when there are fewer.
func nth(text []byte, n int, delimiter byte) []byte {
	for ; n > 0; n-- {
		end := bytes.IndexByte(text, delimiter)
		if n == 1 {
			if end < 0 {
				end = len(text)
			}
			return text[:end:end]
		}
		if end < 0 {
			break
		}
		text = text[end+1:]
	}
	return nil
}
