package astm

import "bytes"

// The marks of a piece; package lab has the same bytes.
const (
	open    = '?' // may a message begin?
	more    = '=' // a part of a message
	whole   = '.' // its last part
	broken  = '!' // the open message is torn off
	refused = 'x' // turned away and not offered again
)

type piece struct {
	text []byte
	mark byte
}

// cutter finds where messages begin and end in the texts of accepted frames. Analyzers cut records anywhere, "L|1" and
// "|N" in two frames included, and put many records, even many messages, into one frame; so it reads record by record and
// carries over what a frame leaves unfinished. It is a plain value: a frame that is refused leaves no trace.
type cutter struct {
	size   int  // bytes of the open message that were handed up
	begun  bool // a record of the open message was met
	closed bool // its L record is complete
	letter byte // type of the record being read; 0 at the start of a record
	read   bool // the byte after the letter was read too
	field  byte // the field delimiter; 0 until a header tells
}

// cut reads the text of a frame that ETX ends, or ETB. It appends the pieces it makes, which are parts of text where no CR
// had to be added, and names what was odd.
func (c *cutter) cut(pieces []piece, text []byte, etx bool) (_ []piece, words []string) {
	start := 0
	mixed := bytes.IndexByte(text, LF) >= 0
	for i := 0; i < len(text); {
		if c.letter == 0 {
			if text[i] == CR || text[i] == LF {
				i++
				continue
			}
			if mark := c.begins(text[i:]); mark != 0 {
				if mark == broken {
					words = append(words, "no-l")
				}
				pieces = append(pieces, piece{text[start:i:i], mark})
				start = i
				*c = cutter{}
			}
			c.begun = true
			c.letter = max(upper(text[i]), 1) // never 0
			i++
		}
		n := lineEnd(text[i:], mixed)
		if n > 0 {
			c.second(text[i])
		}
		if i += n; i < len(text) {
			c.recordDone()
			i++
		}
	}
	rest := text[start:len(text):len(text)]
	if etx && c.letter != 0 {
		// ETX ends the record, LIS01-A2 8.3.1, also where the analyzer leaves out its CR.
		c.recordDone()
		rest = append(rest, CR)
		words = append(words, "no-cr")
	}
	switch {
	case !c.begun || len(rest) == 0: // nothing but line ends: nothing to keep
	case c.closed && c.letter == 0:
		pieces = append(pieces, piece{rest, whole})
		*c = cutter{field: c.field}
	default:
		pieces = append(pieces, piece{rest, more})
		c.size += len(rest)
	}
	return pieces, words
}

// begins tells whether a header at the start of text begins another message while one is open, and how that one ends:
// whole, or broken when it had no L.
func (c *cutter) begins(text []byte) byte {
	switch {
	case !c.begun || upper(text[0]) != 'H':
		return 0
	case c.closed:
		return whole
	case len(text) > 1 && !alphanumeric(text[1]):
		return broken
	}
	return 0
}

// second reads the byte after a record's letter: in a header it is the field delimiter (LIS02-A2 5.4), and where another
// byte follows an L it is some other text, not the record that ends the message.
func (c *cutter) second(b byte) {
	if c.read {
		return
	}
	c.read = true
	switch c.letter {
	case 'H':
		c.field = b
	case 'L':
		if c.field != 0 && b != c.field || alphanumeric(b) {
			c.letter = '-'
		}
	}
}

func (c *cutter) recordDone() {
	if c.letter == 'L' {
		c.closed = true
	}
	c.letter, c.read = 0, false
}

// lineEnd is the index of the CR that ends the line at the start of p, or of the LF where p is mixed with those; or the
// length of p.
func lineEnd(p []byte, mixed bool) int {
	if mixed {
		for i, b := range p {
			if b == CR || b == LF {
				return i
			}
		}
		return len(p)
	}
	if n := bytes.IndexByte(p, CR); n >= 0 {
		return n
	}
	return len(p)
}

func upper(b byte) byte {
	if 'a' <= b && b <= 'z' {
		b -= 'a' - 'A'
	}
	return b
}

func alphanumeric(b byte) bool {
	return '0' <= b && b <= '9' || 'A' <= upper(b) && upper(b) <= 'Z'
}
