// Package upload empties the queue at the server's pace. Each analyzer is a lane, delivered in order; one item at a time
// becomes parts, Observations and sheets by the rules of filing, and is created conditionally, so that sending it twice
// makes nothing twice. There is one writer: two would spoil each other's conditional creates (medplum.md 0.7).
//
// What goes wrong has three owners (house: life and death). The item's fault sets the result aside and goes on. Ours
// (credentials, rights, configuration) keeps everything, asks again in minutes and says so. The weather is waited out. No
// progress is kept on disk: after a restart an item is sent again, and what is there already answers with its id.
package upload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"labagent/fhir"
	"labagent/filing"
	"labagent/lab"
	"labagent/queue"
)

// Queue is what upload needs of the disk in the middle; *queue.Queue is one.
type Queue interface {
	Next(analyzer string, after uint64) (*queue.Item, error)
	Changed() <-chan struct{}
	Done(id uint64, left []queue.Exception) error
	Park(id uint64, reason string, exceptions ...queue.Exception) error
	Attempt(id uint64, reason string) int
}

// Server is what upload needs of a FHIR server; *fhir.Client is one.
type Server interface {
	Create(ctx context.Context, resources []fhir.Resource) (fhir.Reply, error)
	Health(ctx context.Context) error
}

// Watcher hears how delivery goes, from Run's goroutine.
type Watcher interface {
	// Server is told whenever the state of the way to the server changed.
	Server(State)
	// Delivered is told when all of an item that could be delivered is on the server.
	// Stored is how many results of it are on the server: none when all of it is held.
	Delivered(analyzer string, id uint64, at time.Time, stored int)
}

// Lane is one analyzer's way to the server.
type Lane struct {
	Analyzer string
	// Decode reads an item's message by the analyzer's dialect and setup.
	Decode func(item *queue.Item) (lab.Report, error)
	// Rules say what is filed, and what is held.
	Rules *filing.Rules
	// Setting is what is said on every resource.
	Setting fhir.Setting
}

// Uploader delivers what waits in Queue to Server, lane by lane.
type Uploader struct {
	Queue  Queue
	Server Server
	Lanes  []Lane
	Watch  Watcher      // nil: nobody is told
	Log    *slog.Logger // nil: silent
}

// Reasons of exceptions, and of parked items, that are found here. The words are interface.
const (
	Unreadable     = "unreadable"        // the message cannot be read
	Incomplete     = "incomplete"        // the analyzer itself says that it gave up (L.3 T, R or E)
	Refused        = "refused"           // the server refuses it for its content
	RefusedUnclear = "refused-unclear"   // the server refuses it again and again, and takes others
	Differs        = "differs-on-server" // the server has something else under the identity of this result
)

// What is said of a waiting item that was tried in vain.
const (
	TriedServer  = "server"  // the weather
	TriedAccess  = "access"  // our fault
	TriedUnclear = "unclear" // refused with words that tell nothing
)

// Run delivers until ctx is done. It returns nil.
func (u *Uploader) Run(ctx context.Context) error {
	r := &run{Uploader: u, log: u.Log}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	for _, l := range u.Lanes {
		r.lanes = append(r.lanes, &lane{Lane: l})
	}
	for ctx.Err() == nil {
		changed := u.Queue.Changed()
		busy, next := r.round(ctx)
		if !busy {
			idle(ctx, changed, next)
		}
	}
	return nil
}

// run is the life of one Run. One goroutine has it.
type run struct {
	*Uploader
	log   *slog.Logger
	lanes []*lane
	pace  pace
	way   way // to the server
}

type lane struct {
	Lane
	job    *job      // the first item, as far as it is
	notYet time.Time // before that the lane is not tried
	fails  int       // of the queue, in a row
}

// idle waits until something new waits in the queue, or for the next attempt (zero: there is none), or for the end.
func idle(ctx context.Context, changed <-chan struct{}, next time.Time) {
	var due <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(time.Until(next))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-due:
	}
}

// pause waits for d or the end.
func pause(ctx context.Context, d time.Duration) { idle(ctx, nil, time.Now().Add(d)) }

// round gives each lane that is due one item's turn. It tells whether any had something to do, and else when one will.
func (r *run) round(ctx context.Context) (busy bool, next time.Time) {
	for _, l := range r.lanes {
		if until := r.way.pause; time.Now().Before(until) {
			pause(ctx, time.Until(until))
		}
		if ctx.Err() != nil {
			return false, next
		}
		if time.Now().Before(l.notYet) {
			next = earlier(next, l.notYet)
			continue
		}
		worked, err := r.turn(ctx, l)
		if err != nil {
			// The disk, not the server: the item stays where it is, and sending it again is harmless.
			l.fails++
			l.notYet = time.Now().Add(backoff(l.fails))
			r.log.Error("the queue cannot be read or written", "analyzer", l.Analyzer, "error", err)
			next = earlier(next, l.notYet)
			continue
		}
		l.fails = 0
		if worked && time.Now().Before(l.notYet) {
			next = earlier(next, l.notYet)
			continue
		}
		busy = busy || worked
	}
	return busy, next
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// turn brings the first item of the lane as far as it goes now. It tells whether there was one.
func (r *run) turn(ctx context.Context, l *lane) (worked bool, err error) {
	item, err := r.Queue.Next(l.Analyzer, 0)
	if err != nil {
		return false, fmt.Errorf("look for the next item: %w", err)
	}
	if item == nil {
		l.job = nil
		return false, nil
	}
	if l.job == nil || l.job.item.ID != item.ID || !l.job.item.Changed.Equal(item.Changed) {
		l.job = newJob(&l.Lane, item)
	}
	j := l.job
	o, err := r.deliver(ctx, j)
	switch {
	case err != nil || ctx.Err() != nil:
		return true, err
	case o == nil:
		l.job = nil
		return true, nil
	case o.Class == fhir.Unclear:
		return true, r.unclear(ctx, l, j, *o)
	}
	r.Queue.Attempt(j.item.ID, r.turnedBack(*o))
	return true, nil
}

// unclear handles a refusal that tells nothing: weather while the server is not well or others fail too, the item's fault
// when the server is well and takes others.
func (r *run) unclear(ctx context.Context, l *lane, j *job, o fhir.Outcome) error {
	if err := r.Server.Health(ctx); err != nil {
		if ctx.Err() == nil {
			var sick fhir.Outcome
			errors.As(err, &sick)
			sick.Class = fhir.Weather
			r.Queue.Attempt(j.item.ID, r.turnedBack(sick))
		}
		return nil
	}
	r.way.answered(r)
	j.unclear(time.Now())
	r.Queue.Attempt(j.item.ID, TriedUnclear)
	r.log.Warn("the server refuses an item and does not say why", "analyzer", l.Analyzer, "item", j.item.ID, "status", o.Status, "code", o.Code,
		"detail", o.Detail, "trace", o.Trace, "attempts", j.fails)
	if j.fails >= unclearTries && time.Since(j.since) >= unclearTime {
		if !j.othersTaken {
			if err := r.probe(ctx, l, j); err != nil {
				return err
			}
		}
		if j.othersTaken {
			j.giveUp()
			r.log.Error("results are set aside: the server keeps refusing them and takes others", "analyzer", l.Analyzer, "item", j.item.ID)
			return nil
		}
	}
	l.notYet = time.Now().Add(backoff(j.fails))
	return nil
}

// An item is set aside as refused-unclear after so many refusals over so long a time (house: life and death).
const (
	unclearTries = 8
	unclearTime  = 10 * time.Minute
)

// probe delivers the item behind one that is stuck, out of turn: only so can a single analyzer's lane learn whether the
// server takes anything at all.
func (r *run) probe(ctx context.Context, l *lane, stuck *job) error {
	item, err := r.Queue.Next(l.Analyzer, stuck.item.ID)
	if err != nil || item == nil {
		return err
	}
	o, err := r.deliver(ctx, newJob(&l.Lane, item))
	if o != nil && o.Class != fhir.Unclear && ctx.Err() == nil {
		r.Queue.Attempt(item.ID, r.turnedBack(*o))
	}
	return err
}

// taken remembers that the server took something of this item, which tells items that it refuses from others apart.
func (r *run) taken(j *job) {
	r.way.answered(r)
	for _, l := range r.lanes {
		if l.job != nil && l.job.item.ID != j.item.ID {
			l.job.othersTaken = true
		}
	}
}
