package hl7

import (
	"bytes"
	"time"
)

// Options are the limits of an MLLP; zero stands for the default of each.
type Options struct {
	MaxMessage int           // bytes of a message; 16 MiB
	Timeout    time.Duration // how long a sender may pause inside a block; 60 s
	FSWait     time.Duration // how long after FS without CR a block counts as ended; 200 ms
}

// What senders were seen to need; the standard names no times and no sizes.
const (
	maxMessage = 16 << 20
	timeout    = 60 * time.Second
	fsWait     = 200 * time.Millisecond
	maxRemarks = 256 // kept until they are asked for
)

// MLLP is the receiver of one connection. It satisfies driver.Talk: it is fed bytes and times, hands up messages as received
// and, after the verdict, answers each in the order they came.
//
// Marks: '.' a message; '!' what is no whole message (torn off, unreadable, without MSH-10, a batch); 'x' longer than
// MaxMessage. Acknowledgements of the analyzer are neither handed up nor answered.
//
// A block that is open when the connection ends is given out by Feed at the Deadline.
type MLLP struct {
	options Options
	state   state
	block   []byte    // payload so far
	due     time.Time // when Feed must come, unless idle
	tail    byte      // the byte of a block's end that came last, while idle
	noise   bool      // the bytes that come now are remarked already

	arrived []arrival // not yet answered, in order
	taken   int       // of arrived, handed up or passed over, waiting for the verdict
	closed  bool      // Take has ended; the verdict is due
	answers int64     // given so far
	out     []byte
	given   bool // out was handed over and may be overwritten
	remarks []string
}

type state int

const (
	idle     state = iota // between blocks
	inside                // after VT
	ended                 // after FS, which ends the block unless text follows
	skipping              // inside a block that is too long
)

// NewMLLP gives the receiver for a new connection.
func NewMLLP(o Options) *MLLP {
	if o.MaxMessage <= 0 {
		o.MaxMessage = maxMessage
	}
	if o.Timeout <= 0 {
		o.Timeout = timeout
	}
	if o.FSWait <= 0 {
		o.FSWait = fsWait
	}
	return &MLLP{options: o}
}

// Feed takes bytes as they came, or, with none, the time. Bytes that come late show a sender that was alive all along, so
// that only time without bytes breaks a block off.
func (m *MLLP) Feed(now time.Time, p []byte) {
	if m.state != idle && !now.Before(m.due) && (len(p) == 0 || m.state == ended) {
		m.expire(now)
	}
	for len(p) > 0 {
		switch m.state {
		case idle:
			p = m.between(now, p)
		case inside:
			p = m.within(now, p)
		case ended:
			p = m.afterFS(now, p)
		case skipping:
			p = m.skip(now, p)
		}
	}
}

// Deadline is when Feed is due without bytes: while a block is open.
func (m *MLLP) Deadline() time.Time {
	if m.state == idle {
		return time.Time{}
	}
	return m.due
}

// Remarks names the oddities met since the last call. Tolerated: noise (bytes between blocks), double-vt, fs-no-cr, fs-lf,
// lf-after-end, fs-in-data, leading-bytes, lf-segments, crlf-segments, no-last-cr, msh-15 (not of table 0155), ack-received,
// query. Refused: torn, timeout, too-long, empty, no-msh, no-control-id, batch.
func (m *MLLP) Remarks() []string {
	words := m.remarks
	m.remarks = nil
	return words
}

func (m *MLLP) remark(word string) {
	if len(m.remarks) < maxRemarks {
		m.remarks = append(m.remarks, word)
	}
}

// between passes over what stands before VT: ENQ and other signs of life, NUL, log lines, a second end of the block.
func (m *MLLP) between(now time.Time, p []byte) (rest []byte) {
	end := bytes.IndexByte(p, VT)
	stray := p
	if end >= 0 {
		stray = p[:end]
	}
	if len(stray) > 0 && m.tail == CR && stray[0] == LF {
		m.remark("lf-after-end")
		stray = stray[1:]
		m.tail = LF
	}
	if len(stray) > 0 {
		m.tail = 0
		if !m.noise {
			m.remark("noise")
			m.noise = true
		}
	}
	if end < 0 {
		return nil
	}
	m.open(now)
	return p[end+1:]
}

func (m *MLLP) open(now time.Time) {
	m.state, m.block, m.due = inside, nil, now.Add(m.options.Timeout)
	m.tail, m.noise = 0, false
}

// within collects the payload until FS, or VT, which no payload can hold: the rest of this block was lost.
func (m *MLLP) within(now time.Time, p []byte) (rest []byte) {
	m.due = now.Add(m.options.Timeout)
	n := len(p)
	if at := bytes.IndexByte(p, FS); at >= 0 {
		n = at
	}
	if at := bytes.IndexByte(p[:n], VT); at >= 0 {
		n = at
	}
	if room := m.options.MaxMessage - len(m.block); n > room {
		m.block = append(m.block, p[:room]...)
		m.tooLong(now)
		return p[room:]
	}
	m.block = append(m.block, p[:n]...)
	switch {
	case n == len(p):
		return nil
	case p[n] == FS:
		m.state, m.due = ended, now.Add(m.options.FSWait)
	case len(m.block) == 0:
		m.remark("double-vt")
	default:
		m.remark("torn")
		m.torn(now)
		m.open(now)
	}
	return p[n+1:]
}

// afterFS looks at the byte behind FS: a CR as it should be, text, so that FS was part of the payload, or anything else,
// so that the CR was left out.
func (m *MLLP) afterFS(now time.Time, p []byte) (rest []byte) {
	switch b := p[0]; {
	case b == CR:
		m.close(now, "")
		m.tail = CR
		return p[1:]
	case b == LF:
		m.close(now, "fs-lf")
		return p[1:]
	case b >= ' ':
		if len(m.block) == m.options.MaxMessage {
			m.tooLong(now)
			return p
		}
		m.remark("fs-in-data")
		m.block = append(m.block, FS)
		m.state, m.due = inside, now.Add(m.options.Timeout)
		return p
	}
	m.close(now, "fs-no-cr")
	return p
}

// tooLong turns the open block away at once and passes over the rest of it.
func (m *MLLP) tooLong(now time.Time) {
	m.remark("too-long")
	a := arrival{payload: m.block, mark: 'x', at: now, answer: fail, text: "message too long"}
	a.header, _ = tornHeader(m.block)
	m.arrived = append(m.arrived, a)
	m.state, m.block, m.due = skipping, nil, now.Add(m.options.Timeout)
}

func (m *MLLP) skip(now time.Time, p []byte) (rest []byte) {
	m.due = now.Add(m.options.Timeout)
	at := bytes.IndexAny(p, "\x0b\x1c")
	if at < 0 {
		return nil
	}
	m.state, m.noise = idle, true
	if p[at] == FS {
		at++
	}
	return p[at:]
}

// expire does what is due: FS was the end after all, or the sender has stopped in the middle of a block.
func (m *MLLP) expire(now time.Time) {
	switch {
	case m.state == ended:
		m.close(now, "fs-no-cr")
	case m.state == inside:
		m.remark("timeout")
		if len(m.block) > 0 {
			m.torn(now)
		}
	}
	m.state, m.block = idle, nil
}

// torn hands up what came of a block that will not end. The sender is told, if it can be told which message is meant.
//
// What does not even begin like a message is noise that happened to hold a VT, as on a serial line at the wrong speed; a
// hundred such a second, each kept for a person to look at, would fill the disk and the memory.
func (m *MLLP) torn(now time.Time) {
	if !mayBegin(m.block) {
		m.remark("noise")
		m.block = nil
		return
	}
	a := arrival{payload: m.block, mark: '!', at: now, answer: silence, text: "message torn off"}
	if h, answerable := tornHeader(m.block); answerable {
		a.header, a.answer = h, fail
	}
	m.arrived = append(m.arrived, a)
	m.block = nil
}

// mayBegin tells whether a payload that may end anywhere begins like a message or a batch.
func mayBegin(payload []byte) bool {
	p := payload[leading(payload):]
	for _, name := range []string{"MSH", "BHS", "FHS"} {
		if n := min(len(p), len(name)); string(p[:n]) == name[:n] {
			return n > 0
		}
	}
	return false
}

// tornHeader reads the header of a payload that may end anywhere; answerable tells that MSH-10 is whole, and that the
// message is none that must never be answered.
func tornHeader(payload []byte) (h *Header, answerable bool) {
	read, err := ReadHeader(payload)
	if err != nil || read.isAck() || len(read.Field(10)) == 0 || read.count == 10 && !read.more {
		return nil, false
	}
	return read.kept(), true
}

func (m *MLLP) close(now time.Time, oddity string) {
	payload := m.block
	m.state, m.block = idle, nil
	if oddity != "" {
		m.remark(oddity)
	}
	a := arrival{payload: payload, mark: '.', at: now}
	m.judge(&a)
	m.arrived = append(m.arrived, a)
}
