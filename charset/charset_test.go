package charset

import (
	"bytes"
	"testing"
	"unicode/utf8"
)

// The 23 names of MSH-18 as HAPI's HL7Charsets lists them, with bytes made by other encoders than ours.
func TestNamesOfMSH18(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"ASCII", "10^9/L", "10^9/L"},
		{"8859/1", "M\xFCller 5 \xB5g", "Müller 5 µg"},
		{"8859/2", "Dvo\xF8\xE1k", "Dvořák"},
		{"8859/3", "\xA1al \xFEan\xB1e", "Ħal ŝanħe"},
		{"8859/4", "J\xE3nis B\xE7rzi\xF1\xB9", "Jãnis Bįrziņš"},
		{"8859/5", "\xB3\xDB\xEE\xDA\xDE\xD7\xD0", "Глюкоза"},
		{"8859/6", "\xE5\xCA\xC8\xD1", "متبر"},
		{"8859/7", "\xC1\xDF\xEC\xE1", "Αίμα"},
		{"8859/8", "\xE3\xED", "דם"},
		{"8859/9", "\xDE\xFDr\xFDn\xF0a", "Şırınğa"},
		{"8859/15", "5 \xA4 \xBD", "5 € œ"},
		{"ISO IR6", "WBC", "WBC"},
		{"ISO IR14", "\xD4\xCF\xC0\xDE \\T\\ A~B", "ﾔﾏﾀﾞ \\T\\ A~B"},
		{"ISO IR87", "\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "山田^太郎"},
		{"ISO IR159", "\x1b$(DRf\x1b(B|x", "簙|x"},
		{"GB 18030-2000", "\xD6\xD0\xCE\xC4\x95\x32\x82\x36\x81\x35\xF4\x37", "中文𠀀ḿ"},
		{"KS X 1001", "\xB0\xCB\xC3\xBC", "검체"},
		{"CNS 11643-1992", "\xC4\xE3\xC5\xC6 \x8E\xA2\xF1\xE6", "中文 鬮"},
		{"BIG-5", "\xA5\x5C\xAF\xE0\xAA\xED\xB3\x5C", "功能表許"},
		{"UNICODE", "g\xC2\xB5l \xE4\xB8\xAD", "gµl 中"},
		{"UNICODE UTF-8", "cobas\xC2\xAE pro", "cobas® pro"},
		{"UNICODE UTF-16", "\xFE\xFF\x00W\x4E\x2D", "W中"},
		{"UNICODE UTF-32", "\x00\x00\x00W\x00\x02\x00\x00", "W𠀀"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !Known(c.name) {
				t.Fatal("not known")
			}
			text, certain := Decode(c.name, []byte(c.raw))
			if string(text) != c.want || !certain {
				t.Errorf("got %q (certain %v), want %q", text, certain, c.want)
			}
		})
	}
}

func TestNamesOfConfig(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"latin-1", "\xB5", "µ"}, {"ISO-8859-1", "\xB5", "µ"}, {"iso_8859-15", "\xA4", "€"}, {"latin-9", "\xA4", "€"},
		{"cp1252", "\x80\x96", "€–"}, {"Windows-1252", "\x80", "€"}, {"windows-1251", "\xC3\xEB", "Гл"}, {"koi8-r", "\xE7", "Г"},
		{"cp850", "\xE6g", "µg"}, {"cp437", "\xE6g", "µg"}, {"cp866", "\x83", "Г"}, {"utf-8", "µ", "µ"},
		{"gb18030", "\xD6\xD0", "中"}, {"gbk", "\x80\xD6\xD0", "€中"}, {"gb2312", "\xD6\xD0", "中"}, {"big5", "\xA4\xA4", "中"},
		{"shift-jis", "\x83\x5C\x94\x5C\xD4", "ソ能ﾔ"}, {"Shift_JIS", "\x83\x5C", "ソ"}, {"cp932", "\x81\x7C", "－"}, {"windows-31j", "\x83\x5C", "ソ"},
		{"euc-jp", "\xA5\xBD\x8E\xD4\x8F\xD2\xE6", "ソﾔ簙"}, {"iso-2022-jp", "\x1b$B%=\x1b(I5\x1b(B", "ソｵ"},
		{"euc-kr", "\xB0\xCB", "검"}, {"euc-tw", "\xC4\xE3", "中"}, {"us-ascii", "a", "a"},
	} {
		text, certain := Decode(c.name, []byte(c.raw))
		if string(text) != c.want || !certain || !Known(c.name) {
			t.Errorf("%s: got %q (certain %v, known %v), want %q", c.name, text, certain, Known(c.name), c.want)
		}
	}
	for _, name := range []string{"", "from-message", "EBCDIC"} {
		if Known(name) {
			t.Errorf("%q is known", name)
		}
	}
}

// Nothing that does not decode is lost or becomes U+FFFD: it stands as Latin-1, and the text is not certain.
func TestWrongDeclaration(t *testing.T) {
	for _, c := range []struct{ title, name, raw, want string }{
		{"latin-1 declared as UTF-8", "UNICODE UTF-8", "M\xFCller \xB5g", "Müller µg"},
		{"a character cut off in UTF-8", "UNICODE", "g\xC2\xB5l \xE4\xB8", "gµl ä¸"},
		{"bytes above ASCII that are UTF-8", "ASCII", "g\xC2\xB5l", "gµl"},
		{"bytes above ASCII that are not", "ISO IR6", "\xB5l", "µl"},
		{"no declaration", "", "\xB5l", "µl"},
		{"an unknown name", "EBCDIC", "\xB5l", "µl"},
		{"no such byte in the set", "8859/8", "\xBF\xE3", "¿ד"},
		{"a lone lead byte", "GB 18030-2000", "\xD6\xD0\xFF|\xD6", "中ÿ|Ö"},
		{"a pair without a character", "BIG-5", "\xA4\xA4\x81\x40", "中\u0081@"},
		{"an odd half of two", "ISO IR87", "\x1b$B;3E\x1b(B|", "山E|"},
		{"an unknown escape", "ISO IR87", "\x1b$Zx", "\x1b$Zx"},
		{"a lead byte and a digit", "shift-jis", "\x83\x30", "\u00830"},
		{"a plane beyond Big5", "CNS 11643-1992", "\x8E\xAF\xA1\xA1", "\u008e¯¡¡"},
		{"an odd number of bytes", "UNICODE UTF-16", "\x00Wx", "\x00Wx"},
	} {
		t.Run(c.title, func(t *testing.T) {
			text, certain := Decode(c.name, []byte(c.raw))
			if string(text) != c.want || certain {
				t.Errorf("got %q (certain %v), want %q, not certain", text, certain, c.want)
			}
		})
	}
}

func TestMaskCoversTrailBytes(t *testing.T) {
	for _, c := range []struct{ title, name, raw, want string }{
		{"GB18030", "GB 18030-2000", "a|\xE3\x7C\xC8\x7E^\x95\x32\x82\x36|", "a|\xFF\xFF\xFF\xFF^\xFF\xFF\xFF\xFF|"},
		{"Big5", "BIG-5", "\xA5\x5C|\xB3\x7C", "\xFF\xFF|\xFF\xFF"},
		{"Shift_JIS", "shift-jis", "\x83\x5C^\x81\x7C|\x90\x5C\xB5|", "\xFF\xFF^\xFF\xFF|\xFF\xFF\xB5|"},
		{"ISO-2022-JP", "ISO IR87", "|\x1b$B=|=^\x1b(B|=", "|\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF|="},
		{"a segment ends in kanji", "ISO IR87", "\x1b$B=|\rPID|", "\xFF\xFF\xFF\xFF\xFF\rPID|"},
		{"a lone lead byte hides nothing it cannot", "GB 18030-2000", "\xD6\r|", "\xD6\r|"},
		{"UTF-8 hides nothing", "UNICODE", "\xC2\xB5|", "\xC2\xB5|"},
		{"EUC-KR has letters at most", "KS X 1001", "\x81\x41|", "\xFF\xFF|"},
	} {
		t.Run(c.title, func(t *testing.T) {
			if got := Mask(c.name, []byte(c.raw)); string(got) != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	plain := []byte("OBX|1|NM")
	if got := Mask("gb18030", plain); &got[0] != &plain[0] {
		t.Error("plain text was copied")
	}
}

// The places where CNS 11643 leaves the order of Big5; bytes by another encoder.
func TestEUCTWOutOfOrder(t *testing.T) {
	for raw, want := range map[string]string{
		"\xEB\xD0": "銬", "\xF5\xB5": "薦", "\xF8\xAD": "嚨", "\xF8\xE4": "繳", "\xF8\xE5": "羅", "\xC4\xA1": "一", "\xFD\xCB": "籲",
		"\x8E\xA2\xBE\xE3": "筇", "\x8E\xA2\xBF\xEA": "莚", "\x8E\xA2\xD5\xCB": "錥", "\x8E\xA2\xD7\xA2": "徻", "\x8E\xA2\xDA\xA8": "螤",
		"\x8E\xA2\xDD\xF4": "磿", "\x8E\xA2\xE4\xAF": "鎀", "\x8E\xA2\xE6\xCD": "舋", "\x8E\xA2\xE7\xE1": "鎥", "\x8E\xA2\xE9\xB4": "瀪",
		"\x8E\xA2\xEA\xCB": "鐼", "\x8E\xA2\xF2\xB4": "鸙", "\x8E\xA2\xF2\xC0": "爩",
	} {
		if text, certain := Decode("euc-tw", []byte(raw)); string(text) != want || !certain {
			t.Errorf("% X: got %q (certain %v), want %q", raw, text, certain, want)
		}
	}
}

func TestHides(t *testing.T) {
	for name, want := range map[string]bool{"GB 18030-2000": true, "~": false, "": false, "UNICODE UTF-8": false, "ISO IR87": true, "sjis": true} {
		if got := Hides(name); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

// Whatever the bytes, the text is valid UTF-8, pure ASCII stays what it is, and the mask shows just the ASCII characters.
func FuzzDecode(f *testing.F) {
	for name := range sets {
		f.Add(name, []byte("a|\xE3\x7C\x1b$B=|\x1b(B\x8E\xA2\xF1\xE6\xFF"))
	}
	f.Fuzz(func(t *testing.T, name string, p []byte) {
		before := bytes.Clone(p)
		text, _ := Decode(name, p)
		if !utf8.Valid(text) {
			t.Errorf("%q is not UTF-8", text)
		}
		mask := Mask(name, p)
		if len(mask) != len(p) {
			t.Errorf("mask of %d bytes for %d", len(mask), len(p))
		}
		for i, b := range mask {
			if b != p[i] && b != 0xFF {
				t.Errorf("mask byte %d is %02X", i, b)
			}
		}
		if !bytes.Equal(p, before) {
			t.Error("the bytes were changed")
		}
		if Hides(name) {
			// A piece cut at an ASCII byte of the mask decodes to what it was within the whole.
			for i, b := range mask {
				if b == '|' {
					left, _ := Decode(name, p[:i])
					right, _ := Decode(name, p[i:])
					if whole := string(left) + string(right); whole != string(text) {
						t.Errorf("cut at %d: %q, whole %q", i, whole, text)
					}
					break
				}
			}
		}
	})
}
