// Package simulate is a scripted laboratory analyzer: it sends invented results over ASTM (LIS01-A2, the sender of annex A)
// or HL7 v2 (MLLP, IHE LAW's OUL^R22) as a real one would, misbehaves on request, and keeps a ledger of what it sent and
// what was acknowledged, to be held against what a server has in the end. It also plays .talk files on a wire.
//
// Left out: being asked and being given orders; a host that wants to send is told to wait.
package simulate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// Analyzer is one scripted analyzer. The zero value of each field but Protocol and Dial is useful; a field is not to be
// changed while Run is under way.
type Analyzer struct {
	Name     string // how it calls itself in H.5 or MSH-3
	Protocol string // "astm" or "hl7"
	Dial     Dial   // how it reaches its host, again after every break

	Seed      uint64         // what it measures, and when it misbehaves; the same seed gives the same
	First     int            // number of its first message; specimens are numbered alike
	Messages  int            // how many to send; 0: until the context ends
	Panel     []Test         // what it measures of each specimen; nil: Hematology
	Zone      *time.Location // its wall clock's; nil: UTC
	FrameSize int            // ASTM: bytes of text a frame, cut anywhere; 0: a record a frame
	Together  int            // ASTM: messages a session; HL7: messages in flight; 0: 1
	Pause     time.Duration  // between sessions, or between flights
	Tries     int            // how often a message is offered before it is given up; 0: for ever
	Timing    Timing
	Faults    Faults
	Ledger    *Ledger // where it keeps its account; nil: the account of this Run alone, which is then lost
}

// Timing is how long the analyzer waits; zero is the standard, or what most analyzers do.
type Timing struct {
	Reply time.Duration // for an answer: 15 s in ASTM (LIS01-A2 8.5.2), 30 s in HL7
	Busy  time.Duration // after a NAK to its ENQ: 10 s (LIS01-A2 8.2)
	Yield time.Duration // after its ENQ met another: 1 s (LIS01-A2 8.2.7.1)
	Retry time.Duration // before a message is offered again, or a connection tried again: 1 s
}

// What a message or session ends with when it did not end well. The message is kept and offered again.
var (
	errRefused = errors.New("refused by the host")
	errSilent  = errors.New("no answer from the host")
	errCut     = errors.New("connection cut by the script")
)

// Run sends the messages. It returns nil when all were acknowledged or given up, or when ctx is done; what stayed without an
// acknowledgement is in the ledger. It returns an error when it cannot dial any more (net.ErrClosed).
func (a *Analyzer) Run(ctx context.Context) error {
	send, err := a.sender()
	if err != nil {
		return err
	}
	r := &run{a: a, ledger: a.Ledger, chance: rand.New(rand.NewPCG(a.Seed, 0xfa17)), panel: a.Panel}
	if r.ledger == nil {
		r.ledger = &Ledger{}
	}
	if r.panel == nil {
		r.panel = Hematology
	}
	defer r.hangUp()
	for next := a.First; a.Messages == 0 || next < a.First+a.Messages; {
		var batch []*message
		for len(batch) < max(1, a.Together) && (a.Messages == 0 || next < a.First+a.Messages) {
			batch = append(batch, r.invent(next))
			next++
		}
		err := r.deliver(ctx, batch, send)
		if err == nil && r.hits(a.Faults.Resend) {
			err = r.deliver(ctx, forgotten(batch), send)
		}
		if err == nil {
			err = sleep(ctx, a.Pause)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type sender func(*run, context.Context, []*message) error

func (a *Analyzer) sender() (sender, error) {
	switch a.Protocol {
	case "astm":
		return (*run).sendASTM, nil
	case "hl7":
		return (*run).sendHL7, nil
	}
	return nil, fmt.Errorf("simulate: protocol %q is neither astm nor hl7", a.Protocol)
}

// run is the state of one Run.
type run struct {
	a      *Analyzer
	ledger *Ledger
	panel  []Test
	chance *rand.Rand
	line   *line // nil: not connected
}

// deliver offers a batch until each message is acknowledged or given up.
func (r *run) deliver(ctx context.Context, batch []*message, send sender) error {
	for try := 1; ; try++ {
		if err := r.connect(ctx); err != nil {
			return err
		}
		err := send(r, ctx, batch)
		if err != nil && !errors.Is(err, errRefused) && !errors.Is(err, errSilent) {
			r.hangUp()
		}
		batch = open(batch)
		if len(batch) == 0 || try == r.a.Tries {
			return nil
		}
		if err := sleep(ctx, r.a.Timing.retry()); err != nil {
			return err
		}
	}
}

// open are the messages of a batch that wait for an acknowledgement.
func open(batch []*message) []*message {
	var left []*message
	for _, m := range batch {
		if !m.acknowledged {
			left = append(left, m)
		}
	}
	return left
}

// forgotten are the messages as if nothing had been acknowledged.
func forgotten(batch []*message) []*message {
	for _, m := range batch {
		m.acknowledged = false
	}
	return batch
}

// connect dials until there is a connection, or none will come any more.
func (r *run) connect(ctx context.Context) error {
	for r.line == nil {
		conn, err := r.a.Dial(ctx)
		switch {
		case err == nil:
			r.line = newLine(ctx, conn)
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			if err := sleep(ctx, r.a.Timing.retry()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) hangUp() {
	if r.line != nil {
		r.line.close()
		r.line = nil
	}
}

// sleep waits, or returns why ctx ended before.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func (t Timing) retry() time.Duration { return orElse(t.Retry, time.Second) }

// Once is a Dial for a connection that is there already; when it is asked for another, Run ends with net.ErrClosed.
func Once(conn io.ReadWriteCloser) Dial {
	used := false
	return func(context.Context) (io.ReadWriteCloser, error) {
		if used {
			return nil, fmt.Errorf("dial again: %w", net.ErrClosed)
		}
		used = true
		return conn, nil
	}
}
