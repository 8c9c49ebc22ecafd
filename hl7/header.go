package hl7

import (
	"bytes"

	"labagent/charset"
)

// headerFields is how many fields of MSH a Header keeps; the last one it needs is MSH-21.
const headerFields = 25

// Header is what an answer to a message must know: its MSH segment.
type Header struct {
	Separators Separators
	text       []byte                  // the payload
	start      int                     // of MSH in text
	starts     [headerFields + 1]int32 // of each field in text, and one past the end of the last
	count      int                     // of fields kept, the name and MSH-2 being the first two
	more       bool                    // what ended the last field kept was sent too
}

// ReadHeader finds the MSH segment a payload begins with. Line ends, blanks and a byte order mark before it are passed over.
func ReadHeader(payload []byte) (Header, error) {
	start := leading(payload)
	h := Header{text: payload, start: start}
	p := payload[start:]
	switch {
	case !bytes.HasPrefix(p, []byte("MSH")):
		return Header{}, &SyntaxError{Reason: "it does not begin with MSH"}
	case len(p) < 4 || !delimiter(p[3]):
		return Header{}, &SyntaxError{Reason: "MSH-1 is no delimiter"}
	}
	end := headerEnd(payload, start, p[3])
	h.split(payload, end, p[3])
	encoding := h.Field(2)
	for _, b := range encoding {
		if !delimiter(b) && b != ' ' {
			return Header{}, &SyntaxError{Reason: "MSH-2 holds what is no delimiter"}
		}
	}
	h.Separators = readSeparators(p[3], encoding)
	// A name in kanji may hide separators and so move every field behind it, MSH-10 and MSH-18 too. The set's own name
	// is found wherever it has come to stand.
	for n := 17; n <= h.count; n++ {
		if name := mainCharset(h.Field(n), h.Separators); charset.Hides(name) {
			h.split(charset.Mask(name, payload[:end]), end, p[3])
			break
		}
	}
	return h, nil
}

// headerEnd finds the end of the segment that begins at start.
func headerEnd(payload []byte, start int, separator byte) int {
	for i := start; i < len(payload); i++ {
		if payload[i] == CR || payload[i] == LF {
			after, ends := segmentEnd(payload, i, separator)
			if ends {
				return i
			}
			i = after - 1 // a run of line ends is looked at once
		}
	}
	return len(payload)
}

// split finds the fields of MSH in mask, which shows the payload up to end.
func (h *Header) split(mask []byte, end int, separator byte) {
	h.starts[0], h.count, h.more = int32(h.start), 1, end < len(h.text)
	i := h.start
	for ; i < end; i++ {
		if mask[i] != separator {
			continue
		}
		if h.count == headerFields {
			h.more = true
			break
		}
		h.starts[h.count] = int32(i + 1)
		h.count++
	}
	h.starts[h.count] = int32(i + 1)
}

// Field gives field n of MSH as sent, nil when it is not there. Fields behind the 25th are not kept.
func (h Header) Field(n int) []byte {
	if n == 1 && h.count > 1 {
		return h.text[h.starts[1]-1 : h.starts[1]]
	}
	if n < 1 || n > h.count {
		return nil
	}
	return h.text[h.starts[n-1] : h.starts[n]-1]
}

// kept is the header with its own copy of MSH, so that it outlives the payload.
func (h Header) kept() *Header {
	h.text = bytes.Clone(h.text[:h.starts[h.count]-1])
	return &h
}

// Type is the first component of MSH-9, "ORU".
func (h Header) Type() []byte {
	kind, _, _ := h.first(h.Field(9))
	return kind
}

// isAck tells whether the message is an acknowledgement, which is never acknowledged; MCF is the delayed one of 2.1.
func (h Header) isAck() bool {
	kind := string(h.Type())
	return kind == "ACK" || kind == "MCF"
}

// Charset is the name of the character set the message is read by, out of MSH-18. Where it names Japanese sets beside
// ASCII ("~ISO IR87", "ASCII~ISO IR87~ISO IR159"), one of these: they are read alike, by the escapes of ISO 2022.
func (h Header) Charset() string { return mainCharset(h.Field(18), h.Separators) }

func mainCharset(field []byte, s Separators) string {
	main, rest, several := bytes.Cut(field, []byte{s.Repeat})
	for several {
		var name []byte
		name, rest, several = bytes.Cut(rest, []byte{s.Repeat})
		if bytes.HasPrefix(name, []byte("ISO")) && charset.Hides(string(name)) {
			main = name
		}
	}
	main, _, _ = bytes.Cut(main, []byte{s.Component})
	return string(main)
}

// first is the first repetition of a field of MSH, its first component, and what components follow.
func (h Header) first(field []byte) (component, rest []byte, more bool) {
	if s := h.Separators.Repeat; s != 0 {
		field, _, _ = bytes.Cut(field, []byte{s})
	}
	if h.Separators.Component == 0 {
		return field, nil, false
	}
	return bytes.Cut(field, []byte{h.Separators.Component})
}

// leading is the length of what may stand before the first segment and means nothing.
func leading(payload []byte) int {
	rest := bytes.TrimPrefix(payload, []byte("\xEF\xBB\xBF"))
	return len(payload) - len(bytes.TrimLeft(rest, "\r\n\t \x00"))
}

// delimiter tells whether b can separate anything: punctuation, in short.
func delimiter(b byte) bool {
	switch {
	case b <= ' ', b >= 0x7F, '0' <= b && b <= '9', 'A' <= b && b <= 'Z', 'a' <= b && b <= 'z':
		return false
	}
	return true
}
