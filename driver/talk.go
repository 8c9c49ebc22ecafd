package driver

import "time"

// Talk is a protocol with no wire under it, for the life of one connection. It never reads, writes, waits or looks at a
// clock; its methods speak only built-in types, so that astm and hl7 satisfy it without importing anyone. A Talk is used
// by one goroutine.
type Talk interface {
	// Feed tells that bytes came, or, with none, that time passed. While a verdict is outstanding the bytes are kept and
	// looked at after it. p is the caller's again afterwards.
	Feed(now time.Time, p []byte)
	// Output is what to write now, empty for nothing. It is the caller's until the next call of any method.
	Output() []byte
	// Take hands over the next piece and its mark (the bytes of lab.Mark), until ok is false. What was taken since the last
	// verdict waits for one verdict, but for a piece marked Refused, which needs none. The piece is the caller's to keep.
	Take() (piece []byte, mark byte, ok bool)
	// Verdict answers for everything taken since the last verdict: safe when its bytes are synced to disk.
	Verdict(now time.Time, safe bool)
	// Deadline is when Feed is due without bytes; zero means never.
	Deadline() time.Time
	// Remarks names the oddities met since the last call, one word each ("checksum", "repeat", "no-cr"): tolerated ones and
	// refused ones alike. They are counted, logged once a connection, and stored with the pieces they belong to.
	Remarks() []string
}
