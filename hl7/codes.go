package hl7

import "bytes"

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
