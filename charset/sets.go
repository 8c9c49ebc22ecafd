package charset

import (
	"bytes"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// set is one character set.
type set struct {
	decode func(p []byte) (text []byte, certain bool)
	mask   func(p []byte) []byte // nil: a byte below 80 is always an ASCII character
	plain  bool                  // text of bytes below 80 only is ASCII
}

var (
	ascii     = set{decode: undeclared, plain: true}
	utf8Set   = set{decode: decodeUTF8, plain: true}
	gb18030   = hiding(simplifiedchinese.GB18030, sizeGB18030)
	gbk       = hiding(simplifiedchinese.GBK, sizeGBK)
	big5      = hiding(traditionalchinese.Big5, sizeBig5)
	shiftJIS  = hiding(japanese.ShiftJIS, sizeShiftJIS)
	eucKR     = hiding(korean.EUCKR, sizeEUCKR)
	eucJP     = open(japanese.EUCJP, sizeEUCJP)
	eucTW     = set{decode: decodeEUCTW, plain: true}
	iso2022JP = set{decode: decode2022, mask: mask2022}
)

// sets is the table of names, by key. The first block is HL7 table 0211 as HAPI has it (23 names).
var sets = map[string]set{
	"ASCII":        ascii,
	"88591":        single(charmap.ISO8859_1),
	"88592":        single(charmap.ISO8859_2),
	"88593":        single(charmap.ISO8859_3),
	"88594":        single(charmap.ISO8859_4),
	"88595":        single(charmap.ISO8859_5),
	"88596":        single(charmap.ISO8859_6),
	"88597":        single(charmap.ISO8859_7),
	"88598":        single(charmap.ISO8859_8),
	"88599":        single(charmap.ISO8859_9),
	"885915":       single(charmap.ISO8859_15),
	"ISOIR6":       ascii,
	"ISOIR14":      iso2022JP, // JIS X 0201; its katakana are the bytes A1 to DF
	"ISOIR87":      iso2022JP, // JIS X 0208, reached by the escapes of ISO 2022 (MSH-20)
	"ISOIR159":     iso2022JP, // JIS X 0212, likewise
	"GB180302000":  gb18030,
	"KSX1001":      eucKR,
	"CNS116431992": eucTW,
	"BIG5":         big5,
	"UNICODE":      utf8Set, // Mindray; HAPI reads it so too
	"UNICODEUTF8":  utf8Set,
	"UNICODEUTF16": wide(unicode.UTF16(unicode.BigEndian, unicode.UseBOM)), // cannot be carried by MLLP
	"UNICODEUTF32": wide(utf32.UTF32(utf32.BigEndian, utf32.UseBOM)),       // likewise

	// Names people write; key folds ISO-8859-1 to 88591 and windows-1252 to CP1252.
	"USASCII": ascii,
	"UTF8":    utf8Set,
	"UTF16":   wide(unicode.UTF16(unicode.BigEndian, unicode.UseBOM)),
	"UTF32":   wide(utf32.UTF32(utf32.BigEndian, utf32.UseBOM)),
	"LATIN1":  single(charmap.ISO8859_1), "ISOIR100": single(charmap.ISO8859_1),
	"LATIN2":   single(charmap.ISO8859_2),
	"LATIN3":   single(charmap.ISO8859_3),
	"LATIN4":   single(charmap.ISO8859_4),
	"CYRILLIC": single(charmap.ISO8859_5),
	"ARABIC":   single(charmap.ISO8859_6),
	"GREEK":    single(charmap.ISO8859_7),
	"HEBREW":   single(charmap.ISO8859_8),
	"LATIN5":   single(charmap.ISO8859_9),
	"LATIN9":   single(charmap.ISO8859_15),
	"CP1250":   single(charmap.Windows1250),
	"CP1251":   single(charmap.Windows1251),
	"CP1252":   single(charmap.Windows1252),
	"CP1253":   single(charmap.Windows1253),
	"CP1254":   single(charmap.Windows1254),
	"CP1257":   single(charmap.Windows1257),
	"CP437":    single(charmap.CodePage437),
	"CP850":    single(charmap.CodePage850),
	"CP852":    single(charmap.CodePage852),
	"CP866":    single(charmap.CodePage866),
	"KOI8R":    single(charmap.KOI8R),
	"GB18030":  gb18030,
	"GBK":      gbk, "CP936": gbk, "GB2312": gbk,
	"CP950":    big5,
	"SHIFTJIS": shiftJIS, "SJIS": shiftJIS, "CP932": shiftJIS, "CP31J": shiftJIS,
	"EUCJP":     eucJP,
	"ISO2022JP": iso2022JP,
	"EUCKR":     eucKR, "CP949": eucKR,
	"EUCTW": eucTW,
}

// single is a set of one byte a character.
func single(m *charmap.Charmap) set {
	return set{plain: true, decode: func(p []byte) ([]byte, bool) {
		text, certain := make([]byte, 0, len(p)+len(p)/4), true
		for _, b := range p {
			r := m.DecodeByte(b)
			if r == utf8.RuneError {
				r, certain = rune(b), false
			}
			text = utf8.AppendRune(text, r)
		}
		return text, certain
	}}
}

// open is a set of several bytes a character in which all of them are 80 or more.
func open(e encoding.Encoding, size func([]byte) int) set {
	return set{plain: true, decode: func(p []byte) ([]byte, bool) { return decodeSized(e, size, p) }}
}

// hiding is a set of several bytes a character in which the later ones may be below 80.
func hiding(e encoding.Encoding, size func([]byte) int) set {
	s := open(e, size)
	s.mask = func(p []byte) []byte {
		masked := bytes.Clone(p)
		for i := 0; i < len(p); {
			n := max(1, size(p[i:]))
			if n > 1 {
				cover(masked[i : i+n])
			}
			i += n
		}
		return masked
	}
	return s
}

// wide is a set of two or four bytes a character.
func wide(e encoding.Encoding) set {
	return set{decode: func(p []byte) ([]byte, bool) {
		if text, err := e.NewDecoder().Bytes(p); err == nil && !bytes.ContainsRune(text, utf8.RuneError) {
			return text, true
		}
		return latin1(nil, p), false
	}}
}

// undeclared reads bytes of which the sender said that there would be none.
func undeclared(p []byte) ([]byte, bool) {
	text, _ := decodeUTF8(p)
	return text, false
}

func decodeUTF8(p []byte) ([]byte, bool) {
	if utf8.Valid(p) {
		return p, true
	}
	text := make([]byte, 0, len(p)+len(p)/8)
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			r = rune(p[0])
		}
		text, p = utf8.AppendRune(text, r), p[n:]
	}
	return text, false
}

// latin1 appends each byte as the character of its number, the stand-in for what does not decode.
func latin1(text, p []byte) []byte {
	for _, b := range p {
		text = utf8.AppendRune(text, rune(b))
	}
	return text
}

func cover(p []byte) {
	for i := range p {
		p[i] = 0xFF
	}
}
