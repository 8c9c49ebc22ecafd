package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// What one commit takes at most; a single request is never cut.
const (
	batchPieces = 1024
	batchBytes  = 4 << 20
)

// tidyEvery is how often an idle queue looks for delivered items that have been kept long enough; a busy one does so with
// every commit.
const tidyEvery = time.Minute

// Run writes what is asked for until ctx is done or Close is called; what was asked for until then is still written. There
// is no timer before a commit: what comes while one is under way shares the next.
func (q *Queue) Run(ctx context.Context) error {
	switch first, closed := q.begun(); {
	case closed:
		return nil
	case !first:
		return errors.New("the queue runs already")
	}
	defer close(q.quit)

	var keeper sync.WaitGroup
	defer keeper.Wait()
	defer q.refused.stop()
	keeper.Go(q.refused.run)

	if q.owes() {
		q.write(nil)
	}
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	for {
		select {
		case <-q.wake:
			q.serve()
		case <-tidy.C:
			q.tidy()
		case <-q.stop:
			q.finish()
			return nil
		case <-ctx.Done():
			q.finish()
			return nil
		}
	}
}

// begun marks the queue as running and tells whether it was not before, and whether it is closed.
func (q *Queue) begun() (first, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	first, q.started = !q.started, true
	select {
	case <-q.stop:
		closed = true
	default:
	}
	return first, closed
}

// serve writes all that waits.
func (q *Queue) serve() {
	for {
		// The senders that the last commit answered are about to ask again; let them come in before the next begins.
		runtime.Gosched()
		batch := q.collect()
		if len(batch) == 0 {
			return
		}
		q.write(batch)
	}
}

// finish is the last that the writer does: what waits, and what failed or came late before.
func (q *Queue) finish() {
	q.serve()
	if q.owes() {
		q.write(nil)
	}
}

// collect takes what waits, as much as one commit holds. It stops before a second request of the same line or item, since
// that one builds on what the first will have done.
func (q *Queue) collect() []*request {
	q.waitingMu.Lock()
	defer q.waitingMu.Unlock()
	lines, items := map[*Line]bool{}, map[uint64]bool{}
	pieces, size, n := 0, 0, 0
	for _, r := range q.waiting {
		if r.line != nil && lines[r.line] || r.line == nil && items[r.id] {
			break
		}
		pieces += len(r.pieces)
		for _, p := range r.pieces {
			size += len(p.Text)
		}
		if n > 0 && (pieces > batchPieces || size > batchBytes) {
			break
		}
		lines[r.line], items[r.id] = true, true
		n++
	}
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	if len(q.waiting) == 0 {
		q.waiting = nil // what was written is not kept in memory
	}
	return batch
}

// write puts the batch into one commit and answers. After a failed commit the reserve is given up, and another commit
// follows without the pieces, which takes back what the first may have stored and tries the changes of items once more: a
// full disk must not stop the delivery that empties it. After a late commit another takes back what nobody waited for.
func (q *Queue) write(batch []*request) {
	again := q.again
	q.again = nil
	batch = append(again, batch...)
	if q.transact(batch) == nil {
		if !q.repairs.empty() {
			q.transact(nil)
		}
		return
	}
	if err := q.release(); err != nil {
		q.log.Warn("the reserve of the queue cannot be given up", "error", err)
	}
	changes := slices.DeleteFunc(batch, func(r *request) bool { return r.line != nil })
	if err := q.transact(changes); err != nil {
		for _, r := range changes {
			r.answer(err)
		}
	}
}

// transact is one commit: first the repairs, then the batch. On success everything is answered; on failure the pieces are,
// the changes of items are left to the caller.
func (q *Queue) transact(batch []*request) error {
	q.mu.Lock()
	q.since = q.now()
	q.mu.Unlock()
	t, err := q.begin()
	if err == nil {
		err = t.plan(batch)
		switch {
		case err != nil || !t.wrote:
			t.tx.Rollback()
		default:
			err = q.commit(t.tx)
		}
	}
	if cap(q.arena) > batchBytes {
		q.arena = nil
	}
	if err != nil {
		err = fmt.Errorf("store on disk: %w", err)
		q.failed(t, batch, err)
		return err
	}
	q.committed(t)
	return nil
}

// committed makes known what is on disk now, and answers. What nobody waits for any more is not made known: it is taken
// back instead.
func (q *Queue) committed(t *txn) {
	if t.wrote {
		q.repairs = repairs{}
	}
	q.mu.Lock()
	q.since = time.Time{}
	if t.wrote {
		q.floor, q.delivered = t.floor, int(t.delivered)
	}
	woken, stored := false, false
	for _, r := range t.planned {
		switch {
		case r.line == nil:
			woken = q.publishChange(r) || woken
		case r.closing || r.fate.CompareAndSwap(taken, answered):
			woken = q.publishPieces(r) || woken
			stored = stored || len(r.keys) > 0 && !r.closing
		default:
			q.repairs.takeBack(r)
		}
	}
	if stored && q.trouble != nil {
		q.log.Info("the queue stores again")
		q.trouble = nil
	}
	if woken {
		close(q.changed)
		q.changed = make(chan struct{})
	}
	q.mu.Unlock()
	for _, r := range t.planned {
		r.answer(nil)
	}
}

// failed answers the pieces and notes what may have been stored in spite of the error: when the second sync of a commit
// fails, it has been.
func (q *Queue) failed(t *txn, batch []*request, err error) {
	q.mu.Lock()
	q.since = time.Time{}
	if q.trouble == nil {
		q.log.Error("the queue cannot store", "error", err)
	}
	q.trouble, q.troubleAt = err, q.now()
	q.mu.Unlock()
	if t != nil {
		for _, r := range t.planned {
			if r.line == nil {
				q.repairs.restate(r.id)
				continue
			}
			q.repairs.takeBack(r)
		}
	}
	for _, r := range batch {
		if r.line == nil {
			continue
		}
		r.answer(err)
		if r.closing {
			q.again = append(q.again, r)
		}
	}
}

// answer gives the one answer; a second one, as to a closing that had to be repeated, is dropped.
func (r *request) answer(err error) {
	if !r.fate.CompareAndSwap(taken, answered) {
		r.fate.CompareAndSwap(pending, answered)
	}
	select {
	case r.done <- err:
	default:
	}
}

// publishPieces makes the request's pieces known and tells whether an item waits now that did not before.
func (q *Queue) publishPieces(r *request) (woken bool) {
	r.line.open = r.after
	q.bytes += r.bytes
	for _, a := range r.arrived {
		if !a.broken {
			q.lane(r.line.analyzer).insert(entry{id: a.id, received: a.received, cost: a.cost})
			woken = true
			continue
		}
		q.notes[a.id] = r.incomplete(a)
	}
	return woken
}

// publishChange makes the new state of an item known.
func (q *Queue) publishChange(r *request) (woken bool) {
	n := r.now
	delete(q.tries, r.id)
	delete(q.notes, r.id)
	if n.State == Delivered {
		q.lane(n.Analyzer).remove(r.id)
		q.bytes -= n.Cost
		return false
	}
	q.notes[r.id] = n
	if n.State == Waiting {
		q.lane(n.Analyzer).insert(entry{id: r.id, received: n.Received, cost: n.Cost})
		return true
	}
	q.lane(n.Analyzer).remove(r.id)
	return false
}

// owes tells whether something is left to do that no request asks for.
func (q *Queue) owes() bool { return len(q.again) > 0 || !q.repairs.empty() }

// tidy does what is left to do and removes what has been kept long enough, when nobody asks for anything.
func (q *Queue) tidy() {
	if q.owes() {
		q.write(nil)
	}
	q.refill()
	for q.transact(nil) == nil && q.swept == sweepItems {
	}
}
