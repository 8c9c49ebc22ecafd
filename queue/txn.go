package queue

import (
	"encoding/json"
	"slices"

	"go.etcd.io/bbolt"

	"labagent/lab"
)

// txn is one commit being put together. Until it is committed the memory of the queue stays as it was.
type txn struct {
	q         *Queue
	tx        *bbolt.Tx
	meta      *bbolt.Bucket
	records   *bbolt.Bucket
	open      *bbolt.Bucket
	items     *bbolt.Bucket
	done      *bbolt.Bucket
	history   *bbolt.Bucket
	planned   []*request        // what the commit answers for
	lines     map[*Line]message // the lines as they will be
	bytes     int64             // added to what is undelivered
	floor     uint64            // as it will be on disk
	delivered uint64            // kept afterwards
	reserved  bool              // the reserve is there
	wrote     bool
}

func (q *Queue) begin() (*txn, error) {
	tx, err := q.db.Begin(true)
	if err != nil {
		return nil, err
	}
	t := &txn{
		q: q, tx: tx,
		meta:    tx.Bucket(bucketMeta),
		records: tx.Bucket(bucketRecords),
		open:    tx.Bucket(bucketOpen),
		items:   tx.Bucket(bucketItems),
		done:    tx.Bucket(bucketDelivered),
		history: tx.Bucket(bucketHistory),
		lines:   map[*Line]message{},
		floor:   q.floor,
	}
	// Keys only grow, so a page that is full is never split again.
	t.records.FillPercent, t.done.FillPercent, t.history.FillPercent = 1, 1, 1
	t.delivered = t.done.Sequence()
	k, _ := tx.Bucket(bucketReserve).Cursor().First()
	t.reserved = k != nil
	q.arena = q.arena[:0]
	return t, nil
}

// plan writes the repairs and the batch into the transaction. What cannot be is answered at once; an error is the disk's.
func (t *txn) plan(batch []*request) error {
	if err := t.repair(); err != nil {
		return err
	}
	if slices.ContainsFunc(batch, func(r *request) bool { return len(r.pieces) > 0 && !r.closing }) {
		if err := t.hold(); err != nil {
			return err
		}
	}
	if err := t.sweep(); err != nil {
		return err
	}
	for _, r := range batch {
		if !r.take() {
			continue
		}
		refusal, err := t.store(r)
		if err != nil {
			return err
		}
		if refusal != nil {
			r.answer(refusal)
			continue
		}
		t.planned = append(t.planned, r)
	}
	if !t.wrote {
		return nil
	}
	return t.moveFloor()
}

// take makes the request the writer's, unless its sender went away before.
func (r *request) take() bool {
	r.keys, r.arrived, r.bytes = nil, nil, 0
	if r.line == nil || r.closing {
		r.fate.Store(taken)
		return true
	}
	return r.fate.CompareAndSwap(pending, taken)
}

// store writes what the request asks for; refusal is the answer when it cannot be.
func (t *txn) store(r *request) (refusal, err error) {
	if r.line == nil {
		return t.alter(r)
	}
	var text, pieces int
	for _, p := range r.pieces {
		if p.Mark == lab.More || p.Mark == lab.Whole {
			text, pieces = text+len(p.Text), pieces+1
		}
	}
	// What is torn off is stored even when the queue is full: it is little, and what was answered before hangs on it.
	if limit := t.q.options.MaxSize; limit > 0 && pieces > 0 && t.q.bytes+t.bytes+cost(text, pieces) > limit {
		return ErrFull, nil
	}
	before, planned := t.lines[r.line]
	if !planned {
		before = r.line.open
	}
	m := before
	for _, p := range r.pieces {
		switch {
		case p.Mark == lab.Broken && m.first == 0 && len(p.Text) == 0:
			continue
		case p.Mark == lab.More, p.Mark == lab.Whole, p.Mark == lab.Broken:
			if m, err = t.piece(r, m, p); err != nil {
				return nil, err
			}
		}
	}
	if len(r.keys) > 0 {
		if err := t.records.SetSequence(t.q.next - 1); err != nil {
			return nil, err
		}
	}
	if before.first != 0 && before.first != m.first {
		if err := t.open.Delete(key(before.first)); err != nil {
			return nil, err
		}
	}
	if m.first != 0 && m.last != before.last {
		if err := t.open.Put(key(m.first), key(m.last)); err != nil {
			return nil, err
		}
	}
	r.after, t.lines[r.line] = m, m
	t.bytes += r.bytes
	return nil, nil
}

// piece writes one piece of the message m and returns the message as it is afterwards.
func (t *txn) piece(r *request, m message, p lab.Piece) (message, error) {
	q := t.q
	rec := record{
		mark:     p.Mark,
		sequence: q.next,
		first:    m.first,
		previous: m.last,
		number:   m.pieces,
		offset:   m.size,
		received: nanos(p.Received),
		analyzer: r.line.analyzer,
		protocol: r.line.protocol,
		quirks:   p.Quirks,
		text:     p.Text,
	}
	q.next++
	if rec.first == 0 {
		rec.first = rec.sequence
	}
	if rec.received == 0 {
		rec.received = nanos(q.now())
	}
	start := len(q.arena)
	q.arena = rec.append(q.arena)
	if err := t.records.Put(key(rec.sequence), q.arena[start:len(q.arena):len(q.arena)]); err != nil {
		return m, err
	}
	t.wrote = true
	r.keys = append(r.keys, rec.sequence)
	r.bytes += cost(len(p.Text), 1)
	if p.Mark == lab.More {
		return message{first: rec.first, last: rec.sequence, pieces: m.pieces + 1, size: uint32(rec.size())}, nil
	}
	a := arrival{id: rec.sequence, received: rec.received, cost: rec.cost(), broken: p.Mark == lab.Broken}
	r.arrived = append(r.arrived, a)
	if a.broken {
		if err := t.items.Put(key(a.id), r.incomplete(a).encode()); err != nil {
			return m, err
		}
	}
	return message{}, nil
}

// incomplete is the note of an item that was torn off. Its one exception is what a person releases.
func (r *request) incomplete(a arrival) note {
	reason := r.reason
	if reason == "" {
		reason = ReasonBroken
	}
	return note{Analyzer: r.line.analyzer, Received: a.received, Cost: a.cost, State: Incomplete, Reason: reason,
		Changed: a.received, Exceptions: []Exception{{Part: -1, Result: -1, Reason: reason}}}
}

// alter writes a change of an item.
func (t *txn) alter(r *request) (refusal, err error) {
	n, known, err := t.note(r.id)
	if err != nil {
		return nil, err
	}
	if !known {
		return ErrUnknown, nil
	}
	n, refusal = r.change(n)
	if refusal != nil {
		return refusal, nil
	}
	n.Changed = nanos(t.q.now())
	r.now = n
	t.wrote = true
	return nil, t.put(r.id, n)
}

// note is what is known of the item, also when it merely waits.
func (t *txn) note(id uint64) (n note, known bool, err error) {
	if n, known := t.q.known(id); known {
		return n, true, nil
	}
	if v := t.done.Get(key(id)); v != nil {
		err := json.Unmarshal(v, &n)
		return n, true, err
	}
	return note{}, false, nil
}

// known is what the memory knows of the item; delivered ones it does not know.
func (q *Queue) known(id uint64) (note, bool) {
	if n, found := q.notes[id]; found {
		return n, true
	}
	for analyzer, l := range q.lanes {
		if i, found := l.search(id); found {
			e := (*l)[i]
			return note{Analyzer: analyzer, Received: e.received, Cost: e.cost, State: Waiting, Changed: e.received}, true
		}
	}
	return note{}, false
}

// put writes the note into the bucket of its state and takes it out of the others.
func (t *txn) put(id uint64, n note) error {
	if err := t.undeliver(id); err != nil {
		return err
	}
	if n.State != Delivered {
		return t.items.Put(key(id), n.encode())
	}
	if err := t.items.Delete(key(id)); err != nil {
		return err
	}
	if err := t.done.Put(key(id), n.encode()); err != nil {
		return err
	}
	if err := t.history.Put(historyKey(n.Changed, id), nil); err != nil {
		return err
	}
	t.delivered++
	return t.done.SetSequence(t.delivered)
}

// undeliver forgets that the item was delivered, if it was.
func (t *txn) undeliver(id uint64) error {
	v := t.done.Get(key(id))
	if v == nil {
		return nil
	}
	var n note
	if err := json.Unmarshal(v, &n); err == nil {
		if err := t.history.Delete(historyKey(n.Changed, id)); err != nil {
			return err
		}
	}
	t.delivered--
	if err := t.done.SetSequence(t.delivered); err != nil {
		return err
	}
	return t.done.Delete(key(id))
}

// restate makes the disk say of the item what the memory says.
func (t *txn) restate(id uint64) error {
	if n, noted := t.q.notes[id]; noted {
		return t.put(id, n)
	}
	if err := t.undeliver(id); err != nil {
		return err
	}
	return t.items.Delete(key(id))
}

// moveFloor writes the lowest item that waits without a note, as it was before this commit: too low is harmless.
func (t *txn) moveFloor() error {
	t.floor = t.q.next
	for _, r := range t.planned {
		if len(r.keys) > 0 {
			t.floor = min(t.floor, r.keys[0])
		}
	}
	for _, l := range t.q.lanes {
		for _, e := range *l {
			if _, noted := t.q.notes[e.id]; !noted {
				t.floor = min(t.floor, e.id)
				break
			}
		}
	}
	if t.floor == t.q.floor {
		return nil
	}
	return t.meta.Put(keyFloor, key(t.floor))
}
