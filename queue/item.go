package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// State is where an item stands.
type State string

// The states of an item. Waiting, held, parked and incomplete are undelivered; only waiting ones are handed out by Next.
const (
	Waiting    State = "waiting"    // to be delivered
	Held       State = "held"       // something in it waits for a person or a better config; the rest was delivered
	Parked     State = "parked"     // cannot be delivered as it is
	Incomplete State = "incomplete" // torn off while it came; shown, never filed by itself
	Delivered  State = "delivered"  // done; kept for a while
)

// Undelivered are the states of all that is still to be looked after.
var Undelivered = []State{Waiting, Held, Parked, Incomplete}

// Item is a received message in the queue.
type Item struct {
	ID         uint64 // the sequence of its last piece; grows in the order items became whole, never used twice
	Analyzer   string
	Protocol   string
	Received   time.Time // when its last byte came
	State      State
	Reason     string   // one word why it is held, parked, incomplete or tried again; empty when there is nothing to say
	Incomplete bool     // it was torn off while it came: whatever is filed of it stays partial
	Text       []byte   // as received, the pieces joined; nil when it was not asked for
	Size       int      // bytes of text
	Quirks     []string // tolerances used while receiving it, each once
	Attempts   int      // deliveries tried since it last became waiting; of waiting items known until the agent ends
	Exceptions []Exception
	Changed    time.Time // when State last changed; the time of receipt before that
}

// Exception is a part or a result of an item that was not delivered, and what a person decided about it.
type Exception struct {
	Part     int       `json:"part"`   // -1: the whole item
	Result   int       `json:"result"` // -1: the whole part
	Reason   string    `json:"reason"`
	Decision string    `json:"decision,omitempty"` // Release, or empty: nothing was decided
	By       string    `json:"by,omitempty"`       // who decided
	Why      string    `json:"why,omitempty"`      // and the reason given
	At       time.Time `json:"at,omitzero"`        // and when
}

// Release is the decision to deliver an exception as it is.
const Release = "release"

// Reasons the queue itself gives.
const (
	ReasonBroken   = "broken"   // incomplete: the analyzer or the line broke off
	ReasonRestart  = "restart"  // incomplete: the agent ended while it came
	ReasonReleased = "released" // waiting: a person released it
	ReasonRetried  = "retried"  // waiting: put back as it is
	ReasonDamaged  = "damaged"  // parked: what is stored of it cannot be read
)

// Errors of what is asked about one item.
var (
	ErrUnknown    = errors.New("no such item in the queue")
	ErrDelivered  = errors.New("the item is delivered already, nothing was changed")
	ErrIncomplete = errors.New("the item is incomplete: only a release with a reason sends it")
	ErrNothing    = errors.New("nothing in the item matches, nothing was changed")
)

// note is what stands on disk about an item besides its records, as JSON in the bucket items, or in delivered. A waiting
// item of which there is nothing to say has none.
type note struct {
	Analyzer   string      `json:"analyzer"`
	Received   int64       `json:"received"` // as in the record
	Cost       int64       `json:"cost"`     // as max_size counts
	State      State       `json:"state"`
	Reason     string      `json:"reason,omitempty"`
	Changed    int64       `json:"changed"`
	Attempts   int         `json:"attempts,omitempty"`
	Exceptions []Exception `json:"exceptions,omitempty"`
}

func (n note) encode() []byte {
	text, err := json.Marshal(n)
	if err != nil {
		panic(fmt.Sprintf("queue: a note that JSON cannot hold: %v", err))
	}
	return text
}

// Done says that the item was delivered: all of it, or all but the exceptions, with which it becomes held. Decisions taken
// earlier about other exceptions stay with the item.
func (q *Queue) Done(id uint64, left []Exception) error {
	return q.change(id, func(n note) (note, error) {
		switch n.State {
		case Delivered:
			return n, errSame
		case Incomplete:
			return n, ErrIncomplete
		}
		n.State, n.Reason = Delivered, ""
		n.Exceptions = merge(n.Exceptions, left)
		if len(left) > 0 {
			n.State, n.Reason = Held, left[0].Reason
		}
		n.Attempts = q.attempts(id)
		return n, nil
	})
}

// Park sets the item aside: as it is it cannot be delivered. Reason is one word; exceptions name the parts it is about.
func (q *Queue) Park(id uint64, reason string, exceptions ...Exception) error {
	return q.change(id, func(n note) (note, error) {
		switch n.State {
		case Delivered:
			return n, ErrDelivered
		case Incomplete:
			return n, ErrIncomplete
		}
		n.State, n.Reason = Parked, reason
		n.Exceptions = merge(n.Exceptions, exceptions)
		n.Attempts = q.attempts(id)
		return n, nil
	})
}

// Retry makes a held or parked item waiting again, as it is. On a waiting one it does nothing.
func (q *Queue) Retry(id uint64) error {
	return q.change(id, func(n note) (note, error) {
		switch n.State {
		case Waiting:
			return n, errSame
		case Delivered:
			return n, ErrDelivered
		case Incomplete:
			return n, ErrIncomplete
		}
		n.State, n.Reason, n.Attempts = Waiting, ReasonRetried, 0
		return n, nil
	})
}

// Release writes the decision of a person, by, with the reason why, into the undecided exceptions that match (nil: all),
// and makes the item waiting. An incomplete item holds one exception, the whole item, reason "broken" or "restart". An item
// that is waiting already keeps its place.
func (q *Queue) Release(id uint64, by, why string, match func(Exception) bool) error {
	return q.change(id, func(n note) (note, error) {
		if n.State == Delivered {
			return n, ErrDelivered
		}
		n.Exceptions = slices.Clone(n.Exceptions)
		found := false
		for i, e := range n.Exceptions {
			if e.Decision == "" && (match == nil || match(e)) {
				e.Decision, e.By, e.Why, e.At = Release, by, why, q.now().UTC().Round(0)
				n.Exceptions[i], found = e, true
			}
		}
		if !found {
			return n, ErrNothing
		}
		n.State, n.Reason, n.Attempts = Waiting, ReasonReleased, 0
		return n, nil
	})
}

// Attempt counts a delivery of a waiting item that was tried in vain and says how often that was. Only the running agent
// knows: after a restart the count begins anew. Of an item that does not wait it is 0.
func (q *Queue) Attempt(id uint64, reason string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n, known := q.known(id); !known || n.State != Waiting {
		return 0
	}
	t := q.tries[id]
	t.count++
	t.reason = reason
	q.tries[id] = t
	return t.count
}

// try is what is remembered of the deliveries of a waiting item.
type try struct {
	count  int
	reason string
}

func (q *Queue) attempts(id uint64) int {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.tries[id].count
}

// merge puts what is left now in place of what was left before; what a person decided about others stays.
func merge(before, left []Exception) []Exception {
	var out []Exception
	for _, e := range before {
		again := func(l Exception) bool { return l.Part == e.Part && l.Result == e.Result && l.Reason == e.Reason }
		if e.Decision != "" && !slices.ContainsFunc(left, again) {
			out = append(out, e)
		}
	}
	return append(out, left...)
}
