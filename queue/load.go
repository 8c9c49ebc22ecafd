package queue

import (
	"bytes"
	"encoding/json"

	"go.etcd.io/bbolt"

	"labagent/lab"
)

// load fills the memory from the file: the notes, what waits from the floor on, and the messages that were being received
// when the agent ended, which the first commit makes incomplete.
func (q *Queue) load(tx *bbolt.Tx) error {
	records, delivered := tx.Bucket(bucketRecords), tx.Bucket(bucketDelivered)
	q.next = records.Sequence() + 1
	q.delivered = int(delivered.Sequence())
	q.floor = sequenceOf(tx.Bucket(bucketMeta).Get(keyFloor))

	err := tx.Bucket(bucketItems).ForEach(func(k, v []byte) error {
		id := sequenceOf(k)
		var n note
		if err := json.Unmarshal(v, &n); err != nil {
			n = q.damaged(id)
		}
		q.notes[id] = n
		q.bytes += n.Cost
		if n.State == Waiting {
			q.lane(n.Analyzer).insert(entry{id: id, received: n.Received, cost: n.Cost})
		}
		return nil
	})
	if err != nil {
		return err
	}

	d := delivered.Cursor()
	done, _ := d.Seek(key(q.floor))
	c := records.Cursor()
	for k, v := c.Seek(key(q.floor)); k != nil; k, v = c.Next() {
		for done != nil && bytes.Compare(done, k) < 0 {
			done, _ = d.Next()
		}
		id := sequenceOf(k)
		if _, noted := q.notes[id]; noted || bytes.Equal(done, k) {
			continue
		}
		r, err := parseRecord(id, v)
		switch {
		case err != nil:
			q.notes[id] = q.damaged(id)
		case r.mark == lab.Whole:
			q.lane(r.analyzer).insert(entry{id: id, received: r.received, cost: r.cost()})
			q.bytes += r.cost()
		}
	}

	return tx.Bucket(bucketOpen).ForEach(func(k, v []byte) error {
		last := sequenceOf(v)
		r, err := parseRecord(last, records.Get(v))
		if err != nil {
			q.log.Error("a message that was being received is damaged", "item", last)
		}
		l := q.Line(r.analyzer, r.protocol)
		l.open = message{first: sequenceOf(k), last: last, pieces: r.number + 1, size: uint32(r.size())}
		q.bytes += r.cost()
		q.again = append(q.again, l.closing(ReasonRestart))
		return nil
	})
}

// damaged is the note of an item of which nothing can be read: shown, never swallowed. The next commit writes it down.
func (q *Queue) damaged(id uint64) note {
	q.log.Error("an item in the queue is damaged", "item", id)
	q.repairs.restate(id)
	return note{State: Parked, Reason: ReasonDamaged, Changed: nanos(q.now())}
}

func (q *Queue) lane(analyzer string) *lane {
	l := q.lanes[analyzer]
	if l == nil {
		l = new(lane)
		q.lanes[analyzer] = l
	}
	return l
}
