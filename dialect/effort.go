package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"labagent/lab"
)

// effort is the work a message may still make. An analyzer gone mad, or a stranger on its line, can send what is correct
// and would be read for days or fill the memory: a hundred thousand orders under a hundred thousand comments. Such a
// message is kept and shown like any other that cannot be read; the laboratory's others go on.
type effort struct{ left, lines int }

var (
	errEffort = errors.New("it repeats or divides itself more than any result does")
	errLines  = fmt.Errorf("it holds more than %d orders and results", maxLines)
)

const (
	maxPieces = 100_000 // repetitions and components of one field
	maxLines  = 50_000  // orders and result lines of one message; each costs some 10 KB of memory on its way
)

// effortFor is many times what a message of this size needs that an analyzer means.
func effortFor(text []byte) effort { return effort{left: 4<<20 + 16*len(text)} }

// spend takes n steps of the effort. When it is used up the reading ends, at guarded or harmless.
func (e *effort) spend(n int) {
	if e.left -= n; e.left < 0 {
		panic(errEffort)
	}
}

// line counts an order or a result line.
func (e *effort) line() {
	if e.lines++; e.lines > maxLines {
		panic(errLines)
	}
}

// divisible sees that a field does not fall into more pieces than it may.
func (e *effort) divisible(raw []byte, repeat, component byte) {
	if len(raw) >= maxPieces && bytes.Count(raw, []byte{repeat})+bytes.Count(raw, []byte{component}) >= maxPieces {
		panic(errEffort)
	}
}

// guarded makes an error of whatever ends a reading: one strange message must not end the agent, again at every start.
func guarded(read func([]byte, Setup, time.Time) (lab.Report, error)) func([]byte, Setup, time.Time) (lab.Report, error) {
	return func(text []byte, s Setup, received time.Time) (report lab.Report, err error) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case errEffort, errLines:
				report, err = lab.Report{}, p.(error)
			default: // what it says may hold data
				report, err = lab.Report{}, errors.New("labagent fails to read it")
			}
		}()
		return read(text, s, received)
	}
}

// harmless is guarded for what is tried only.
func harmless(read func([]byte, Setup) string) func([]byte, Setup) string {
	return func(text []byte, s Setup) (id string) {
		defer func() {
			if recover() != nil {
				id = ""
			}
		}()
		return read(text, s)
	}
}
