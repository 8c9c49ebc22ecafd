package driver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"labagent/lab"
)

const (
	readSize  = 16 << 10               // bytes of one read; two such buffers a line
	waitLimit = 1 << 20                // bytes that may wait for a verdict before the line stops reading
	writeWait = 10 * time.Second       // for one write, at least half of it; an analyzer that takes no byte for so long is gone
	grace     = 2 * time.Second        // after ctx has ended: to finish the answer that is due
	unheeded  = 250 * time.Millisecond // for a Store to return after its ctx has ended
	closeWait = 5 * time.Second        // for Store.Close
	maxQuirks = 32                     // different words kept with one piece
	tornWait  = 5 * time.Second        // between attempts to store that a message broke off
	headSize  = 64 << 10               // bytes of an open message kept to tell what a refused piece of it belongs to
)

var (
	errStuck = errors.New("the disk has not yet answered for what came before")
	errLate  = errors.New("the disk did not answer in time")
)

// line is one connection and its loop. A goroutine reads, another appends to the disk, and the loop alone touches the Talk:
// a loop that waited for the disk itself could run no timer, and after a stalled disk would send an ACK that the analyzer
// takes for the answer to something newer.
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

	now    time.Time
	chunks chan chunk
	free   chan []byte

	jobs    chan job
	done    chan error         // outcome of a job
	ctx     context.Context    // of the jobs; cancelled when patience ends
	cancel  context.CancelFunc //
	pieces  []lab.Piece        // of the current job
	asked   bool               // an Open is among what waits for the verdict
	busy    bool               // a verdict is outstanding
	late    bool               // its patience has ended
	denied  bool               // the disk said no the last time it was asked
	stray   bool               // a job was given up whose Append has not returned
	giveUp  time.Time          // when patience ends
	waiting int                // bytes that came and wait for a verdict, at least

	over    bool  // nothing is read any more
	broken  bool  // nothing is written any more
	cause   error // why the line ended, nil: ctx
	runOuts int

	writeBy time.Time // the deadline set on conn
	timer   *time.Timer
	armed   time.Time // when timer fires; never later than it must

	quirks  []string       // remarked since the last piece
	seen    map[string]int // remarks of this line
	refused []byte         // the last text told to Watch.Refused
	head    []byte         // what was stored of the open message, its beginning
	torn    bool           // the open message broke off, and that is not stored: nothing else may be before it is
	mend    time.Time      // when that is tried again
	added   bool           // the current job begins with it
	failing outage
}

type chunk struct {
	p   []byte
	err error
}

type job struct {
	ctx    context.Context
	pieces []lab.Piece
}

// run serves the line until the other side, an error, or ctx ends it.
func (l *line) run(ctx context.Context) error {
	l.now = time.Now()
	l.chunks, l.free = make(chan chunk), make(chan []byte, 2)
	l.free <- make([]byte, readSize)
	l.free <- make([]byte, readSize)
	l.jobs, l.done = make(chan job, 1), make(chan error, 1)
	l.timer, l.armed = time.NewTimer(0), l.now
	l.seen = map[string]int{}
	l.failing = outage{log: l.log, down: "not stored, the analyzer is told no", up: "storing again"}
	// What a line has begun to store may outlive ctx by the grace below.
	base := context.WithoutCancel(ctx)
	l.ctx, l.cancel = context.WithCancel(base)

	l.watch.LineUp(l.name)
	l.note("up")
	var helpers sync.WaitGroup
	helpers.Go(l.read)
	helpers.Go(l.keep)
	defer l.end(base, &helpers)
	// The loop may itself be held by a write when ctx ends.
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, func() { l.conn.Close() }) })()

	ended := ctx.Done()
	for {
		l.turn()
		if l.over && !l.busy {
			if l.runOut() {
				continue
			}
			return l.cause
		}
		chunks := l.chunks
		if l.over || l.waiting > waitLimit-readSize {
			chunks = nil
		}
		l.arm()
		select {
		case c := <-chunks:
			l.now = time.Now()
			l.feed(c)
		case err := <-l.done:
			l.now = time.Now()
			l.outcome(base, err)
		case <-l.timer.C:
			l.now, l.armed = time.Now(), time.Time{}
			l.due()
		case <-ended:
			l.now, ended = time.Now(), nil
			l.over = true
			if limit := l.now.Add(grace); l.busy && limit.Before(l.giveUp) {
				l.giveUp = limit
			}
		}
	}
}

// end closes what the line holds and waits for its goroutines.
func (l *line) end(base context.Context, helpers *sync.WaitGroup) {
	l.conn.Close()
	close(l.jobs)
	l.cancel()
	l.timer.Stop()
	for c := range l.chunks { // what came too late
		l.free <- c.p
	}
	helpers.Wait()
	ctx, cancel := context.WithTimeout(base, closeWait)
	defer cancel()
	if err := l.store.Close(ctx); err != nil {
		l.log.Warn("an open message could not be marked incomplete; that is done at the next start", "err", err)
	}
	if len(l.seen) > 0 {
		l.log.Debug("oddities of this line", "counts", l.seen)
	}
	l.note("down")
	l.watch.LineDown(l.name, l.cause)
}

// read carries bytes from the wire to the loop until the wire ends. It owns one buffer while the loop looks at the other.
func (l *line) read() {
	defer close(l.chunks)
	for err := error(nil); err == nil; {
		buf, n := <-l.free, 0
		for n == 0 && err == nil {
			n, err = l.conn.Read(buf[:readSize])
		}
		l.chunks <- chunk{buf[:n], err}
	}
}

// keep carries pieces from the loop to the disk.
func (l *line) keep() {
	for j := range l.jobs {
		l.done <- l.store.Append(j.ctx, j.pieces)
	}
}

// turn goes on until the Talk has nothing to write and nothing to hand up, or waits for a verdict.
func (l *line) turn() {
	for {
		l.write()
		if l.busy {
			return
		}
		l.take()
		l.write()
		switch {
		case len(l.pieces) > 0 && l.stray:
			l.verdict(errStuck)
		case len(l.pieces) > 0:
			l.jobs <- job{l.ctx, l.pieces}
			l.busy, l.late = true, false
			l.giveUp = l.now.Add(l.patience)
			if l.over {
				l.giveUp = l.now.Add(min(grace, l.patience))
			}
			return
		case l.asked:
			l.verdict(nil)
		default:
			l.waiting = 0
			return
		}
	}
}

// take collects what the Talk hands up for one verdict.
func (l *line) take() {
	l.pieces, l.asked = l.pieces[:0], false
	size := 0
	for {
		text, mark, ok := l.talk.Take()
		l.remark()
		if !ok {
			break
		}
		switch lab.Mark(mark) {
		case lab.Open:
			l.asked = true
		case lab.Refused:
			if !l.torn {
				text = slices.Concat(l.head, text)
			}
			l.tellRefused(text, l.reason())
		default:
			size += len(text)
			l.pieces = append(l.pieces, lab.Piece{Text: text, Mark: lab.Mark(mark), Received: l.now, Quirks: l.quirks})
			l.quirks = nil
		}
	}
	if l.added = l.torn && (l.asked || len(l.pieces) > 0 || !l.now.Before(l.mend)); l.added {
		l.pieces = slices.Insert(l.pieces, 0, lab.Piece{Mark: lab.Broken, Received: l.now})
	}
	// Exact would need the framing around each piece. This is never too little, and it is put right whenever nothing waits.
	l.waiting = max(l.waiting, size)
}

// verdict answers for what was taken last; stored is nil when its bytes are synced.
func (l *line) verdict(stored error) {
	open, broke := l.head, false
	if len(l.pieces) > 0 {
		l.denied = stored != nil
	}
	for _, p := range l.pieces {
		l.waiting = max(0, l.waiting-len(p.Text))
		broke = broke || p.Mark == lab.Broken
		text := slices.Concat(open, p.Text)
		open = text[:min(len(text), headSize)]
		if p.Mark == lab.More {
			continue
		}
		if stored == nil {
			l.watch.Message(p.Mark)
		} else if len(p.Text) > 0 && (p.Mark == lab.Broken || len(l.head) == 0) {
			// The last frame of a message of which some is stored is mostly offered again; the Talk tells if it is not.
			l.tellRefused(text, notStored)
		}
		open = nil
	}
	if stored == nil {
		l.head, l.torn = open, false
	} else if l.torn = broke && len(l.head) > 0; l.torn {
		l.mend = l.now.Add(tornWait)
	}
	why := stored
	if why == nil && l.asked {
		why = l.ready()
	}
	if why != nil {
		l.failing.begin(why)
		l.note("! no")
	} else {
		l.failing.end()
		l.note("! ok")
		l.refused = nil // what comes again after this was offered anew, and is told anew
	}
	if l.asked || len(l.pieces) > 1 || !l.added {
		l.talk.Verdict(l.now, why == nil)
	}
}

func (l *line) ready() error {
	if l.stray {
		return errStuck
	}
	return l.store.Ready()
}

// feed hands bytes to the Talk, or notes the end of the line.
func (l *line) feed(c chunk) {
	if len(c.p) > 0 {
		l.watch.Received(len(c.p))
		if l.wire != nil {
			l.wire.Record(l.wireName, '<', l.now, c.p)
		}
		if l.busy {
			l.waiting += len(c.p)
		}
		l.talk.Feed(l.now, c.p)
		l.remark()
	}
	if c.err != nil {
		l.over = true
		l.blame(c.err)
	}
	l.free <- c.p
}

// outcome looks at what Append returned.
func (l *line) outcome(base context.Context, err error) {
	if l.late {
		l.cancel()
		l.ctx, l.cancel = context.WithCancel(base)
		defer func() { l.pieces = nil }() // a Store whose ctx ended may still hold the slice
	}
	if l.stray {
		// The verdict was given without it; the Store takes back what came of it.
		l.stray, l.late = false, false
		return
	}
	if l.late && err != nil {
		err = errLate
	}
	l.busy = false
	l.verdict(err)
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

// write sends what the Talk wants to send.
func (l *line) write() {
	p := l.talk.Output()
	if len(p) == 0 || l.broken {
		return
	}
	if l.writeBy.Sub(l.now) < writeWait/2 { // setting it costs as much as a small write
		l.writeBy = l.now.Add(writeWait)
		l.conn.SetWriteDeadline(l.writeBy)
	}
	n, err := l.conn.Write(p)
	if n > 0 {
		l.watch.Sent(n)
		if l.wire != nil {
			l.wire.Record(l.wireName, '>', time.Now(), p[:n])
		}
	}
	if err != nil {
		l.broken, l.over = true, true
		l.blame(err)
		l.conn.Close()
	}
}

// blame keeps why the line ended: the first reason is the true one.
func (l *line) blame(err error) {
	if l.cause != nil {
		return
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("closed by the analyzer")
	}
	l.cause = err
}

// remark counts the oddities met since the last call and keeps them for the next piece.
func (l *line) remark() {
	for _, word := range l.talk.Remarks() {
		l.count(word)
		if len(l.quirks) < maxQuirks && !slices.Contains(l.quirks, word) {
			l.quirks = append(l.quirks, word)
		}
	}
}

func (l *line) count(word string) {
	l.watch.Remark(word)
	l.note("* " + word)
	if l.seen[word]++; l.seen[word] == 1 {
		l.log.Info("oddity, logged once a line", "word", word)
	}
}

func (l *line) reason() string {
	switch {
	case l.denied:
		return notStored
	case len(l.quirks) == 0:
		return "refused"
	}
	return strings.Join(l.quirks, " ")
}

// notStored is why a piece was refused that the disk did not take.
const notStored = "not stored"

// tellRefused tells of a piece that was turned away, once for all its repetitions until something is accepted.
func (l *line) tellRefused(text []byte, reason string) {
	if l.refused != nil && bytes.Equal(text, l.refused) {
		return
	}
	l.refused = text
	l.watch.Refused(text, reason)
}

func (l *line) note(word string) {
	if l.wire != nil {
		l.wire.Note(l.wireName, l.now, word)
	}
}
