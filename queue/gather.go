package queue

import (
	"runtime"
	"time"
)

// gatherLimit is the longest that a commit waits for company: what it takes an answer to reach an analyzer near by and the
// next message to come back.
const gatherLimit = 2 * time.Millisecond

// gather waits a moment for the senders that the last commit answered, if others wait already. Lines that write all the time
// would else fall into two halves that take turns, each with syncs of its own. Who is alone is never kept waiting, and
// others no longer than half of what the last commit took.
func (q *Queue) gather() {
	runtime.Gosched() // senders in this program are about to ask again
	moment := min(q.took/2, gatherLimit) - time.Since(q.ended)
	if n := q.asking(); n == 0 || n >= q.company || moment <= 0 {
		return
	}
	enough := time.NewTimer(moment)
	defer enough.Stop()
	for q.asking() < q.company {
		select {
		case <-q.wake:
		case <-enough.C:
			return
		}
	}
}

// asking is how many requests wait for the writer.
func (q *Queue) asking() int {
	q.waitingMu.Lock()
	defer q.waitingMu.Unlock()
	return len(q.waiting)
}
