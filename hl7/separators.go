package hl7

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"labagent/charset"
)

// Separators are the delimiters a message declares in MSH-1 and MSH-2; zero stands for one it does not declare.
type Separators struct {
	Field, Component, Repeat, Escape, Sub byte
	Truncation                            byte // 2.7 and later
}

// Standard is what HL7 recommends and nearly everybody sends, HL7 2.5.1 2.5.4.
var Standard = Separators{Field: '|', Component: '^', Repeat: '~', Escape: '\\', Sub: '&'}

// readSeparators takes them from MSH-1 and MSH-2, which may be short; without any MSH-2 the standard's hold.
func readSeparators(field byte, encoding []byte) Separators {
	if len(encoding) == 0 {
		s := Standard
		s.Field = field
		return s
	}
	s := Separators{Field: field}
	for i, to := range []*byte{&s.Component, &s.Repeat, &s.Escape, &s.Sub, &s.Truncation} {
		if i < len(encoding) {
			*to = encoding[i]
		}
	}
	return s
}

// AppendEscaped appends text with the separators in it escaped, HL7 2.5.1 2.7.1. Without a declared escape character they
// become spaces.
func (s Separators) AppendEscaped(dst []byte, text string) []byte {
	for i := range len(text) {
		letter := s.letter(text[i])
		switch {
		case letter == 0:
			dst = append(dst, text[i])
		case s.Escape == 0:
			dst = append(dst, ' ')
		default:
			dst = append(dst, s.Escape, letter, s.Escape)
		}
	}
	return dst
}

// letter is the escape for separator b, 0 when b is none.
func (s Separators) letter(b byte) byte {
	switch b {
	case 0:
		return 0
	case s.Field:
		return 'F'
	case s.Component:
		return 'S'
	case s.Sub:
		return 'T'
	case s.Repeat:
		return 'R'
	case s.Escape:
		return 'E'
	}
	return 0
}

// separator is what escape letter stands for, 0 when it stands for none.
func (s Separators) separator(letter byte) byte {
	switch letter {
	case 'F':
		return s.Field
	case 'S':
		return s.Component
	case 'T':
		return s.Sub
	case 'R':
		return s.Repeat
	case 'E':
		return s.Escape
	case 'P':
		return s.Truncation
	}
	return 0
}

// Unescape resolves the escapes in raw, a field or a part of one, and leaves the bytes between them as they are; \Zhhhh\
// becomes UTF-8. It is raw itself where there is nothing to do. An escape that is unknown or has no end is kept as sent. To
// get text for people use Text, which also knows the character set.
func (m *Message) Unescape(raw []byte) []byte {
	out, _ := m.resolve(raw, raw, func(p []byte) ([]byte, bool) { return p, true })
	return out
}

// Text gives raw, a field or a part of one, as UTF-8 text: escapes resolved, and decoded by the message's character set.
// Certain is false when bytes did not fit that set and stand as Latin-1.
func (m *Message) Text(raw []byte) (text string, certain bool) {
	out, certain := m.resolve(raw, charset.Mask(m.Charset, raw), func(p []byte) ([]byte, bool) {
		return charset.Decode(m.Charset, p)
	})
	return string(out), certain
}

// resolve goes through raw from escape to escape; mask shows where one can be. Bytes given as \X..\ are decoded together
// with the bytes around them, since a character may be half one and half the other.
func (m *Message) resolve(raw, mask []byte, decode func([]byte) ([]byte, bool)) (out []byte, certain bool) {
	escape := m.Separators.Escape
	if escape == 0 || bytes.IndexByte(mask, escape) < 0 {
		return decode(raw)
	}
	certain = true
	var run []byte
	flush := func() {
		text, ok := decode(run)
		out, certain, run = append(out, text...), certain && ok, nil
	}
	for i := 0; i < len(raw); {
		if mask[i] != escape {
			run = append(run, raw[i])
			i++
			continue
		}
		length := bytes.IndexByte(mask[i+1:], escape)
		if length < 0 {
			run = append(run, raw[i:]...)
			break
		}
		body := raw[i+1 : i+1+length]
		literal, character, known := m.escape(body)
		switch {
		case !known:
			// A lone escape character, as in a Windows path: what follows may still begin a true escape.
			run = append(run, raw[i])
			i++
			continue
		case character != 0:
			flush()
			out = utf8.AppendRune(out, character)
		default:
			run = append(run, literal...)
		}
		i += length + 2
	}
	flush()
	return out, certain
}

// escape resolves the body of one escape to bytes of the message's character set or to a character, HL7 2.5.1 2.7.
func (m *Message) escape(body []byte) (literal []byte, character rune, known bool) {
	if len(body) == 0 {
		return nil, 0, false
	}
	if len(body) == 1 {
		if body[0] == 'H' || body[0] == 'N' { // highlighting begins and ends
			return nil, 0, true
		}
		b := m.Separators.separator(body[0])
		return []byte{b}, 0, b != 0
	}
	switch {
	case string(body) == ".br":
		return []byte{LF}, 0, true
	case body[0] == 'X':
		literal, err := hex.DecodeString(string(body[1:]))
		return literal, 0, err == nil
	case body[0] == 'Z': // ours by the standard; BioSystems BA200 puts a code point there: \Z03BC\g/L
		n, err := strconv.ParseUint(string(body[1:]), 16, 32)
		if err != nil || len(body) < 5 || n == 0 || !utf8.ValidRune(rune(n)) {
			return nil, 0, false
		}
		return nil, rune(n), true
	}
	return nil, 0, false
}
