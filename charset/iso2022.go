package charset

import (
	"bytes"

	"golang.org/x/text/encoding/japanese"
)

// The kinds of what stands in a text by ISO 2022.
const (
	kindASCII = iota
	kindKatakana
	kindJIS0208
	kindJIS0212
	kindEscape // an escape sequence, which stands for no character
	kindJunk
)

// escapes names the sequences of ISO-2022-JP and what follows each. JIS X 0201 Roman counts as ASCII: its yen sign and
// overline stand where HL7 has its escape character and its repetition separator. What is put into G1 is always the
// katakana of JIS X 0201, bytes A1 to DF.
var escapes = []struct {
	sequence string
	then     int
}{
	{"\x1b(B", kindASCII}, {"\x1b(J", kindASCII}, {"\x1b(I", kindKatakana},
	{"\x1b$B", kindJIS0208}, {"\x1b$@", kindJIS0208}, {"\x1b$(B", kindJIS0208}, {"\x1b$(@", kindJIS0208},
	{"\x1b$(D", kindJIS0212},
}

// next2022 gives the length and the kind of what p, never empty, begins with while state is in force, and the state after
// it. The end of a segment brings ASCII back even when the sender forgot to.
func next2022(state int, p []byte) (n, kind, then int) {
	b := p[0]
	switch {
	case b == 0x1B:
		for _, e := range escapes {
			if bytes.HasPrefix(p, []byte(e.sequence)) {
				return len(e.sequence), kindEscape, e.then
			}
		}
		for _, g1 := range []string{"\x1b)I", "\x1b)J", "\x1b)B", "\x1b&@"} {
			if bytes.HasPrefix(p, []byte(g1)) {
				return len(g1), kindEscape, state
			}
		}
		return 1, kindJunk, state
	case b == '\r' || b == '\n':
		return 1, kindASCII, kindASCII
	case within(b, 0xA1, 0xDF):
		return 1, kindKatakana, state
	case b >= 0x80:
		return 1, kindJunk, state
	case state == kindASCII || b <= ' ' || b == 0x7F:
		return 1, kindASCII, state
	case state == kindKatakana && b < 0x60:
		return 1, kindKatakana, state
	case state != kindKatakana && len(p) > 1 && within(p[1], 0x21, 0x7E):
		return 2, state, state
	}
	return 1, kindJunk, state
}

// decode2022 rewrites p as EUC-JP, which holds the same sets without escapes, and decodes that.
func decode2022(p []byte) (text []byte, certain bool) {
	if isASCII(p) && bytes.IndexByte(p, 0x1B) < 0 {
		return p, true
	}
	certain = true
	var euc []byte
	flush := func() {
		t, ok := decodeSized(japanese.EUCJP, sizeEUCJP, euc)
		text, certain, euc = append(text, t...), certain && ok, euc[:0]
	}
	for state, i := kindASCII, 0; i < len(p); {
		n, kind, then := next2022(state, p[i:])
		switch kind {
		case kindASCII:
			euc = append(euc, p[i])
		case kindKatakana:
			euc = append(euc, 0x8E, p[i]|0x80)
		case kindJIS0208:
			euc = append(euc, p[i]|0x80, p[i+1]|0x80)
		case kindJIS0212:
			euc = append(euc, 0x8F, p[i]|0x80, p[i+1]|0x80)
		case kindJunk:
			flush()
			text, certain = latin1(text, p[i:i+n]), false
		}
		state, i = then, i+n
	}
	flush()
	return text, certain
}

func mask2022(p []byte) []byte {
	if bytes.IndexByte(p, 0x1B) < 0 {
		return p
	}
	masked := bytes.Clone(p)
	for state, i := kindASCII, 0; i < len(p); {
		n, kind, then := next2022(state, p[i:])
		if kind != kindASCII {
			cover(masked[i : i+n])
		}
		state, i = then, i+n
	}
	return masked
}
