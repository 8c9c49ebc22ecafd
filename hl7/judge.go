package hl7

import (
	"bytes"
	"strconv"
	"time"
)

// arrival is a block on its way to its answer.
type arrival struct {
	payload []byte
	mark    byte // 0: not handed up
	at      time.Time
	header  *Header // nil: not readable
	answer  answer
	text    string // for MSA-3
}

type answer int

const (
	byVerdict    answer = iota // accepted or failed
	rejectIfSafe               // rejected, but failed when not even stored
	fail
	reject
	silence
)

// judge decides what a whole block is and how it is answered.
func (m *MLLP) judge(a *arrival) {
	if len(a.payload) == 0 {
		m.remark("empty")
		a.mark, a.answer, a.text = 0, fail, "empty block"
		return
	}
	if len(a.payload) == 1 && (a.payload[0] == 0x06 || a.payload[0] == 0x15) { // MLLP release 2 commits
		m.remark("ack-received")
		a.mark, a.answer = 0, silence
		return
	}
	text, batch := a.payload, isBatch(a.payload)
	if batch {
		text = text[max(0, nextHeader(text)):]
	}
	h, err := ReadHeader(text)
	if err == nil {
		a.header = h.kept()
	}
	switch {
	case batch, err == nil && nextHeader(text[h.start:]) > 0:
		m.remark("batch")
		a.mark, a.answer, a.text = '!', reject, "batches are not served"
		return
	case err != nil:
		m.remark("no-msh")
		a.mark, a.answer, a.text = '!', fail, "no readable MSH segment"
		return
	}
	kind := string(h.Type())
	switch {
	case h.isAck():
		m.remark("ack-received")
		a.mark, a.answer = 0, silence
		return
	case len(h.Field(10)) == 0:
		// A positive answer that fits no message is worse than none.
		m.remark("no-control-id")
		a.mark, a.answer, a.text = '!', fail, "MSH-10 is empty"
	case kind == "QBP" || kind == "QRY":
		m.remark("query")
		a.answer, a.text = rejectIfSafe, "queries are not served yet"
	}
	m.remarkForm(a.header, a.payload)
}

// remarkForm names what is odd about a readable payload.
func (m *MLLP) remarkForm(h *Header, payload []byte) {
	if h.start > 0 {
		m.remark("leading-bytes")
	}
	switch end := payload[len(h.text):]; {
	case bytes.HasPrefix(end, []byte{LF}):
		m.remark("lf-segments")
	case bytes.HasPrefix(end, []byte{CR, LF}):
		m.remark("crlf-segments")
	}
	if last := payload[len(payload)-1]; last != CR && last != LF {
		m.remark("no-last-cr")
	}
	if _, known := h.code(accepted); !known {
		m.remark("msh-15")
	}
}

// isBatch tells whether a payload begins with a batch or file header, HL7 2.5.1 2.10.3.
func isBatch(payload []byte) bool {
	p := payload[leading(payload):]
	return len(p) > 3 && (bytes.HasPrefix(p, []byte("FHS")) || bytes.HasPrefix(p, []byte("BHS"))) && delimiter(p[3])
}

// Take hands up the next message, or what is to be kept of none.
func (m *MLLP) Take() (piece []byte, mark byte, ok bool) {
	for !m.closed && m.taken < len(m.arrived) {
		a := m.arrived[m.taken]
		if m.taken == 0 && (a.mark == 0 || a.mark == 'x') {
			// It needs no verdict, and nothing before it waits for one.
			m.arrived[0] = arrival{}
			m.arrived = m.arrived[1:]
			m.reply(a, a.at, false)
		} else {
			m.taken++
		}
		if a.mark != 0 {
			return a.payload, a.mark, true
		}
	}
	m.closed = m.taken > 0
	return nil, 0, false
}

// Verdict answers what was taken, in the order it came.
func (m *MLLP) Verdict(now time.Time, safe bool) {
	for _, a := range m.arrived[:m.taken] {
		m.reply(a, now, safe)
	}
	clear(m.arrived[:m.taken])
	m.arrived = m.arrived[m.taken:]
	m.taken, m.closed = 0, false
}

// Output is what to write now.
func (m *MLLP) Output() []byte {
	if m.given {
		m.out, m.given = m.out[:0], false
	}
	m.given = len(m.out) > 0
	return m.out
}

func (m *MLLP) reply(a arrival, now time.Time, safe bool) {
	if m.given {
		m.out, m.given = m.out[:0], false
	}
	o, text := accepted, a.text
	switch {
	case a.answer == silence:
		return
	case a.answer == fail:
		o = failed
	case a.answer == reject:
		o = rejected
	case !safe:
		o, text = failed, "not stored, send again"
	case a.answer == rejectIfSafe:
		o = rejected
	}
	var h Header
	if a.header != nil {
		h = *a.header
	}
	code, _ := h.code(o)
	m.answers++
	id := strconv.AppendInt(strconv.AppendInt(make([]byte, 0, 32), now.UnixNano(), 36), m.answers, 36)
	m.out = appendAck(append(m.out, VT), h, code, text, now, string(id))
	m.out = append(m.out, FS, CR)
}
