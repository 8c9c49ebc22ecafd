package queue

import "go.etcd.io/bbolt"

// repairs is what the next commit puts right before it does anything else. Each of it is harmless when there is nothing to
// put right, and it stays small however often a dead disk is tried.
type repairs struct {
	spans []span          // sequences of pieces that must not be stored: their commit failed or came too late
	lines map[*Line]bool  // lines whose open message may stand wrong on disk
	items map[uint64]bool // items whose state may
}

// span is the sequences from the first up to, not including, the end.
type span struct{ from, end uint64 }

func (r *repairs) empty() bool { return len(r.spans)+len(r.lines)+len(r.items) == 0 }

// takeBack notes that nothing of the request may stay.
func (r *repairs) takeBack(q *request) {
	if len(q.keys) == 0 {
		return
	}
	s := span{q.keys[0], q.keys[len(q.keys)-1] + 1}
	if n := len(r.spans); n > 0 && r.spans[n-1].end == s.from {
		r.spans[n-1].end = s.end
	} else {
		r.spans = append(r.spans, s)
	}
	if q.line.open.first != 0 {
		if r.lines == nil {
			r.lines = map[*Line]bool{}
		}
		r.lines[q.line] = true
	}
}

// restate notes that the item on disk may differ from the item in memory.
func (r *repairs) restate(id uint64) {
	if r.items == nil {
		r.items = map[uint64]bool{}
	}
	r.items[id] = true
}

// repair does what is noted.
func (t *txn) repair() error {
	r := &t.q.repairs
	t.wrote = t.wrote || !r.empty()
	for _, s := range r.spans {
		for _, b := range []*bbolt.Bucket{t.records, t.items, t.open} {
			if err := deleteSpan(b, s); err != nil {
				return err
			}
		}
	}
	for l := range r.lines {
		if err := t.open.Put(key(l.open.first), key(l.open.last)); err != nil {
			return err
		}
	}
	for id := range r.items {
		if err := t.restate(id); err != nil {
			return err
		}
	}
	return nil
}

// deleteSpan deletes what there is between two keys.
func deleteSpan(b *bbolt.Bucket, s span) error {
	var found []uint64
	c := b.Cursor()
	for k, _ := c.Seek(key(s.from)); k != nil && sequenceOf(k) < s.end; k, _ = c.Next() {
		found = append(found, sequenceOf(k))
	}
	for _, at := range found {
		if err := b.Delete(key(at)); err != nil {
			return err
		}
	}
	return nil
}
