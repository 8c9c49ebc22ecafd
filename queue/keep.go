package queue

import (
	"bytes"
	"encoding/binary"
	"math"
)

// sweepItems is how many delivered items one commit removes at most.
const sweepItems = 100

// sweep removes delivered items that have been kept long enough, the oldest first, and all of them while the reserve is
// out. It never sees what this commit delivers, so that a commit of unknown outcome can be put right.
func (t *txn) sweep() error {
	limit := nanos(t.q.now().Add(-t.q.options.KeepDelivered))
	if !t.reserved {
		limit = math.MaxInt64
	}
	var gone [][]byte
	c := t.history.Cursor()
	for k, _ := c.First(); k != nil && len(gone) < sweepItems && int64(sequenceOf(k)) <= limit; k, _ = c.Next() {
		gone = append(gone, bytes.Clone(k))
	}
	t.q.swept = len(gone)
	for _, k := range gone {
		t.wrote = true
		if err := t.history.Delete(k); err != nil {
			return err
		}
		if err := t.remove(sequenceOf(k[8:])); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes a delivered item with all its pieces.
func (t *txn) remove(id uint64) error {
	if t.done.Get(key(id)) == nil {
		return nil // whatever the history says: only what was delivered is removed
	}
	if err := t.undeliver(id); err != nil {
		return err
	}
	for at := id; at != 0; {
		r, err := parseRecord(at, t.records.Get(key(at)))
		if err := t.records.Delete(key(at)); err != nil {
			return err
		}
		if err != nil {
			return nil // what came before it cannot be found
		}
		at = r.previous
	}
	return nil
}

// historyKey orders the delivered items by the time of delivery.
func historyKey(at int64, id uint64) []byte {
	return binary.BigEndian.AppendUint64(key(uint64(max(at, 0))), id)
}
