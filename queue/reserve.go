package queue

import (
	"errors"

	"go.etcd.io/bbolt"
)

// The reserve is half a megabyte of pages that lie in the file for nothing but the day the disk is full. bbolt changes no
// page in place: to note that an item was delivered, even to delete one, it needs pages it has not got yet. So the reserve
// is given up when a commit fails, and what is delivered goes on in its pages; nothing new is stored before it has been
// laid in again, and until then delivered items give way.
const (
	reserveValues = 64
	reserveSize   = 7 << 10 // two of them and their places fill a page of 16 KiB
)

// hold lays the reserve in if it is not there.
func (t *txn) hold() error {
	if t.reserved {
		return nil
	}
	t.reserved, t.wrote = true, true
	return layIn(t.tx)
}

func layIn(tx *bbolt.Tx) error {
	b, filler := tx.Bucket(bucketReserve), make([]byte, reserveSize)
	for i := range uint64(reserveValues) {
		if err := b.Put(key(i), filler); err != nil {
			return err
		}
	}
	return nil
}

// release gives the reserve up, in a commit that needs no more pages than every commit leaves behind.
func (q *Queue) release() error {
	t, err := q.begin()
	if err != nil {
		return err
	}
	if !t.reserved {
		return t.tx.Rollback()
	}
	if err = t.tx.DeleteBucket(bucketReserve); err == nil {
		_, err = t.tx.CreateBucket(bucketReserve)
	}
	if err != nil {
		return errors.Join(err, t.tx.Rollback())
	}
	q.log.Warn("the reserve of the queue is given up; delivered items give way until it is back")
	return q.commit(t.tx)
}

// refill lays the reserve in again if there is room for it.
func (q *Queue) refill() {
	t, err := q.begin()
	if err != nil {
		return
	}
	if t.reserved || t.hold() != nil {
		t.tx.Rollback()
		return
	}
	if q.commit(t.tx) == nil {
		q.log.Info("the reserve of the queue is back")
	}
}
