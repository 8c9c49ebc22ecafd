package queue

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"labagent/lab"
)

// Line is the way of one connection into the queue; two connections of one analyzer have two and never mix. It is used by
// one goroutine at a time.
type Line struct {
	q        *Queue
	analyzer string
	protocol string
	open     message // the message being received; the writer's
}

// message is a message being received.
type message struct {
	first, last uint64 // sequences of its pieces; 0: none is being received
	pieces      uint32
	size        uint32
}

// Line begins a line of the analyzer, whose pieces are those of the protocol ("astm", "hl7").
func (q *Queue) Line(analyzer, protocol string) *Line {
	return &Line{q: q, analyzer: analyzer, protocol: protocol}
}

const (
	// troubleMemory is how long a failed commit speaks against the next message; after that only a new try tells.
	troubleMemory = 5 * time.Second
	// wellAfter is how long nothing may have failed before a disk that stored nothing since counts as well again. Analyzers
	// that are told no come back in less, so that one trouble is not taken for many.
	wellAfter = 2 * time.Minute
	// stall is how long a commit may take before the disk counts as not answering: the patience of a line (house 3).
	stall = 10 * time.Second
)

var errStalled = errors.New("the disk has not answered for 10 s")

// Ready tells whether a message could be stored now, as far as that is known without trying: nil, ErrFull, or why not.
func (l *Line) Ready() error { return l.q.trial(troubleMemory) }

// Well is Ready for people: what failed speaks against the disk until something is stored again, or for two minutes.
func (q *Queue) Well() error { return q.trial(wellAfter) }

// trial tells why nothing could be stored now, if a failure counts for so long.
func (q *Queue) trial(memory time.Duration) error {
	select {
	case <-q.quit:
		return ErrClosed
	case <-q.stop:
		return ErrClosed
	default:
	}
	q.mu.RLock()
	defer q.mu.RUnlock()
	now := q.now()
	switch {
	case q.options.MaxSize > 0 && q.bytes >= q.options.MaxSize:
		return ErrFull
	case !q.since.IsZero() && now.Sub(q.since) >= stall:
		return errStalled
	case q.trouble != nil && now.Sub(q.troubleAt) < memory:
		return q.trouble
	}
	return nil
}

// Append stores the pieces in their order, all or none, and returns nil only when they are synced. Pieces marked Open or
// Refused hold nothing to store and are passed over. A piece marked Whole makes its message an item that waits; one marked
// Broken makes an incomplete item of what came before and of itself.
//
// After any error nothing of it is stored: ErrFull, a failed disk, ctx's own error when ctx ended first. What a stalled or
// failed commit stored all the same is taken back by the next commit, before any later Append of this line, and was never
// handed out. The texts must not be changed afterwards.
func (l *Line) Append(ctx context.Context, pieces []lab.Piece) error {
	return l.q.submit(ctx, &request{line: l, pieces: pieces, done: make(chan error, 1)})
}

// Close ends the line: a message that is still being received becomes incomplete. That is done even when ctx ends before.
func (l *Line) Close(ctx context.Context) error {
	return l.q.submit(ctx, l.closing(ReasonBroken))
}

func (l *Line) closing(reason string) *request {
	return &request{line: l, closing: true, reason: reason, done: make(chan error, 1),
		pieces: []lab.Piece{{Mark: lab.Broken}}}
}

// request is what somebody wants written: pieces of a line, or a change of an item.
type request struct {
	line    *Line
	pieces  []lab.Piece
	closing bool   // of the line: cannot be abandoned
	reason  string // of the item made incomplete

	id     uint64
	change func(note) (note, error)

	fate atomic.Int32
	done chan error // holds the one answer

	// Filled by the writer, for the commit under way.
	keys    []uint64
	arrived []arrival
	after   message // being received on the line afterwards
	bytes   int64
	now     note // after the change
}

// The fates of a request. Its sender and the writer each move it on by compare-and-swap, so that both know the same.
const (
	pending   = iota // waits for the writer
	taken            // in the commit under way
	answered         // the writer decided
	abandoned        // the sender went away
)

// arrival is an item that a request makes.
type arrival struct {
	id       uint64
	received int64
	cost     int64
	broken   bool
}

// errSame is the answer of a change that finds everything as it should be.
var errSame = errors.New("nothing to change")

// submit hands the request to the writer and waits for the answer, or for ctx or the queue to end.
func (q *Queue) submit(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil && !r.closing {
		return err
	}
	q.waitingMu.Lock()
	q.waiting = append(q.waiting, r)
	q.waitingMu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default: // the writer has been called already
	}
	var err error
	select {
	case err = <-r.done:
		return err
	case <-ctx.Done():
		err = ctx.Err()
	case <-q.quit:
		err = ErrClosed
	}
	if r.closing || r.fate.CompareAndSwap(pending, abandoned) || r.fate.CompareAndSwap(taken, abandoned) {
		return err
	}
	return <-r.done
}

// change asks for a change of an item.
func (q *Queue) change(id uint64, f func(note) (note, error)) error {
	err := q.submit(context.Background(), &request{id: id, change: f, done: make(chan error, 1)})
	if err != nil && err != errSame {
		return fmt.Errorf("item %d: %w", id, err)
	}
	return nil
}
