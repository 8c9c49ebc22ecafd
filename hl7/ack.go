package hl7

import (
	"bytes"
	"time"
)

// Ack builds the acknowledgement of the message with header h: code is what MSA-1 says, text what MSA-3 says in plain ASCII
// (no data of a patient), now the time of MSH-7 with its offset, id our own MSH-10. Everything taken over from the sender is
// his bytes, and MSA-2 is MSH-10 as it stands (HL7 2.5.1 2.9.2.2). The zero Header is a message that could not be read.
//
//	MSH|^~\&|host||cobas pro||20260301080000+0100||ACK^R22^ACK|1|P|2.5.1||||||UNICODE UTF-8|||LAB-29^IHE
//	MSA|AA|97
func Ack(h Header, code, text string, now time.Time, id string) []byte {
	s, encoding := h.Separators, h.Field(2)
	if h.count == 0 {
		s = Standard
		encoding = []byte{s.Component, s.Repeat, s.Escape, s.Sub}
	}
	ack := make([]byte, 0, 256)
	field := func(value []byte) {
		ack = append(append(ack, s.Field), value...)
	}
	ack = append(ack, "MSH"...)
	field(encoding)
	for _, n := range [...]int{5, 6, 3, 4} {
		field(h.Field(n))
	}
	ack = append(ack, s.Field)
	ack = now.AppendFormat(ack, "20060102150405-0700")
	field(nil)
	ack = append(ack, s.Field)
	ack = h.appendType(ack)
	field([]byte(id))
	if h.count == 0 {
		field([]byte("P"))
		field([]byte("2.5.1"))
	} else {
		field(h.Field(11))
		field(h.Field(12))
	}
	charset, profile := h.Field(18), h.Field(21)
	if len(charset) > 0 || len(profile) > 0 {
		for range 5 {
			field(nil)
		}
		field(charset)
	}
	if len(profile) > 0 {
		field(nil)
		field(nil)
		field(profile)
	}
	ack = append(ack, CR)

	ack = append(ack, "MSA"...)
	field([]byte(code))
	field(h.Field(10))
	if text != "" {
		ack = append(ack, s.Field)
		ack = s.AppendEscaped(ack, text)
	}
	return append(ack, CR)
}

// appendType answers MSH-9 with as many components as the sender has: ACK, ACK^R01 or ACK^R22^ACK.
func (h Header) appendType(ack []byte) []byte {
	parts := h.parts(h.Field(9))
	ack = append(ack, "ACK"...)
	if len(parts) > 1 {
		ack = append(append(ack, h.Separators.Component), parts[1]...)
	}
	if len(parts) > 2 {
		ack = append(append(ack, h.Separators.Component), "ACK"...)
	}
	return ack
}

// outcome is what became of a message.
type outcome int

const (
	accepted outcome = iota
	failed           // it may be sent again
	rejected         // sending it again will not help
)

// code chooses MSA-1 by what MSH-15 asks for, HL7 2.5.1 2.9.3 and table 0155. A commit accept is all an agent can give, and
// what a sender of AL waits for; every other sender was seen to wait for an application code, also with NE. Table 0155 is
// all that counts: Mindray has its own use for MSH-15 and MSH-16, so that known is false.
func (h Header) code(o outcome) (code string, known bool) {
	var commit bool
	known = true
	switch string(bytes.TrimSpace(h.Field(15))) {
	case "", "NE":
	case "AL":
		commit = true
	case "ER":
		commit = o != accepted
	case "SU":
		commit = o == accepted
	default:
		known = false
	}
	letter := "AER"[o]
	if commit {
		return "C" + string(letter), known
	}
	return "A" + string(letter), known
}
