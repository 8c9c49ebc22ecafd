package upload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"labagent/fhir"
)

// deliver brings a job as far as it goes. Nil: it is done, and so is its item. Else the outcome that stopped it: ours, the
// weather, or unclear. An error is the queue's.
func (r *run) deliver(ctx context.Context, j *job) (*fhir.Outcome, error) {
	for ctx.Err() == nil {
		p, batch := j.next(r.pace.entries(time.Now()))
		if p == nil {
			return nil, r.finish(j)
		}
		if d := r.pace.wait(cost(len(batch)), time.Now()); d > 0 {
			pause(ctx, d)
			continue // with as many as go then
		}
		if stop := r.send(ctx, j, p, batch); stop != nil {
			return stop, nil
		}
	}
	return nil, nil
}

// finish tells the queue what became of the item.
func (r *run) finish(j *job) error {
	id := j.item.ID
	if j.park != "" {
		if err := r.Queue.Park(id, j.park, j.left...); err != nil {
			return fmt.Errorf("park item %d: %w", id, err)
		}
		r.log.Error("an item is parked", "analyzer", j.lane.Analyzer, "item", id, "reason", j.park)
		return nil
	}
	if err := r.Queue.Done(id, j.left); err != nil {
		return fmt.Errorf("close item %d: %w", id, err)
	}
	if len(j.left) > 0 {
		r.log.Warn("something of an item is held", "analyzer", j.lane.Analyzer, "item", id, "reason", j.left[0].Reason, "held", len(j.left))
	}
	if r.Watch != nil {
		r.Watch.Delivered(j.lane.Analyzer, id, time.Now(), j.stored())
	}
	return nil
}

// send makes one request of the batch, which begins p.todo, and keeps what came of each entry. It returns the outcome that
// stops the job, if one does.
func (r *run) send(ctx context.Context, j *job, p *part, batch []entry) *fhir.Outcome {
	for i := range p.todo {
		p.todo[i].unclear = false // what an earlier and longer request said of it is of no weight
	}
	resources := make([]fhir.Resource, len(batch))
	for i, e := range batch {
		resources[i] = e.Resource
	}
	reply, err := r.Server.Create(ctx, resources)
	now := time.Now()
	r.pace.units.after(reply.Limits.Units, spent(reply.Outcomes), cost(len(batch)), now)
	r.pace.requests.after(reply.Limits.Requests, 1, 1, now)
	r.way.clock(reply.Date)
	if err != nil {
		o := whole(err)
		if len(batch) > 1 {
			return j.halve(p, len(batch), o)
		}
		reply.Outcomes = []fhir.Outcome{o}
	}
	var stop *fhir.Outcome
	var rest []entry
	for i, o := range reply.Outcomes {
		e := batch[i]
		e.unclear = o.Class == fhir.Unclear
		switch o.Class {
		case fhir.Stored, fhir.Exists:
			r.taken(j)
			r.stored(j, p, e, o)
		case fhir.ItemFault:
			r.way.answered(r)
			r.log.Warn("the server refuses a resource for its content", "analyzer", j.lane.Analyzer, "item", j.item.ID, "part", p.Index, "result", e.result,
				"type", e.Type, "status", o.Status, "code", o.Code, "path", o.Path, "detail", o.Detail, "trace", o.Trace)
			j.refuse(p, e, Refused)
		default:
			rest = append(rest, e)
			if stop == nil || urgency(o) > urgency(*stop) {
				stop = &o
			}
		}
	}
	p.todo = slices.Concat(rest, p.todo[len(batch):])
	return stop
}

// whole is the outcome of a request that was not carried out, or of which nobody knows.
func whole(err error) fhir.Outcome {
	var o fhir.Outcome
	if !errors.As(err, &o) {
		o = fhir.Outcome{Class: fhir.Weather, Code: "network", Detail: err.Error()}
	}
	return o
}

// halve handles the refusal of a batch of n as one. When the content of one entry may be the reason, the next request is
// half as long, until that one stands alone.
func (j *job) halve(p *part, n int, o fhir.Outcome) *fhir.Outcome {
	if o.Class == fhir.ItemFault || o.Class == fhir.Unclear {
		j.most = n / 2
	}
	if o.Class == fhir.ItemFault {
		return nil
	}
	for i := range p.todo[:n] {
		p.todo[i].unclear = o.Class == fhir.Unclear
	}
	return &o
}

// stored keeps the id of what is on the server.
func (r *run) stored(j *job, p *part, e entry, o fhir.Outcome) {
	if e.result < 0 {
		return
	}
	if o.Multiple() {
		r.log.Warn("the server has a result more than once: somebody else creates them without looking", "analyzer", j.lane.Analyzer, "item", j.item.ID, "part", p.Index, "result", e.result)
	}
	if o.Existing != nil {
		if element := fhir.Differs(e.Body, o.Existing); element != "" {
			r.log.Error("the server has something else under the identity of a result", "analyzer", j.lane.Analyzer, "item", j.item.ID,
				"part", p.Index, "result", e.result, "element", element, "id", o.ID)
			j.refuse(p, e, Differs)
			return
		}
	}
	p.ids[e.version] = o.ID
}

// urgency orders what stops a job: what a person must mend, then the weather, then what tells nothing.
func urgency(o fhir.Outcome) int {
	switch o.Class {
	case fhir.OurFault:
		return 2
	case fhir.Weather:
		return 1
	}
	return 0
}

// spent is what the entries that were carried out cost.
func spent(outcomes []fhir.Outcome) int {
	units := 0
	for _, o := range outcomes {
		switch {
		case o.Class == fhir.Stored:
			units += cost(len(outcomes)) / len(outcomes)
		case o.Class == fhir.Exists:
			units += cost(len(outcomes))/len(outcomes) - 100 // a create that writes nothing
		}
	}
	return units
}
