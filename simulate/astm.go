package simulate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"labagent/astm"
)

// stamp is how both protocols write a time.
const stamp = "20060102150405"

func (r *run) wall(t time.Time) string {
	if r.a.Zone != nil {
		t = t.In(r.a.Zone)
	} else {
		t = t.UTC()
	}
	return t.Format(stamp)
}

// astmText writes a message as LIS02-A2 records, and tells for each result where its record ends.
func (r *run) astmText(m *message) (text []byte, ends []int) {
	var b strings.Builder
	record := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r", args...) }
	var ordered []string
	for _, res := range m.results {
		ordered = append(ordered, "^^^"+res.test.Code)
	}
	measured := r.wall(m.measured)
	record(`H|\^&|%d||%s|||||||P|LIS2-A2|%s`, m.number, r.a.Name, r.wall(time.Now()))
	record(`P|1`)
	record(`O|1|%s||%s|R||||||||||||||||||||F`, m.specimen, strings.Join(ordered, `\`))
	for i, res := range m.results {
		record(`R|%d|^^^%s|%s|%s|%s|%s||F||||%s`, i+1, res.test.Code, res.value, res.test.Unit, res.test.bounds(" to "), res.flag, measured)
		ends = append(ends, b.Len())
	}
	record(`L|1|N`)
	return []byte(b.String()), ends
}

// sendASTM carries messages over in one session: the sender of LIS01-A2 annex A.
func (r *run) sendASTM(ctx context.Context, batch []*message) error {
	if err := r.establish(ctx); err != nil {
		return err
	}
	number := 1
	for _, m := range batch {
		text, ends := r.astmText(m)
		r.ledger.sending(m)
		over := 0 // bytes of text the host has acknowledged
		for _, frame := range astm.Split(text, r.a.FrameSize) {
			last := frame[len(frame)-1] == astm.CR
			if err := r.transmit(ctx, astm.Frame(nil, number, frame, last)); err != nil {
				return err
			}
			number++
			over += len(frame)
			r.ledger.accepted(m, ends, over)
		}
		m.acknowledged = true
		r.ledger.acknowledged(m)
	}
	return r.line.write([]byte{astm.EOT})
}

// establish asks for the line until the host gives it.
func (r *run) establish(ctx context.Context) error {
	for try := 1; ; try++ {
		if err := r.write(ctx, []byte{astm.ENQ}); err != nil {
			return err
		}
		pause := time.Duration(0)
		switch answer, err := r.answer(astm.ACK, astm.NAK, astm.ENQ); {
		case err != nil:
			return r.abandon(err)
		case answer == astm.ACK:
			return nil
		case answer == astm.NAK: // busy, LIS01-A2 8.2.4
			r.ledger.count(func(c *Counts) { c.Busy++ })
			if try == r.a.Tries {
				return errRefused
			}
			pause = orElse(r.a.Timing.Busy, astm.BusyPause)
		case answer == astm.ENQ: // both want it; the analyzer asks again and the host yields, 8.2.7.1
			r.ledger.count(func(c *Counts) { c.Contention++ })
			pause = orElse(r.a.Timing.Yield, time.Second)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// answer waits for one of the bytes wanted, and passes over others; with none named any byte will do.
func (r *run) answer(wanted ...byte) (byte, error) {
	due := time.Now().Add(orElse(r.a.Timing.Reply, astm.ReplyTimeout))
	for {
		b, err := r.line.next(due)
		if err != nil {
			return 0, err
		}
		if len(wanted) == 0 {
			return b, nil
		}
		for _, w := range wanted {
			if b == w {
				return b, nil
			}
		}
	}
}

// abandon ends a session that came to nothing: EOT after silence, nothing on a dead connection.
func (r *run) abandon(err error) error {
	if !errors.Is(err, errTimeout) {
		return err
	}
	r.ledger.count(func(c *Counts) { c.Timeouts++ })
	if err := r.line.write([]byte{astm.EOT}); err != nil {
		return err
	}
	return errSilent
}

// transmit sends one frame until it is accepted, six times at most: LIS01-A2 8.5.1. EOT for an answer is an acceptance by a
// host that wants to speak, which we leave unheard: 8.3.4.
func (r *run) transmit(ctx context.Context, frame []byte) error {
	for range astm.Transmissions {
		if err := r.put(ctx, frame); err != nil {
			return err
		}
		answer, err := r.answer()
		if err != nil {
			return r.abandon(err)
		}
		if answer == astm.ACK || answer == astm.EOT {
			return r.repeat(ctx, frame)
		}
		r.ledger.count(func(c *Counts) { c.Refusals++ })
	}
	if err := r.line.write([]byte{astm.EOT}); err != nil {
		return err
	}
	return errRefused
}

// put writes a frame, or what the faults leave of it.
func (r *run) put(ctx context.Context, frame []byte) error {
	f := r.a.Faults
	if r.hits(f.Garbage) {
		if err := r.write(ctx, r.garbage()); err != nil {
			return err
		}
	}
	switch {
	case r.hits(f.Drop):
		return nil
	case r.hits(f.Torn):
		return r.write(ctx, r.part(frame))
	case r.hits(f.Disconnect):
		if err := r.write(ctx, r.part(frame)); err != nil {
			return err
		}
		return errCut
	case r.hits(f.BadChecksum):
		frame = append([]byte(nil), frame...)
		digit := &frame[len(frame)-3] // the last of the two, before CR LF
		*digit = "0123456789ABCDEF"[(strings.IndexByte("0123456789ABCDEF", *digit)+1+r.chance.IntN(15))%16]
	}
	return r.write(ctx, frame)
}

// repeat sends an accepted frame again, as if its ACK had not been heard; the host must say ACK to that too.
func (r *run) repeat(ctx context.Context, frame []byte) error {
	if !r.hits(r.a.Faults.Repeat) {
		return nil
	}
	if err := r.write(ctx, frame); err != nil {
		return err
	}
	answer, err := r.answer()
	if err != nil {
		return r.abandon(err)
	}
	if answer != astm.ACK && answer != astm.EOT {
		return fmt.Errorf("a repeated frame was answered %#02x", answer)
	}
	return nil
}
