package astm

import (
	"bytes"
	"encoding/binary"
	"time"
)

// read goes through p until a verdict is needed and tells how far it came. Here and below, due is when the receive timer
// ends that starts now.
func (l *Link) read(due time.Time, p []byte) int {
	i := 0
	for i < len(p) && l.awaits == 0 {
		switch l.phase {
		case outside:
			l.between(due, p[i])
			i++
		case inside:
			i += l.within(due, p[i:])
		default:
			if l.check(due, p[i]) {
				i++
			}
		}
	}
	return i
}

// between looks at a byte outside a frame.
func (l *Link) between(due time.Time, b byte) {
	switch b {
	case STX:
		l.begin(due)
	case ENQ:
		l.enquire()
	case EOT:
		l.hangUp()
	case CR, LF: // the tail of a frame, whole, half or doubled; annex A ignores what follows the sum
		return
	default:
		if !l.noise {
			l.remark("noise")
		}
		l.noise = true
		return
	}
	l.noise = false
}

func (l *Link) begin(due time.Time) {
	l.phase = inside
	if l.frame == nil {
		l.frame = make([]byte, 0, usualFrame)
	}
	l.frame, l.sum, l.over = l.frame[:0], 0, false
	l.due = due
}

// within reads on in a frame, up to the control character that ends it, and tells how far it came.
func (l *Link) within(due time.Time, p []byte) int {
	n, sum := scan(p)
	l.sum += sum
	room := max(0, l.options.MaxFrame-overhead+1-len(l.frame))
	l.over = l.over || n > room
	if n > 0 && room > 0 {
		l.frame = append(l.frame, p[:min(n, room)]...)
		// A frame of 64,000 bytes takes 67 s at 9600 baud: while a frame comes the timer watches for silence only.
		l.due = due
	}
	if n == len(p) {
		return n
	}
	// LIS01-A2 8.6 keeps these characters out of texts, so each means what it says even here.
	switch b := p[n]; b {
	case ETX, ETB:
		l.sum += b
		l.end, l.phase = b, digit1
		l.due = due
	case STX:
		l.torn()
		l.begin(due)
	case ENQ:
		l.torn()
		l.enquire()
	case EOT:
		l.torn()
		l.hangUp()
	}
	return n + 1
}

// check takes a digit of the sum; after the second the frame is there, whatever its tail. A byte that is no digit may
// begin something else: it is not taken.
func (l *Link) check(due time.Time, b byte) bool {
	l.due = due
	switch {
	case !hexadecimal(b):
		l.phase = outside
		l.refuse(due, "checksum")
		return false
	case l.phase == digit1:
		l.high, l.phase = b, digit2
	default:
		l.phase = outside
		l.judge(due, l.high, b)
	}
	return true
}

// judge decides on a frame with the sum as sent: LIS01-A2 8.3.2 to 8.3.4 and 8.5.1.
func (l *Link) judge(due time.Time, high, low byte) {
	if l.over {
		l.refuse(due, "frame-size")
		return
	}
	if nibble(high)<<4|nibble(low) != l.sum {
		l.refuse(due, "checksum")
		return
	}
	if high >= 'a' || low >= 'a' {
		l.remark("lower-case")
	}
	if len(l.frame) == 0 || l.frame[0] < '0' || l.frame[0] >= '0'+modulus {
		l.refuse(due, "frame-number")
		return
	}
	number := int(l.frame[0] - '0')
	switch {
	case !l.session && !header(l.frame[1:]):
		// Its beginning is not with us: a sender refused to the end gives up and sends all of it again.
		l.refuse(due, "no-header")
		return
	case !l.session:
		l.remark("no-enq")
	case number == l.number && l.end == l.lastEnd && bytes.Equal(l.frame, l.last):
		l.repeated(due)
		return
	case number == l.number:
		l.remark("same-number")
	case number != (max(l.number, 0)+1)%modulus:
		l.refuse(due, "frame-number")
		return
	}
	l.offer(due)
}

// offer hands the text of a good new frame up for a verdict.
func (l *Link) offer(due time.Time) {
	text := l.frame[1:]
	if l.cutter.size+len(text) > l.options.MaxMessage {
		l.refuse(due, "message-size")
		return
	}
	l.next = l.cutter
	before := len(l.pieces)
	var words []string
	l.pieces, words = l.next.cut(l.pieces, text, l.end == ETX)
	l.remark(words...)
	if len(l.pieces) == before {
		l.remark("empty")
		l.accept(due)
		return
	}
	l.awaits = more
}

// accept counts the frame and answers ACK.
func (l *Link) accept(due time.Time) {
	l.session = true
	l.number = int(l.frame[0] - '0')
	l.last, l.frame = l.frame, nil // its text is the caller's now
	l.lastEnd = l.end
	l.cutter = l.next
	l.refusal = l.refusal[:0]
	l.answer(due, ACK)
}

// repeated answers the last frame sent again: our ACK was lost, LIS01-A2 8.5.1.
func (l *Link) repeated(due time.Time) {
	l.remark("repeat")
	if len(l.refusal) > 0 && l.refusal[0] == l.frame[0] {
		l.refusal = l.refusal[:0]
	}
	l.answer(due, ACK)
}

// refuse answers NAK and keeps the frame to be shown, should it never come right.
func (l *Link) refuse(due time.Time, words ...string) {
	l.remark(words...)
	l.keepRefusal()
	l.answer(due, NAK)
}

// torn leaves a frame that did not come to its end.
func (l *Link) torn() {
	l.phase = outside
	l.remark("torn")
	l.keepRefusal()
}

// keepRefusal keeps the longest of the refused attempts at one frame.
func (l *Link) keepRefusal() {
	if len(l.frame) > len(l.refusal) {
		l.refusal = append(l.refusal[:0], l.frame...)
	}
}

func (l *Link) answer(due time.Time, b byte) {
	l.out = append(l.out, b)
	l.due = due
}

// enquire meets an ENQ. Inside a session annex A ignores it, but the analyzer has started anew.
func (l *Link) enquire() {
	if l.session {
		l.remark("restart")
	}
	if l.enquiry = l.leave(); !l.enquiry {
		l.ask()
	}
}

func (l *Link) ask() {
	l.pieces = append(l.pieces, piece{nil, open})
	l.awaits = open
}

// opened answers an ENQ: LIS01-A2 8.2, NAK while the disk cannot take a message.
func (l *Link) opened(due time.Time, safe bool) {
	if !safe {
		l.out = append(l.out, NAK)
		return
	}
	l.session = true
	l.answer(due, ACK)
}

// hangUp meets an EOT: LIS01-A2 8.4. It is not answered.
func (l *Link) hangUp() {
	if l.leave() {
		l.remark("no-l")
	}
}

// timeout ends a session in which nothing came any more: LIS01-A2 8.5.2. Nothing is sent.
func (l *Link) timeout() {
	l.remark("timeout")
	if l.phase != outside {
		l.torn()
	}
	l.leave()
}

// leave goes back to the neutral state and tells whether a message was torn off by it.
func (l *Link) leave() bool {
	if len(l.refusal) > 1 {
		l.remark("refused")
		l.pieces = append(l.pieces, piece{bytes.Clone(l.refusal[1:]), refused})
	}
	begun := l.cutter.begun
	if begun {
		l.pieces = append(l.pieces, piece{nil, broken})
		l.awaits = broken
	}
	l.session, l.number = false, -1
	l.last, l.refusal = l.last[:0], l.refusal[:0]
	l.cutter = cutter{}
	l.due = time.Time{}
	return begun
}

// header tells whether the text of a frame begins with a header record.
func header(text []byte) bool {
	text = bytes.TrimLeft(text, "\r\n")
	return len(text) > 0 && upper(text[0]) == 'H'
}

// stops are the characters that end a text, as bits; ETB is the highest of them.
const stops = 1<<STX | 1<<ETX | 1<<EOT | 1<<ENQ | 1<<ETB

// scan finds the first character that ends a text, or the end of p, and sums what is before it. It goes by eight bytes
// where none of them can be such a character: this is the one loop all bytes of a line pass through.
func scan(p []byte) (n int, sum byte) {
	const ones, evens = 0x0101010101010101, 0x00FF00FF00FF00FF
	for ; n+8 <= len(p); n += 8 {
		w := binary.LittleEndian.Uint64(p[n:])
		if (w-(ETB+1)*ones)&^w&(0x80*ones) != 0 { // some byte is at most ETB
			for i, b := range p[n : n+8] {
				if b <= ETB && stops>>b&1 != 0 {
					return n + i, sum
				}
				sum += b
			}
			continue
		}
		sum += byte((w&evens + w>>8&evens) * 0x0001000100010001 >> 48)
	}
	for ; n < len(p); n++ {
		if p[n] <= ETB && stops>>p[n]&1 != 0 {
			break
		}
		sum += p[n]
	}
	return n, sum
}

func hexadecimal(b byte) bool {
	return '0' <= b && b <= '9' || 'A' <= b && b <= 'F' || 'a' <= b && b <= 'f'
}

// nibble is the value of a hexadecimal digit.
func nibble(b byte) byte {
	if b <= '9' {
		return b - '0'
	}
	return upper(b) - 'A' + 10
}
