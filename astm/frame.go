// Package astm speaks what most laboratory analyzers speak over a serial line or a socket: LIS01-A2 (E1381), the frames
// and their answers, and LIS02-A2 (E1394), the records inside.
//
// Link is the receiver of LIS01-A2 annex A as a pure machine: bytes and times go in, answers and the texts of frames come
// out. Parse reads the joined texts of one message as records. Frame and Split build what an analyzer sends. The meaning
// of records, the encoding of their text and sending to an analyzer are left out.
package astm

import "bytes"

// The transmission control characters of LIS01-A2 8.
const (
	STX = 0x02 // begins a frame
	ETX = 0x03 // ends the last frame of a record
	EOT = 0x04 // ends a session
	ENQ = 0x05 // asks to begin a session
	ACK = 0x06 // yes
	LF  = 0x0A // ends the tail of a frame
	CR  = 0x0D // ends a record, and the sum of a frame
	NAK = 0x15 // no
	ETB = 0x17 // ends a frame whose record goes on in the next
)

// Frame appends to dst the frame that carries text under the number (mod 8), ended by ETX when it is the last of its
// record and by ETB when the record goes on: LIS01-A2 8.3.1.
func Frame(dst []byte, number int, text []byte, last bool) []byte {
	const hex = "0123456789ABCDEF"
	end := byte(ETB)
	if last {
		end = ETX
	}
	dst = append(dst, STX)
	from := len(dst)
	dst = append(dst, '0'+byte(number&7))
	dst = append(dst, text...)
	dst = append(dst, end)
	sum := Checksum(dst[from:])
	return append(dst, hex[sum>>4], hex[sum&15], CR, LF)
}

// Checksum is the sum of p modulo 256; p is a frame from its number to its ETX or ETB, both included: LIS01-A2 8.3.3.
func Checksum(p []byte) byte {
	var sum byte
	for _, b := range p {
		sum += b
	}
	return sum
}

// Split cuts the records of a message into the texts of frames. Size 0 puts each record into frames of its own, as the
// standard has it, cut only where a frame may hold no more; any other size cuts the whole message at every size bytes, as
// some analyzers do, even inside L|1. Lines may end in CR, LF or both; in the texts each ends in one CR. A text that ends
// in CR goes out with ETX, any other with ETB.
func Split(message []byte, size int) [][]byte {
	var texts [][]byte
	var all []byte
	for line := range bytes.FieldsFuncSeq(message, func(r rune) bool { return r == CR || r == LF }) {
		from := len(all)
		all = append(append(all, line...), CR)
		if size == 0 {
			texts = append(texts, chunks(all[from:], MaxFrame-overhead)...)
		}
	}
	if size > 0 {
		texts = chunks(all, size)
	}
	return texts
}

func chunks(p []byte, size int) (texts [][]byte) {
	for len(p) > size {
		texts = append(texts, p[:size:size])
		p = p[size:]
	}
	if len(p) > 0 {
		texts = append(texts, p[:len(p):len(p)])
	}
	return texts
}
