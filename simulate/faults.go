package simulate

import (
	"context"
	"time"
)

// Faults are the ways the analyzer and its cable misbehave, each with its probability from 0 to 1: in ASTM for every frame,
// in HL7 for every message, but for Resend and Slow.
type Faults struct {
	BadChecksum float64 // ASTM: a wrong sum; right when sent again
	Garbage     float64 // noise goes before
	Repeat      float64 // sent twice although it was acknowledged, as when the answer was not heard
	Drop        float64 // never reaches the host; the analyzer waits in vain
	Torn        float64 // breaks off in the middle: ASTM waits in vain, HL7 begins anew at once
	Disconnect  float64 // the connection breaks in the middle
	Slow        float64 // of every write: trickles in small pieces
	Resend      float64 // of every session or flight: sent once more as a whole, with a new time of sending
}

// All is every fault with the same probability.
func All(p float64) Faults {
	return Faults{BadChecksum: p, Garbage: p, Repeat: p, Drop: p, Torn: p, Disconnect: p, Slow: p, Resend: p}
}

func (r *run) hits(p float64) bool {
	return p > 0 && r.chance.Float64() < p
}

// trickle is how a slow line delivers.
const (
	trickleMost  = 16 // bytes at once
	tricklePause = 20 * time.Millisecond
)

// write sends p, in small pieces with pauses when the line is slow.
func (r *run) write(ctx context.Context, p []byte) error {
	if !r.hits(r.a.Faults.Slow) {
		return r.line.write(p)
	}
	for len(p) > 0 {
		n := min(len(p), 1+r.chance.IntN(trickleMost))
		if err := r.line.write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
		if err := sleep(ctx, tricklePause); err != nil {
			return err
		}
	}
	return nil
}

// garbage is a run of bytes that begin nothing in either protocol.
func (r *run) garbage() []byte {
	noise := make([]byte, 1+r.chance.IntN(8))
	for i := range noise {
		noise[i] = "\x00\x7f\xff~?#.:"[r.chance.IntN(8)]
	}
	return noise
}

// part is how much of p comes through before it breaks off: something, but not all.
func (r *run) part(p []byte) []byte {
	return p[:1+r.chance.IntN(len(p)-1)]
}
