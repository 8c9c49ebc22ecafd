package hl7

import (
	"bytes"
	"slices"
	"time"
)

// Ack builds the acknowledgement of the message with header h: code is what MSA-1 says, text what MSA-3 says in plain ASCII
// (no data of a patient), now the time of MSH-7 with its offset, id our own MSH-10. Everything taken over from the sender is
// his bytes, and MSA-2 is MSH-10 as it stands (HL7 2.5.1 2.9.2.2). The zero Header is a message that could not be read.
//
//	MSH|^~\&|host||cobas pro||20260301080000+0100||ACK^R22^ACK|1|P|2.5.1||||||UNICODE UTF-8|||LAB-29^IHE
//	MSA|AA|97
func Ack(h Header, code, text string, now time.Time, id string) []byte {
	return appendAck(nil, h, code, text, now, id)
}

func appendAck(ack []byte, h Header, code, text string, now time.Time, id string) []byte {
	start := len(ack)
	s, encoding := h.Separators, h.Field(2)
	if h.count == 0 {
		s = Standard
		encoding = []byte{s.Component, s.Repeat, s.Escape, s.Sub}
	}
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
	// A VT or FS taken over from the sender would end our own block early.
	own := slices.DeleteFunc(ack[start:], func(b byte) bool { return b == VT || b == FS })
	return append(ack[:start+len(own)], CR)
}

// appendType answers MSH-9 with as many components as the sender has: ACK, ACK^R01 or ACK^R22^ACK.
func (h Header) appendType(ack []byte) []byte {
	_, rest, more := h.first(h.Field(9))
	ack = append(ack, "ACK"...)
	if !more {
		return ack
	}
	event, _, more := bytes.Cut(rest, []byte{h.Separators.Component})
	ack = append(append(ack, h.Separators.Component), event...)
	if more {
		ack = append(append(ack, h.Separators.Component), "ACK"...)
	}
	return ack
}
