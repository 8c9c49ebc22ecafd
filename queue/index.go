package queue

import (
	"cmp"
	"slices"
	"time"
)

// entry is a waiting item as the memory knows it.
type entry struct {
	id       uint64
	received int64
	cost     int64
}

// lane is the waiting items of one analyzer, the oldest first. Items are nearly always added at the end and taken from
// the front; both cost nothing however long the lane is.
type lane []entry

func (l lane) search(id uint64) (int, bool) {
	return slices.BinarySearchFunc(l, id, func(e entry, id uint64) int { return cmp.Compare(e.id, id) })
}

func (l *lane) insert(e entry) {
	if n := len(*l); n == 0 || (*l)[n-1].id < e.id {
		*l = append(*l, e)
		return
	}
	if i, found := l.search(e.id); !found {
		*l = slices.Insert(*l, i, e)
	}
}

// remove takes the item out by moving the shorter side.
func (l *lane) remove(id uint64) {
	s := *l
	i, found := l.search(id)
	if !found {
		return
	}
	if i < len(s)/2 {
		copy(s[1:i+1], s[:i])
		*l = s[1:]
	} else {
		*l = slices.Delete(s, i, i+1)
	}
}

// Counts says how many items stand where.
type Counts struct {
	Waiting, Held, Parked, Incomplete int
	Oldest                            time.Time // when the oldest waiting item was received; zero: none waits
}

func (c *Counts) add(o Counts) {
	c.Waiting += o.Waiting
	c.Held += o.Held
	c.Parked += o.Parked
	c.Incomplete += o.Incomplete
	if c.Oldest.IsZero() || !o.Oldest.IsZero() && o.Oldest.Before(c.Oldest) {
		c.Oldest = o.Oldest
	}
}

// Stats is the queue in numbers.
type Stats struct {
	Counts
	Delivered int               // kept, of all analyzers
	Bytes     int64             // what is undelivered takes, as MaxSize counts
	Analyzers map[string]Counts // of each analyzer that has something undelivered
}

// Stats counts. It asks the memory only, so that it answers when the disk does not.
func (q *Queue) Stats() Stats {
	q.mu.RLock()
	defer q.mu.RUnlock()
	s := Stats{Delivered: q.delivered, Bytes: q.bytes, Analyzers: map[string]Counts{}}
	for analyzer, l := range q.lanes {
		if len(*l) > 0 {
			s.Analyzers[analyzer] = Counts{Waiting: len(*l), Oldest: fromNanos((*l)[0].received)}
		}
	}
	for _, n := range q.notes {
		c := s.Analyzers[n.Analyzer]
		switch n.State {
		case Held:
			c.Held++
		case Parked:
			c.Parked++
		case Incomplete:
			c.Incomplete++
		}
		s.Analyzers[n.Analyzer] = c
	}
	for _, c := range s.Analyzers {
		s.add(c)
	}
	return s
}
