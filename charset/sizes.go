package charset

import (
	"bytes"
	"unicode/utf8"

	"golang.org/x/text/encoding"
)

// The functions below give the length of the character that p, never empty, begins with; 0 when it begins with none, as
// when a character was cut off at the end of a field. The decoders of x/text are asked only about whole characters, so that
// decoding and masking cannot come to different ends.

func sizeGB18030(p []byte) int {
	if len(p) >= 4 && within(p[0], 0x81, 0xFE) && within(p[1], '0', '9') && within(p[2], 0x81, 0xFE) && within(p[3], '0', '9') {
		return 4
	}
	return sizeGBK(p)
}

func sizeGBK(p []byte) int {
	switch {
	case p[0] <= 0x80: // 80 is the euro sign of code page 936
		return 1
	case p[0] < 0xFF && len(p) > 1 && within(p[1], 0x40, 0xFE) && p[1] != 0x7F:
		return 2
	}
	return 0
}

func sizeBig5(p []byte) int {
	switch {
	case p[0] < utf8.RuneSelf:
		return 1
	case within(p[0], 0x81, 0xFE) && len(p) > 1 && (within(p[1], 0x40, 0x7E) || within(p[1], 0xA1, 0xFE)):
		return 2
	}
	return 0
}

func sizeShiftJIS(p []byte) int {
	switch {
	case p[0] < utf8.RuneSelf, within(p[0], 0xA1, 0xDF): // katakana of half width
		return 1
	case (within(p[0], 0x81, 0x9F) || within(p[0], 0xE0, 0xFC)) && len(p) > 1 && within(p[1], 0x40, 0xFC) && p[1] != 0x7F:
		return 2
	}
	return 0
}

func sizeEUCKR(p []byte) int {
	switch {
	case p[0] < utf8.RuneSelf:
		return 1
	case within(p[0], 0x81, 0xFE) && len(p) > 1 && (within(p[1], 'A', 'Z') || within(p[1], 'a', 'z') || within(p[1], 0x81, 0xFE)):
		return 2
	}
	return 0
}

func sizeEUCJP(p []byte) int {
	switch {
	case p[0] < utf8.RuneSelf:
		return 1
	case p[0] == 0x8E && len(p) > 1 && within(p[1], 0xA1, 0xDF), pair94(p):
		return 2
	case p[0] == 0x8F && pair94(p[1:]):
		return 3
	}
	return 0
}

func sizeEUCTW(p []byte) int {
	switch {
	case p[0] < utf8.RuneSelf:
		return 1
	case pair94(p):
		return 2
	case p[0] == 0x8E && len(p) > 1 && within(p[1], 0xA1, 0xB0) && pair94(p[2:]):
		return 4
	}
	return 0
}

// pair94 tells whether p begins with a character of a set of 94 by 94.
func pair94(p []byte) bool {
	return len(p) > 1 && within(p[0], 0xA1, 0xFE) && within(p[1], 0xA1, 0xFE)
}

func within(b, low, high byte) bool { return low <= b && b <= high }

// decodeSized decodes p at once when it is whole characters only, else character by character with Latin-1 for the rest.
func decodeSized(e encoding.Encoding, size func([]byte) int, p []byte) ([]byte, bool) {
	if whole(size, p) {
		if text, err := e.NewDecoder().Bytes(p); err == nil && !bytes.ContainsRune(text, utf8.RuneError) {
			return text, true
		}
	}
	decoder := e.NewDecoder()
	return eachCharacter(size, p, func(c []byte) []byte {
		text, err := decoder.Bytes(c)
		if err != nil {
			return nil
		}
		return text
	})
}

func whole(size func([]byte) int, p []byte) bool {
	for len(p) > 0 {
		n := size(p)
		if n == 0 {
			return false
		}
		p = p[n:]
	}
	return true
}

// eachCharacter decodes p by a function for one character, which gives nothing or U+FFFD for one it does not know.
func eachCharacter(size func([]byte) int, p []byte, decode func(c []byte) []byte) (text []byte, certain bool) {
	certain = true
	for len(p) > 0 {
		n := size(p)
		c := p[:max(1, n)]
		p = p[len(c):]
		if n == 1 && c[0] < utf8.RuneSelf {
			text = append(text, c[0])
			continue
		}
		var t []byte
		if n > 0 {
			t = decode(c)
		}
		if len(t) == 0 || bytes.ContainsRune(t, utf8.RuneError) {
			text, certain = latin1(text, c), false
			continue
		}
		text = append(text, t...)
	}
	return text, certain
}
