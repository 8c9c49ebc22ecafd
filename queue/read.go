package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"labagent/lab"
)

// Next is the oldest waiting item of the analyzer with an id above after, with its text; nil when there is none. What is
// held, parked or incomplete is never in the way.
func (q *Queue) Next(analyzer string, after uint64) (*Item, error) {
	for {
		id := q.nextID(analyzer, after)
		if id == 0 {
			return nil, nil
		}
		item, err := q.get(id, true)
		switch {
		case err == nil && item.State == Waiting:
			return item, nil
		case errors.Is(err, errDamaged):
			q.log.Error("an item in the queue is damaged", "analyzer", analyzer, "item", id)
			if err := q.Park(id, ReasonDamaged); err != nil {
				return nil, err
			}
		case err != nil && !errors.Is(err, ErrUnknown):
			return nil, err
		}
		// Otherwise it left the lane while we looked; never look twice at the same place.
		after = id
	}
}

// nextID is the first in the lane above after; 0: none.
func (q *Queue) nextID(analyzer string, after uint64) uint64 {
	q.mu.RLock()
	defer q.mu.RUnlock()
	l := q.lanes[analyzer]
	if l == nil || after == ^uint64(0) {
		return 0
	}
	i, _ := l.search(after + 1)
	if i == len(*l) {
		return 0
	}
	return (*l)[i].id
}

// Changed returns a channel that is closed when something becomes waiting from now on. Ask for it before Next.
func (q *Queue) Changed() <-chan struct{} {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.changed
}

// Get is the item with its text. ErrUnknown: there is none of that id.
func (q *Queue) Get(id uint64) (*Item, error) {
	item, err := q.get(id, true)
	if err != nil {
		return nil, fmt.Errorf("item %d: %w", id, err)
	}
	return item, nil
}

func (q *Queue) get(id uint64, withText bool) (item *Item, err error) {
	err = q.db.View(func(tx *bbolt.Tx) error {
		item, err = q.read(tx, id, withText)
		return err
	})
	return item, err
}

// listChunk is how many items List reads at once; the writer can be kept waiting by a long look at the file.
const listChunk = 64

// List calls f with each item in one of the states (none named: in any), undelivered ones first, the oldest first, then delivered ones, the
// newest first, until f returns false. Text is there only when asked for. An item that cannot be read comes without it and
// with the reason damaged.
func (q *Queue) List(f func(*Item) bool, withText bool, states ...State) error {
	if len(states) == 0 {
		states = append(slices.Clone(Undelivered), Delivered)
	}
	ids := q.undelivered(states)
	for chunk := range slices.Chunk(ids, listChunk) {
		if more, err := q.visit(chunk, withText, states, f); !more || err != nil {
			return err
		}
	}
	if !slices.Contains(states, Delivered) {
		return nil
	}
	for below := ^uint64(0); ; {
		var chunk []uint64
		err := q.db.View(func(tx *bbolt.Tx) error {
			c := tx.Bucket(bucketDelivered).Cursor()
			k, _ := c.Seek(key(below))
			if k == nil {
				k, _ = c.Last()
			}
			for ; k != nil && len(chunk) < listChunk; k, _ = c.Prev() {
				if id := sequenceOf(k); id < below {
					chunk = append(chunk, id)
				}
			}
			return nil
		})
		if err != nil || len(chunk) == 0 {
			return err
		}
		if more, err := q.visit(chunk, withText, []State{Delivered}, f); !more || err != nil {
			return err
		}
		below = chunk[len(chunk)-1]
	}
}

// Newest are the ids of the newest items of an analyzer in a state, of those older than the item before, the newest first; most at
// most. It asks the memory only.
func (q *Queue) Newest(analyzer string, state State, before uint64, most int) []uint64 {
	q.mu.RLock()
	var ids []uint64
	for id, n := range q.notes {
		if id < before && n.State == state && n.Analyzer == analyzer {
			ids = append(ids, id)
		}
	}
	q.mu.RUnlock()
	slices.Sort(ids)
	slices.Reverse(ids)
	return ids[:min(most, len(ids))]
}

// undelivered are the ids of the items in the states, the lowest first.
func (q *Queue) undelivered(states []State) []uint64 {
	q.mu.RLock()
	defer q.mu.RUnlock()
	var ids []uint64
	if slices.Contains(states, Waiting) {
		for _, l := range q.lanes {
			for _, e := range *l {
				ids = append(ids, e.id)
			}
		}
	}
	for id, n := range q.notes {
		if n.State != Waiting && slices.Contains(states, n.State) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// visit reads the items and calls f outside of the transaction, so that a slow f holds up nobody.
func (q *Queue) visit(ids []uint64, withText bool, states []State, f func(*Item) bool) (more bool, err error) {
	var items []*Item
	err = q.db.View(func(tx *bbolt.Tx) error {
		for _, id := range ids {
			item, err := q.read(tx, id, withText)
			switch {
			case errors.Is(err, ErrUnknown):
				continue
			case errors.Is(err, errDamaged):
				item.Reason = ReasonDamaged
			case err != nil:
				return err
			}
			if slices.Contains(states, item.State) {
				items = append(items, item)
			}
		}
		return nil
	})
	for _, item := range items {
		if err == nil && !f(item) {
			return false, nil
		}
	}
	return true, err
}

// read puts the item together. With errDamaged comes what is known of it all the same.
func (q *Queue) read(tx *bbolt.Tx, id uint64, withText bool) (*Item, error) {
	records := tx.Bucket(bucketRecords)
	if id > records.Sequence() {
		return nil, ErrUnknown // or stored since this look at the file began
	}
	q.mu.RLock()
	n, known := q.known(id)
	tried := q.tries[id]
	q.mu.RUnlock()
	if !known {
		v := tx.Bucket(bucketDelivered).Get(key(id))
		if v == nil {
			return nil, ErrUnknown
		}
		if err := json.Unmarshal(v, &n); err != nil {
			n = note{State: Delivered, Reason: ReasonDamaged}
		}
	}
	item := &Item{ID: id, Analyzer: n.Analyzer, Received: fromNanos(n.Received), State: n.State, Reason: n.Reason,
		Attempts: n.Attempts, Exceptions: slices.Clone(n.Exceptions), Changed: fromNanos(n.Changed)}
	if n.State == Waiting && tried.count > 0 {
		item.Attempts, item.Reason = tried.count, tried.reason
	}
	return item, item.readPieces(records, withText)
}

// readPieces goes from the last piece back to the first.
func (item *Item) readPieces(records *bbolt.Bucket, withText bool) error {
	next := record{previous: item.ID}
	for at := item.ID; at != 0; at = next.previous {
		r, err := parseRecord(at, records.Get(key(at)))
		if err != nil || withText && !r.intact() {
			return errDamaged
		}
		if at == item.ID {
			item.Protocol, item.Size, item.Incomplete = r.protocol, r.size(), r.mark == lab.Broken
			if withText {
				item.Text = make([]byte, r.size())
			}
		} else if r.first != next.first || r.number+1 != next.number || r.size() != int(next.offset) {
			return errDamaged
		}
		if withText {
			copy(item.Text[r.offset:], r.text)
		}
		item.Quirks = union(r.quirks, item.Quirks)
		next = r
	}
	if next.number != 0 {
		return errDamaged
	}
	return nil
}

// union is a and then what of b is not in it.
func union(a, b []string) []string {
	var out []string
	for _, s := range slices.Concat(a, b) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
