package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"

	"labagent/lab"
)

const (
	readSize  = 64 << 10               // bytes of one read; two such buffers a line
	waitLimit = 1 << 20                // bytes that may wait for a verdict before the line stops reading
	writeWait = 10 * time.Second       // for one write, at least half of it; an analyzer that takes no byte for so long is gone
	brisk     = time.Millisecond       // a disk that answers within this needs no second goroutine
	unheeded  = 250 * time.Millisecond // for a Store to return after its ctx has ended
	grace     = 2 * time.Second        // after ctx has ended: to finish the answer that is due
	closeWait = 5 * time.Second        // for Store.Close
	maxQuirks = 32                     // different words kept with one piece
	tornWait  = 5 * time.Second        // between attempts to store that a message broke off
	headSize  = 64 << 10               // bytes of an open message kept to tell what a refused piece of it belongs to
)

// line is one connection and its loop. A goroutine reads, Append runs beside the loop, and the loop alone touches the Talk:
// a loop that waited for the disk could run no timer, and after a stalled disk would send an ACK that the analyzer takes for
// the answer to something newer.
//
// Bytes, outcomes, time and the end of ctx come to the loop through one channel, and a quick disk is asked by the loop's own
// goroutine: switching goroutines costs as much as reading a message. When the disk is not quick, another goroutine takes
// the loop over and the one that asked ends by handing in the outcome. At any time one goroutine has the loop, so that
// there is nothing to lock.
type line struct {
	name     string
	wireName string
	conn     Conn
	talk     Talk
	store    Store
	watch    Watcher
	wire     WireLog
	log      *slog.Logger
	patience time.Duration

	events   chan event
	finished chan struct{} // closed when the loop has ended
	free     chan []byte   // buffers for the reader
	parked   [][]byte      // kept from it, so that it stops reading
	now      time.Time     // of the event

	over      bool  // what comes is no longer looked at
	broken    bool  // nothing is written any more
	readEnded bool  // the reader is gone
	cause     error // why the line ended, nil: ctx
	runOuts   int

	timer    *time.Timer
	armed    time.Time // when timer fires; never later than it must
	takeOver *time.Timer
	writeBy  time.Time // the deadline set on conn

	base    context.Context    // of what may outlive the ctx of the line
	ctx     context.Context    // of Append; cancelled when patience ends
	cancel  context.CancelFunc //
	pieces  []lab.Piece        // taken, for one verdict
	asked   bool               // an Open is among what waits for the verdict
	busy    bool               // a verdict is outstanding
	late    bool               // its patience has ended
	denied  bool               // the disk said no the last time it was asked
	stray   bool               // a verdict was given without Append, which has not returned
	giveUp  time.Time          // when patience ends
	waiting int                // bytes that came and wait for a verdict, at least

	quirks  []string       // remarked since the last piece
	seen    map[string]int // remarks of this line
	refused []byte         // the last text told to Watch.Refused
	head    []byte         // what was stored of the open message, its beginning
	torn    bool           // the open message broke off, and that is not stored: nothing else may be before it is
	mend    time.Time      // when that is tried again
	added   bool           // the current job begins with it
	failing outage
}

// event is what the loop waits for.
type event struct {
	kind kind
	p    []byte // arrived
	err  error  // arrived: the end of the line; stored: the outcome
}

type kind uint8

const (
	arrived kind = iota // bytes, or the end of the line
	stored              // Append has returned
	tick                // the timer
	ended               // ctx
)

// run serves the line until the other side, an error, or ctx ends it.
func (l *line) run(ctx context.Context) error {
	l.now = time.Now()
	l.events, l.finished = make(chan event, 4), make(chan struct{})
	l.free = make(chan []byte, 2)
	l.free <- make([]byte, readSize)
	l.free <- make([]byte, readSize)
	l.timer = stopped(func() { l.tell(event{kind: tick}) })
	l.takeOver = stopped(l.loop)
	l.seen = map[string]int{}
	l.failing = outage{log: l.log, down: "not stored, the analyzer is told no", up: "storing again"}
	l.base = context.WithoutCancel(ctx)
	l.ctx, l.cancel = context.WithCancel(l.base)

	l.watch.LineUp(l.name)
	l.note("up")
	go l.read()
	stop := context.AfterFunc(ctx, func() {
		// The loop may itself be held by a write.
		time.AfterFunc(grace, func() { l.conn.Close() })
		l.tell(event{kind: ended})
	})
	defer stop()
	l.loop()
	<-l.finished
	l.end()
	return l.cause
}

// stopped is a timer that runs f, not yet set.
func stopped(f func()) *time.Timer {
	t := time.AfterFunc(time.Hour, f)
	t.Stop()
	return t
}

// tell gives the loop an event, unless it has ended.
func (l *line) tell(e event) {
	select {
	case l.events <- e:
	case <-l.finished:
	}
}

// read carries bytes from the wire to the loop until the wire ends. It owns one buffer while the loop looks at the other.
func (l *line) read() {
	for err := error(nil); err == nil; {
		buf, n := <-l.free, 0
		for n == 0 && err == nil {
			n, err = l.conn.Read(buf[:readSize])
		}
		l.events <- event{arrived, buf[:n], err}
	}
}

// loop serves events until the line ends, or until another goroutine has taken the loop over.
func (l *line) loop() {
	inStore := false
	defer func() {
		if inStore {
			return // a fault of the disk's side is not ours to hide, and the loop may be another's
		}
		if fault := recover(); fault != nil {
			l.fail(fault)
			close(l.finished)
		}
	}()
	for {
		if l.turn() {
			ctx, pieces := l.ctx, l.pieces // the loop may be another's from the next line on
			l.takeOver.Reset(brisk)
			inStore = true
			err := l.store.Append(ctx, pieces)
			inStore = false
			if !l.takeOver.Stop() {
				inStore = true
				l.events <- event{kind: stored, err: err}
				return
			}
			l.outcome(err)
			continue
		}
		if l.over && !l.busy {
			if l.runOut() {
				continue
			}
			close(l.finished)
			return
		}
		l.unpark()
		l.arm()
		e := <-l.events
		l.now = time.Now()
		switch e.kind {
		case arrived:
			l.feed(e)
		case stored:
			l.outcome(e.err)
		case tick:
			l.armed = time.Time{}
			l.due()
		case ended:
			l.over = true
			if limit := l.now.Add(grace); limit.Before(l.giveUp) {
				l.giveUp = limit
			}
		}
	}
}

// fail ends the line after a fault of ours: the trouble of one analyzer, or of one of its messages, never stops another.
func (l *line) fail(fault any) {
	text := fmt.Sprintf("%T", fault) // the value may hold what came over the wire
	if known, ok := fault.(runtime.Error); ok {
		text = known.Error()
	}
	l.log.Error("line ended by a fault of labagent", "fault", text, "stack", string(debug.Stack()))
	l.cause = errors.New("fault of labagent")
}

// end closes what the line holds and waits for its goroutines.
func (l *line) end() {
	l.conn.Close()
	l.cancel()
	l.timer.Stop()
	l.waiting = 0
	l.unpark()
	for l.over = true; !l.readEnded || l.busy || l.stray; {
		switch e := <-l.events; e.kind {
		case arrived:
			l.feed(e)
		case stored:
			l.busy, l.stray = false, false
		}
	}
	ctx, cancel := context.WithTimeout(l.base, closeWait)
	defer cancel()
	if err := l.store.Close(ctx); err != nil {
		l.log.Warn("an open message could not be marked incomplete; that is done at the next start", "error", err)
	}
	if len(l.seen) > 0 {
		l.log.Debug("oddities of this line", "counts", l.seen)
	}
	l.note("down")
	l.watch.LineDown(l.name, l.cause)
}

// feed hands bytes to the Talk, or notes the end of the line.
func (l *line) feed(e event) {
	if e.err != nil {
		l.readEnded = true
	}
	if !l.over && len(e.p) > 0 {
		l.watch.Received(len(e.p))
		if l.wire != nil {
			l.wire.Record(l.wireName, '<', l.now, e.p)
		}
		if l.busy {
			l.waiting += len(e.p)
		}
		l.talk.Feed(l.now, e.p)
		l.remark()
	}
	if e.err != nil {
		l.blame(e.err)
		l.over = true
	}
	l.parked = append(l.parked, e.p)
	if l.over {
		l.unpark()
	}
}

// unpark gives the reader its buffers, unless too much waits for a verdict already.
func (l *line) unpark() {
	if l.waiting > waitLimit-2*readSize {
		return
	}
	for _, p := range l.parked {
		l.free <- p
	}
	l.parked = l.parked[:0]
}

// outcome looks at what Append returned.
func (l *line) outcome(err error) {
	late := l.late
	if late {
		l.late = false
		l.cancel()
		l.ctx, l.cancel = context.WithCancel(l.base)
	}
	switch {
	case l.stray:
		// The verdict was given without it; the Store takes back what came of it.
		l.stray = false
	case late && err != nil:
		l.busy = false
		l.verdict(errLate)
	default:
		l.busy = false
		l.verdict(err)
	}
	if late {
		l.pieces = nil // a Store whose ctx ended may still hold the slice
	}
}

// due does what time asks for: the Talk's own timers, and the end of our patience with the disk. A Store that does not
// return although its ctx has ended is left alone and nothing more is given to it until it has.
func (l *line) due() {
	if l.busy && !l.now.Before(l.giveUp) {
		if !l.late {
			l.late = true
			l.giveUp = l.now.Add(unheeded)
			l.count("late")
			l.cancel()
		} else {
			l.busy, l.stray = false, true
			l.verdict(errLate)
			l.pieces = nil
		}
	}
	if at := l.talk.Deadline(); !at.IsZero() && !l.now.Before(at) {
		l.talk.Feed(l.now, nil)
		l.remark()
	}
}

// runOut lets time run out for a Talk that gets no more bytes, so that it gives out what it still holds, and tells whether
// there is something to do.
func (l *line) runOut() bool {
	at := l.talk.Deadline()
	if at.IsZero() || l.runOuts == 8 {
		return false
	}
	l.runOuts++
	if at.Before(l.now) {
		at = l.now
	}
	l.talk.Feed(at, nil)
	l.remark()
	return true
}

// arm sets the timer. It is left alone while it fires early enough: most deadlines are moved on before they come.
func (l *line) arm() {
	at := l.talk.Deadline()
	if l.busy && (at.IsZero() || l.giveUp.Before(at)) {
		at = l.giveUp
	}
	if l.torn && !l.busy && (at.IsZero() || l.mend.Before(at)) {
		at = l.mend
	}
	if at.IsZero() || !l.armed.IsZero() && !at.Before(l.armed) {
		return
	}
	l.armed = at
	l.timer.Reset(time.Until(at))
}

// blame keeps why the line ended: the first reason is the true one, and none is needed after ctx.
func (l *line) blame(err error) {
	if l.over {
		return
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("closed by the analyzer")
	}
	l.cause = err
}
