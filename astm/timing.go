package astm

import "time"

// What the standard sets. The names of the clauses are those of LIS01-A2.
const (
	ReplyTimeout   = 15 * time.Second // 8.5.2: how long a sender waits for the answer to an ENQ or a frame
	ReceiveTimeout = 30 * time.Second // 8.5.2: how long a receiver waits for the next frame or EOT
	BusyPause      = 10 * time.Second // 8.2: how long a sender whose ENQ met NAK waits at least
	Transmissions  = 6                // 8.5.1: how often one frame is sent before the sender gives up
	MaxFrame       = 64000            // 8.3.1: bytes of a frame with its overhead

	overhead = 7 // 8.3.1: STX, number, ETX, two digits, CR, LF
	modulus  = 8 // 8.3.2: frames are numbered 1 to 7, 0, 1 ...
)

// What we set ourselves.
const (
	// MaxMessage is how many bytes of text one message may have; the largest seen is under 100 kB.
	MaxMessage = 16 << 20

	// maxKept is how many bytes are kept behind an outstanding verdict. The line stops reading at 1 MiB; what a caller
	// feeds beyond this bound is lost, is missed by the checksum, and comes again.
	maxKept = 2 << 20

	// usualFrame is what most frames fit in: 240 bytes of text were the limit up to LIS01-A.
	usualFrame = 256
	// maxRemarks is how many words are kept for a caller who does not ask for them.
	maxRemarks = 4096
)

// Timing is the timers of a Link; zero means the standard.
type Timing struct {
	Receive time.Duration // how long to wait for the next frame or EOT; zero: ReceiveTimeout
}

// Options sets a Link; the zero value follows the standard.
type Options struct {
	Timing     Timing
	MaxFrame   int // bytes of a frame with its overhead; zero: MaxFrame
	MaxMessage int // bytes of a message's text; zero: MaxMessage
}

func (o Options) orStandard() Options {
	if o.Timing.Receive == 0 {
		o.Timing.Receive = ReceiveTimeout
	}
	if o.MaxFrame == 0 {
		o.MaxFrame = MaxFrame
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = MaxMessage
	}
	return o
}
