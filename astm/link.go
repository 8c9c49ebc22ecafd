package astm

import "time"

// Link is the receiver of LIS01-A2 annex A for the life of one connection. It never reads, writes, waits or looks at a
// clock; it is used by one goroutine. A frame is answered only after the verdict on its text, so an ACK is a promise.
//
// Where the standard is silent, or analyzers do otherwise, each case has one outcome, told by a word of Remarks:
//
//	checksum       the sum is wrong or missing: NAK
//	lower-case     the digits of a right sum are lower case: taken
//	repeat         number and bytes of the last accepted frame: ACK, not handed up again
//	same-number    its number, other bytes, a right sum: another frame, taken
//	frame-number   any other number than the next: NAK
//	frame-size     more bytes than MaxFrame: NAK once, at its end
//	message-size   the message would grow beyond MaxMessage: NAK
//	torn           a frame cut off by STX, ENQ, EOT or time
//	no-enq         a frame without a session that begins with a header: taken, the session is open
//	no-header      a frame without a session that begins with anything else: NAK, so that it is sent whole again
//	restart        ENQ inside a session: what is open is broken, a new session is asked for
//	timeout        nothing for Timing.Receive: what is open is broken, nothing is sent
//	no-l           another header, or EOT, before the L record of a message: it is broken
//	no-cr          ETX ends a record without its CR: the CR is added to the piece
//	empty          a frame without text: ACK, nothing to hand up
//	refused        a frame that was refused never came right: handed up as refused
//	noise          a run of bytes between frames that mean nothing
//	overrun        more bytes behind an outstanding verdict than are kept: they are lost
type Link struct {
	options Options

	session bool      // between ENQ and EOT
	due     time.Time // when the receive timer ends; zero: it does not run
	noise   bool      // in a run of bytes that mean nothing

	// The frame being read.
	phase phase
	frame []byte // its number and text
	sum   byte
	over  bool // longer than may be; the rest is not kept
	end   byte // ETX or ETB
	high  byte // the first digit of the sum as sent

	// The last accepted frame and what it left.
	number  int    // -1 before the first of a session
	last    []byte // its number and text
	lastEnd byte
	cutter  cutter
	refusal []byte // number and text of a frame refused and not yet repaired

	// What the caller is to take, write and answer.
	awaits  byte // open, more or broken: what the outstanding verdict is for; 0: none
	next    cutter
	enquiry bool // an ENQ waits behind the verdict on a broken message
	pieces  []piece
	taken   int // of pieces
	out     []byte
	words   []string

	kept  []byte // came while a verdict was outstanding
	eaten int    // of kept
}

type phase uint8

const (
	outside phase = iota // between frames
	inside               // between STX and ETX or ETB
	digit1               // the first digit of the sum comes next
	digit2
)

// NewLink makes the machine for one connection.
func NewLink(o Options) *Link {
	return &Link{options: o.orStandard(), number: -1}
}

// Feed tells that bytes came, or, with none, that time passed. While a verdict is outstanding the bytes are kept and
// looked at after it.
func (l *Link) Feed(now time.Time, p []byte) {
	switch {
	case l.awaits != 0:
		if len(l.kept)-l.eaten+len(p) > maxKept {
			l.remark("overrun")
			return
		}
	case !l.due.IsZero() && !now.Before(l.due):
		l.timeout()
	}
	l.keep(p[l.read(now.Add(l.options.Timing.Receive), p):])
}

// Output is what to write now, empty for nothing. It is the caller's until the next call of any method.
func (l *Link) Output() []byte {
	out := l.out
	l.out = l.out[:0]
	return out
}

// Take hands over the next piece and its mark: '?' an ENQ asks whether a message may begin, '=' a part of a message, '.'
// its last part, '!' the open message is torn off, 'x' a frame refused and not offered again. The joined texts of the
// pieces of one message are what Parse reads. All but 'x' wait for one verdict. The text is the caller's to keep.
func (l *Link) Take() (text []byte, mark byte, ok bool) {
	if l.taken == len(l.pieces) {
		clear(l.pieces)
		l.pieces, l.taken = l.pieces[:0], 0
		return nil, 0, false
	}
	p := l.pieces[l.taken]
	l.taken++
	return p.text, p.mark, true
}

// Verdict answers for everything taken since the last verdict: ACK when safe, else NAK. It does nothing while nothing
// waits for it or not everything was taken.
func (l *Link) Verdict(now time.Time, safe bool) {
	if l.awaits == 0 || l.taken < len(l.pieces) {
		return
	}
	due := now.Add(l.options.Timing.Receive)
	awaited := l.awaits
	l.awaits = 0
	switch {
	case awaited == open:
		l.opened(due, safe)
	case awaited == more && safe:
		l.accept(due)
	case awaited == more:
		l.refuse(due)
		l.frame = nil // its text is the caller's, who may still be at it
	case l.enquiry:
		l.enquiry = false
		l.ask()
	}
	l.eaten += l.read(due, l.kept[l.eaten:])
	if l.eaten == len(l.kept) {
		l.kept, l.eaten = l.kept[:0], 0
	}
}

// Deadline is when Feed is due without bytes: nonzero while a session is open, a frame is being read or a refused one
// may come again; zero otherwise, and while a verdict is outstanding, since then the analyzer waits for us.
func (l *Link) Deadline() time.Time {
	if l.awaits != 0 {
		return time.Time{}
	}
	return l.due
}

// Remarks names the oddities met since the last call, in the words listed at Link.
func (l *Link) Remarks() []string {
	words := l.words
	l.words = nil
	return words
}

func (l *Link) remark(words ...string) {
	for _, word := range words {
		if len(l.words) < maxRemarks {
			l.words = append(l.words, word)
		}
	}
}

func (l *Link) keep(p []byte) {
	if l.eaten > len(l.kept)/2 {
		l.kept = l.kept[:copy(l.kept, l.kept[l.eaten:])]
		l.eaten = 0
	}
	l.kept = append(l.kept, p...)
}
