package simulate

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// Ledger is an analyzer's own account of its results, for one analyzer or several. It is safe for concurrent use; the zero
// value is empty.
type Ledger struct {
	mu      sync.Mutex
	entries []*Entry
	counts  Counts
}

// Entry is one result in the ledger.
type Entry struct {
	Analyzer, Specimen, Test, Value, Unit string

	Sent         int  // how often its message was sent, in whole or in part
	Accepted     bool // the frame with it, or its message, was acknowledged
	Acknowledged bool // its whole message was acknowledged: from now on it must not be lost
}

// Counts are the oddities of the conversation.
type Counts struct {
	Refusals   int `json:"refusals"`   // NAK to a frame, AE, AR, CE or CR
	Busy       int `json:"busy"`       // NAK to an ENQ
	Contention int `json:"contention"` // ENQ met ENQ
	Timeouts   int `json:"timeouts"`   // no answer in time
	Stray      int `json:"stray"`      // acknowledgements of something not waited for
	Disorder   int `json:"disorder"`   // acknowledgements out of order; means something only while nothing is dropped
}

func (l *Ledger) add(analyzer, specimen string, test Test, value string) *Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := &Entry{Analyzer: analyzer, Specimen: specimen, Test: test.Code, Value: value, Unit: test.Unit}
	l.entries = append(l.entries, e)
	return e
}

func (l *Ledger) sending(m *message) {
	l.mark(m, func(e *Entry) { e.Sent++ })
}

func (l *Ledger) acknowledged(m *message) {
	l.mark(m, func(e *Entry) { e.Acknowledged = true })
}

func (l *Ledger) acceptedAll(m *message) {
	l.mark(m, func(e *Entry) { e.Accepted = true })
}

// accepted notes the results whose records lie within the first over bytes of the message.
func (l *Ledger) accepted(m *message, ends []int, over int) {
	i := 0
	l.mark(m, func(e *Entry) {
		e.Accepted = e.Accepted || ends[i] <= over
		i++
	})
}

func (l *Ledger) mark(m *message, f func(*Entry)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range m.results {
		f(r.entry)
	}
}

func (l *Ledger) count(f func(*Counts)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.counts)
}

// Entries lists the results as they stand, in the order they were measured.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Entry, 0, len(l.entries))
	for _, e := range l.entries {
		list = append(list, *e)
	}
	return list
}

// Counts tells the oddities so far.
func (l *Ledger) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// Tally is the ledger held against what a server has, counted in results.
type Tally struct {
	Sent         int // sent, in whole or in part
	Acknowledged int // their message acknowledged
	InFHIR       int // found at the server
	Lost         int // acknowledged and not found
	Doubled      int // found more than once
	Changed      int // found with another value
	Foreign      int // at the server under a specimen or test the ledger does not know
	// Faults names the lost, doubled, changed and foreign ones, "lost 1000000007 WBC"; the specimens are invented.
	Faults []string
}

// Good tells whether everything acknowledged is there, once and as it was sent.
func (t Tally) Good() bool { return t.Lost+t.Doubled+t.Changed+t.Foreign == 0 }

// Compare holds the ledger against a server's Observations, whose specimen is known by its identifier and whose test by any
// of its codes.
func (l *Ledger) Compare(observations []json.RawMessage) (Tally, error) {
	there := map[string][]string{} // specimen and test to values
	taken := map[string]bool{}
	var found []observation
	for _, raw := range observations {
		var o observation
		if err := json.Unmarshal(raw, &o); err != nil {
			return Tally{}, fmt.Errorf("read Observation: %w", err)
		}
		found = append(found, o)
		for _, c := range o.Code.Coding {
			key := o.Specimen.Identifier.Value + " " + c.Code
			there[key] = append(there[key], o.value())
		}
	}
	var t Tally
	fault := func(n *int, what, key string) {
		*n++
		t.Faults = append(t.Faults, what+" "+key)
	}
	for _, e := range l.Entries() {
		key := e.Specimen + " " + e.Test
		values := there[key]
		taken[key] = true
		if e.Sent > 0 {
			t.Sent++
		}
		if e.Acknowledged {
			t.Acknowledged++
		}
		switch {
		case len(values) == 0 && e.Acknowledged:
			fault(&t.Lost, "lost", key)
		case len(values) == 0:
			continue
		case len(values) > 1:
			fault(&t.Doubled, "doubled", key)
		}
		if len(values) > 0 {
			t.InFHIR++
			if !equal(values[0], e.Value) {
				fault(&t.Changed, "changed", key)
			}
		}
	}
	for _, o := range found {
		if !o.known(taken) {
			fault(&t.Foreign, "foreign", o.Specimen.Identifier.Value)
		}
	}
	return t, nil
}

// observation is what the comparison reads of one.
type observation struct {
	Code     concept `json:"code"`
	Specimen struct {
		Identifier struct {
			Value string `json:"value"`
		} `json:"identifier"`
	} `json:"specimen"`
	ValueQuantity *struct {
		Value      json.Number `json:"value"`
		Comparator string      `json:"comparator"`
	} `json:"valueQuantity"`
	ValueString          string   `json:"valueString"`
	ValueCodeableConcept *concept `json:"valueCodeableConcept"`
}

type concept struct {
	Coding []struct {
		Code string `json:"code"`
	} `json:"coding"`
	Text string `json:"text"`
}

func (o observation) value() string {
	switch {
	case o.ValueQuantity != nil:
		return o.ValueQuantity.Comparator + o.ValueQuantity.Value.String()
	case o.ValueCodeableConcept != nil && o.ValueCodeableConcept.Text != "":
		return o.ValueCodeableConcept.Text
	case o.ValueCodeableConcept != nil && len(o.ValueCodeableConcept.Coding) > 0:
		return o.ValueCodeableConcept.Coding[0].Code
	}
	return o.ValueString
}

func (o observation) known(taken map[string]bool) bool {
	for _, c := range o.Code.Coding {
		if taken[o.Specimen.Identifier.Value+" "+c.Code] {
			return true
		}
	}
	return false
}

// equal compares values: numbers as numbers, since a server may drop the zeros at their end, all else as it stands.
func equal(a, b string) bool {
	if a == b {
		return true
	}
	comparatorA, x, okA := number(a)
	comparatorB, y, okB := number(b)
	return okA && okB && x == y && comparatorA == comparatorB
}

func number(s string) (comparator string, value float64, ok bool) {
	digits := strings.TrimLeft(s, "<>=")
	value, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	return s[:len(s)-len(digits)], value, err == nil
}
