// Package charset turns the bytes of analyzers into UTF-8 text, by the names of MSH-18 (HL7 table 0211) and by the names
// people write into a config (latin-1, cp1252, shift-jis).
//
// It never fails and never drops a byte: what does not decode stands as its Latin-1 character, and the text is then said to
// be uncertain. Bytes as received are kept elsewhere; nothing here has to be turned back.
//
// It also knows where characters lie. In GB18030, Big5, Shift_JIS and ISO-2022-JP the second byte of a character may be
// 5C, 5E, 7C or 7E, which HL7 and ASTM use as delimiters; Mask covers such bytes so that a message can be cut as it came.
//
// Left out: encoding to anything but UTF-8, and planes of CNS 11643 above the second.
package charset

import (
	"strings"
	"unicode/utf8"
)

// Decode gives the text of p, written in the set called name, as UTF-8. It is p itself where nothing had to change. Certain
// is false when a byte did not decode, or when the name is unknown or plain ASCII and p holds more than ASCII: such bytes
// are read as UTF-8 where they are valid UTF-8, else as Latin-1.
func Decode(name string, p []byte) (text []byte, certain bool) {
	s, known := sets[key(name)]
	if !known {
		s = ascii
	}
	if s.plain && isASCII(p) {
		return p, true
	}
	return s.decode(p)
}

// Known tells whether name is a character set that Decode can read.
func Known(name string) bool {
	_, known := sets[key(name)]
	return known
}

// Mask gives a copy of p, of the same length, in which every byte that belongs to a longer character or to an escape
// sequence is FF, so that what is left below 80 is ASCII and may be looked at as a delimiter. It is p itself when the set
// called name has no such bytes, or p has none.
func Mask(name string, p []byte) []byte {
	s, known := sets[key(name)]
	if !known || s.mask == nil || s.plain && isASCII(p) {
		return p
	}
	return s.mask(p)
}

// Hides tells whether the set called name has characters that hide bytes below 80, so that text in it must be masked before
// it is cut.
func Hides(name string) bool {
	s, known := sets[key(name)]
	return known && s.mask != nil
}

// key folds the ways of writing one name: case, spaces, punctuation, and the prefixes ISO-8859 and windows.
func key(name string) string {
	folded := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return -1
	}, name)
	if rest, is := strings.CutPrefix(folded, "WINDOWS"); is {
		return "CP" + rest
	}
	if strings.HasPrefix(folded, "ISO8859") {
		return folded[len("ISO"):]
	}
	return folded
}

func isASCII(p []byte) bool {
	for _, b := range p {
		if b >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
