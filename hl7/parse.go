package hl7

import (
	"bytes"
	"fmt"

	"labagent/charset"
)

// SyntaxError says why a text is not a message. It holds nothing of the text.
type SyntaxError struct {
	Reason string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("not an HL7 message: %s", e.Reason) }

// Parse reads one message, the payload of an MLLP block, by the character set that MSH-18 names.
func Parse(text []byte) (*Message, error) { return ParseAs(text, "") }

// ParseAs reads one message by the character set called encoding, whatever MSH-18 says; with "" it is Parse.
//
// Segments end with CR, with LF or with both. A line that does not begin like a segment belongs to the field before it, its
// CR included: some senders let a line end slip into a comment. The text is kept and must not be changed afterwards.
func ParseAs(text []byte, encoding string) (*Message, error) {
	h, err := ReadHeader(text)
	if err != nil {
		return nil, err
	}
	m := &Message{Separators: h.Separators, Charset: encoding, text: text, mask: text}
	if encoding == "" {
		m.Charset = h.Charset()
	}
	if charset.Hides(m.Charset) {
		m.mask = charset.Mask(m.Charset, text)
	}
	m.index(h.start)
	return m, nil
}

// index finds the segments and fields in one pass.
func (m *Message) index(start int) {
	mask, separator := m.mask, m.Separators.Field
	starts := make([]int32, 0, min(len(mask)/5, 4096)+16)
	m.Segments = make([]Segment, 0, min(len(mask)/60, 512)+4)
	for i := start; i < len(mask); {
		s := Segment{message: m, first: int32(len(starts)), end: int32(len(mask))}
		s.header = bytes.HasPrefix(mask[i:], []byte{'M', 'S', 'H', separator})
		starts = append(starts, int32(i))
		next, passed := len(mask), 0 // a run of line ends is looked at once
		for j, b := range mask[i:] {
			if b == separator {
				starts = append(starts, int32(i+j+1))
			} else if (b == CR || b == LF) && i+j >= passed {
				after, ends := segmentEnd(mask, i+j, separator)
				if ends {
					s.end, next = int32(i+j), after
					break
				}
				passed = after
			}
		}
		s.count = int32(len(starts)) - s.first
		m.Segments = append(m.Segments, s)
		i = next
	}
	m.starts = starts
}

// segmentEnd tells whether the line end at i ends a segment, and where what follows begins.
func segmentEnd(text []byte, i int, separator byte) (after int, ends bool) {
	for i < len(text) && (text[i] == CR || text[i] == LF) {
		i++
	}
	return i, i == len(text) || beginsSegment(text[i:], separator)
}

// beginsSegment tells whether text begins with the name of a segment: a capital, two more or digits, and a separator or
// the end of the line. HL7 2.5.1 2.5.2.
func beginsSegment(text []byte, separator byte) bool {
	if len(text) < 3 || text[0] < 'A' || text[0] > 'Z' {
		return false
	}
	for _, b := range text[1:3] {
		if (b < 'A' || b > 'Z') && (b < '0' || b > '9') {
			return false
		}
	}
	return len(text) == 3 || text[3] == separator || text[3] == CR || text[3] == LF
}

// nextHeader finds the next MSH segment after the beginning of p, -1 when there is none. It looks for SH, because results are
// full of M.
func nextHeader(p []byte) int {
	for i := 0; ; {
		at := bytes.Index(p[i:], []byte("SH"))
		if at < 0 {
			return -1
		}
		i += at + 2
		start := i - 3
		if start > 0 && p[start] == 'M' && (p[start-1] == CR || p[start-1] == LF) && i < len(p) && delimiter(p[i]) {
			return start
		}
	}
}
