package simulate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"labagent/hl7"
)

// ackTimeout is how long analyzers wait for an HL7 acknowledgement; the standard names no time.
const ackTimeout = 30 * time.Second

// hl7Text writes a message as OUL^R22 in the order IHE LAW has it.
func (r *run) hl7Text(m *message) []byte {
	var b strings.Builder
	segment := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r", args...) }
	measured := r.wall(m.measured)
	segment(`MSH|^~\&|%s||labagent||%s||OUL^R22^OUL_R22|%d|P|2.5.1|||NE|AL||UNICODE UTF-8`, r.a.Name, r.wall(time.Now()), m.number)
	segment(`PID|1`)
	segment(`SPM|1|%s||BLD|||||||P`, m.specimen)
	segment(`OBR|1|""|%s|PANEL^Panel^99SIM|||%s||||||||||||||||||F`, m.specimen, measured)
	for i, res := range m.results {
		kind := "NM"
		if len(res.test.Words) > 0 {
			kind = "ST"
		}
		segment(`OBX|%d|%s|%s^^99SIM||%s|%s|%s|%s|||F||||||||%s`,
			i+1, kind, res.test.Code, res.value, res.test.Unit, res.test.bounds("-"), res.flag, measured)
	}
	return []byte(b.String())
}

// sendHL7 sends messages one behind the other and then reads the acknowledgements, which come in the same order.
func (r *run) sendHL7(ctx context.Context, batch []*message) error {
	for _, m := range batch {
		r.ledger.sending(m)
		if err := r.putBlock(ctx, hl7.Frame(nil, r.hl7Text(m))); err != nil {
			return err
		}
	}
	waiting := slices.Clone(batch)
	refused := false
	due := time.Now().Add(orElse(r.a.Timing.Reply, ackTimeout))
	for len(waiting) > 0 {
		ack, err := r.acknowledgement(due)
		if errors.Is(err, errTimeout) {
			r.ledger.count(func(c *Counts) { c.Timeouts++ })
			return errSilent
		}
		if err != nil {
			return err
		}
		at := slices.IndexFunc(waiting, func(m *message) bool { return strconv.Itoa(m.number) == ack.control })
		if at < 0 { // of an earlier flight, or the second of a block sent twice
			r.ledger.count(func(c *Counts) { c.Stray++ })
			continue
		}
		if at > 0 {
			r.ledger.count(func(c *Counts) { c.Disorder++ })
		}
		m := waiting[at]
		waiting = slices.Delete(waiting, at, at+1)
		if ack.code == "AA" || ack.code == "CA" {
			m.acknowledged = true
			r.ledger.acceptedAll(m)
			r.ledger.acknowledged(m)
			continue
		}
		r.ledger.count(func(c *Counts) { c.Refusals++ })
		refused = true
	}
	if refused {
		return errRefused
	}
	return nil
}

// putBlock writes a block, or what the faults leave of it.
func (r *run) putBlock(ctx context.Context, block []byte) error {
	f := r.a.Faults
	if r.hits(f.Garbage) {
		if err := r.write(ctx, r.garbage()); err != nil {
			return err
		}
	}
	switch {
	case r.hits(f.Drop):
		return nil
	case r.hits(f.Torn): // and then from its beginning
		if err := r.write(ctx, r.part(block)); err != nil {
			return err
		}
	case r.hits(f.Disconnect):
		if err := r.write(ctx, r.part(block)); err != nil {
			return err
		}
		return errCut
	case r.hits(f.Repeat):
		if err := r.write(ctx, block); err != nil {
			return err
		}
	}
	return r.write(ctx, block)
}

// ack is what an acknowledgement says.
type ack struct{ code, control string }

func (r *run) acknowledgement(due time.Time) (ack, error) {
	for {
		if payload, rest, found := hl7.Cut(r.line.rest); found {
			a, err := readAck(payload)
			r.line.rest = bytes.Clone(rest)
			return a, err
		}
		if err := r.line.more(due); err != nil {
			return ack{}, err
		}
	}
}

func readAck(payload []byte) (ack, error) {
	m, err := hl7.Parse(bytes.Clone(payload))
	if err != nil {
		return ack{}, fmt.Errorf("read acknowledgement: %w", err)
	}
	for _, s := range m.Segments {
		if s.Name() == "MSA" {
			return ack{code: string(s.Field(1)), control: string(s.Field(2))}, nil
		}
	}
	return ack{}, errors.New("read acknowledgement: no MSA in it")
}
