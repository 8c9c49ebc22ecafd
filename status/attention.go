package status

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"
)

// Condition is something that needs a person, as the rooms see it now.
type Condition struct {
	Analyzer string    // empty: the whole agent
	Reason   string    // one word: unmapped, no-specimen, parked, incomplete, refused, backlog, credentials ...
	Count    int       // how many
	Since    time.Time // the oldest
	Do       string    // what to do next, in a sentence; no patient data
	Quiet    bool      // worth knowing, but no bell: it becomes a Notice
}

// Attention is a condition with its bell.
type Attention struct {
	ID       string    `json:"id"` // for labagent ack
	Analyzer string    `json:"analyzer,omitempty"`
	Reason   string    `json:"reason"`
	Count    int       `json:"count"`
	Since    time.Time `json:"since,omitzero"`
	Do       string    `json:"do"`
	Acked    bool      `json:"acked"` // seen by a person; it rings again when it grows
}

// ring is the memory of one bell.
type ring struct {
	last  time.Time // when it was said last; zero: not yet
	said  Attention // as it was said
	acked int       // the count a person has seen
}

// key names a condition as long as it lasts.
func (c Condition) key() string {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s\x00%s", c.Analyzer, c.Reason)
	return fmt.Sprintf("%06x", h.Sum32()&0xffffff)
}

// attention reads the conditions and joins them with what a person has acknowledged.
func (b *Board) attention() (bells []Attention, notices []Notice) {
	var conditions []Condition
	if b.Conditions != nil {
		conditions = b.Conditions()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.init()
	if b.server.Ours {
		conditions = append(conditions, Condition{
			Reason: "access", Count: 1, Since: b.server.Since, Do: b.server.Problem,
		})
	}
	for _, name := range slices.Sorted(maps.Keys(b.analyzers)) {
		if n := b.analyzers[name].Queries; n > 0 {
			notices = append(notices, Notice{name, "query", int(n), "It asks for orders, which are not served yet. Switch host query off at the analyzer."})
		}
	}
	for _, c := range conditions {
		if c.Quiet {
			notices = append(notices, Notice{Analyzer: c.Analyzer, Reason: c.Reason, Count: c.Count, Do: c.Do})
			continue
		}
		a := Attention{ID: c.key(), Analyzer: c.Analyzer, Reason: c.Reason, Count: c.Count, Since: c.Since, Do: c.Do}
		if r := b.rung[a.ID]; r != nil {
			a.Acked = r.acked >= c.Count
			// What was seen and is gone does not stand for what comes after it.
			r.acked, r.said.Count = min(r.acked, c.Count), min(r.said.Count, c.Count)
		}
		bells = append(bells, a)
	}
	slices.SortStableFunc(bells, func(x, y Attention) int {
		return cmp.Or(cmp.Compare(x.Analyzer, y.Analyzer), cmp.Compare(x.Reason, y.Reason))
	})
	return bells, notices
}

// Ack tells that a person has seen the attention line id; false: there is no such line.
func (b *Board) Ack(id string) bool {
	bells, _ := b.attention()
	for _, a := range bells {
		if a.ID == id {
			b.mu.Lock()
			defer b.mu.Unlock()
			r := b.rung[id]
			if r == nil {
				r = &ring{}
				b.rung[id] = r
			}
			r.acked = a.Count
			return true
		}
	}
	return false
}
