package upload

import (
	"fmt"
	"slices"
	"time"

	"labagent/fhir"
	"labagent/filing"
	"labagent/lab"
	"labagent/queue"
)

// job is an item on its way: what of it is still to be sent, and what is left behind. It lives in memory alone.
type job struct {
	lane  *Lane
	item  *queue.Item
	parts []*part
	left  []queue.Exception // held by filing, or refused
	park  string            // the reason to park the item for when it is done; empty: it is delivered, or held
	most  int               // entries a request, halved when a request as a whole is refused

	fails       int       // unclear refusals
	since       time.Time // of the first of them
	othersTaken bool      // the server took something of another item since
}

type part struct {
	filing.Part
	todo  []entry           // Observations not on the server yet, then the sheet
	ids   map[string]string // by version, of those that are
	left  int               // results that are left behind
	sheet bool              // the sheet was made: it is in todo, or done
}

// entry is one resource to create.
type entry struct {
	fhir.Resource
	result  int    // its place in the part; -1: the sheet
	version string // of the result
	unclear bool   // refused so the last time
}

// maxEntries is how many resources go in one request. A server that makes 17 conditional creates a second (medplum.md 7)
// has answered before any timeout, and a quota can be used to its end in steps of this.
const maxEntries = 50

// newJob reads the message and decides about all of it. What cannot be read is parked: the bytes stay, and a mended agent
// can try again.
func newJob(l *Lane, item *queue.Item) *job {
	j := &job{lane: l, item: item, most: maxEntries}
	if err := j.read(); err != nil {
		j.parts, j.left = nil, nil
		j.leave(-1, -1, Unreadable)
		j.park = Unreadable
	}
	return j
}

// read fills the job. A reader that panics over one strange message must not keep a laboratory from its results, nor a
// restarted agent from starting.
func (j *job) read() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("read message: panic")
		}
	}()
	report, err := j.lane.Decode(j.item)
	if err != nil {
		return err
	}
	told := Filed(j.item)
	if gaveUp(report) {
		if !slices.Contains(told.Decisions, filing.Decision{Part: -1, Result: -1, Reason: Incomplete}) {
			j.leave(-1, -1, Incomplete)
			return nil
		}
		told.Incomplete = true
	}
	for _, p := range j.lane.Rules.File(report, told) {
		j.add(p)
	}
	return nil
}

// Filed is what filing needs to know of an item beside its text.
func Filed(item *queue.Item) filing.Item {
	told := filing.Item{Received: item.Received, Incomplete: item.Incomplete}
	for _, e := range item.Exceptions {
		if e.Decision == queue.Release {
			told.Decisions = append(told.Decisions, filing.Decision{Part: e.Part, Result: e.Result, Reason: e.Reason})
		}
	}
	return told
}

// gaveUp tells whether the sender itself ended the message early: LIS02-A2 13.1.3, termination code T, R or E.
func gaveUp(r lab.Report) bool { return r.Ended == "T" || r.Ended == "R" || r.Ended == "E" }

func (j *job) add(filed filing.Part) {
	p := &part{Part: filed, ids: map[string]string{}}
	j.parts = append(j.parts, p)
	if filed.Hold != "" {
		j.leave(filed.Index, -1, filed.Hold)
		return
	}
	for _, r := range filed.Results {
		if r.Hold != "" {
			p.left++
			j.leave(filed.Index, r.Index, r.Hold)
			continue
		}
		p.todo = append(p.todo, entry{Resource: fhir.Observation(filed, r, j.lane.Setting), result: r.Index, version: r.Version})
	}
}

// leave notes that a part or a result stays behind.
func (j *job) leave(part, result int, reason string) {
	j.left = append(j.left, queue.Exception{Part: part, Result: result, Reason: reason})
}

// next is what to send now: some of the Observations of the first part that has any left, or its sheet once all of them
// have their ids. Nil: all is done.
func (j *job) next(entries int) (*part, []entry) {
	for _, p := range j.parts {
		if len(p.todo) == 0 && !p.sheet && !j.lane.Setting.NoSheet && len(p.ids) > 0 {
			p.todo = []entry{{Resource: fhir.Sheet(p.Part, p.ids, p.left, j.lane.Setting), result: -1}}
			p.sheet = true
		}
		if len(p.todo) > 0 {
			return p, p.todo[:p.batch(min(entries, j.most))]
		}
	}
	return nil, nil
}

// batch is how many of the first of what is to do go in one request.
func (p *part) batch(most int) int {
	size := 0
	for i, e := range p.todo[:min(most, len(p.todo))] {
		size += len(e.Body) + len(e.IfNoneExist) + len(e.Type) + len(`{"request":{"method":"POST","url":"","ifNoneExist":""},"resource":},`)
		if size > fhir.MaxBatch-len(`{"resourceType":"Bundle","type":"batch","entry":[]}`) && i > 0 {
			return i
		}
	}
	return min(most, len(p.todo))
}

// stored is how many results of the item are on the server.
func (j *job) stored() int {
	n := 0
	for _, p := range j.parts {
		n += len(p.ids)
	}
	return n
}

// unclear counts a refusal that tells nothing.
func (j *job) unclear(now time.Time) {
	if j.fails == 0 {
		j.since, j.othersTaken = now, false
	}
	j.fails++
}

// giveUp leaves behind what was refused the last time.
func (j *job) giveUp() {
	for _, p := range j.parts {
		p.todo = slices.DeleteFunc(p.todo, func(e entry) bool {
			if e.unclear {
				j.refuse(p, e, RefusedUnclear)
			}
			return e.unclear
		})
	}
	j.fails = 0
}

// refuse leaves one resource behind that the server does not take.
func (j *job) refuse(p *part, e entry, reason string) {
	j.leave(p.Index, e.result, reason)
	j.park = reason
	if e.result >= 0 {
		p.left++
	}
}
