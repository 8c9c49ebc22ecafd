// Package hl7 speaks HL7 v2 (2.1 to 2.8) over the minimal lower layer protocol: the receiver's machine (MLLP), messages as
// segments and fields (Parse), and acknowledgements (Ack).
//
// It follows HL7 2.5.1 chapter 2 and appendix C of the implementation guide, and IHE LAW (PaLM TF-2b) where an analyzer
// speaks that, and bears with what analyzers were seen to do. Nothing is decoded or changed on the way in: a message is
// handed up as received, and its fields are the bytes as sent.
//
// Left out: release 2 of MLLP (commit bytes), frames without a start byte, batches (FHS, BHS; kept, but refused), and
// continuation (DSC).
package hl7

import "bytes"

// The bytes around a message, HL7 2.5.1 implementation guide appendix C.4.
const (
	VT = 0x0B // starts a block
	FS = 0x1C // ends a block, with CR
	CR = '\r' // ends a segment
	LF = '\n' // ends a segment or follows CR with some senders; never with us
)

// Frame appends payload as an MLLP block.
func Frame(dst, payload []byte) []byte {
	dst = append(dst, VT)
	dst = append(dst, payload...)
	return append(dst, FS, CR)
}

// Cut gives the payload of the first whole block of stream and what follows the block. It is strict, for reading what a
// well-behaved receiver answers; MLLP is for what an analyzer sends.
func Cut(stream []byte) (payload, rest []byte, found bool) {
	end := bytes.Index(stream, []byte{FS, CR})
	if end < 0 || stream[0] != VT {
		return nil, stream, false
	}
	return stream[1:end], stream[end+2:], true
}
