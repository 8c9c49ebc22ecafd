package upload

import (
	"math"
	"time"

	"labagent/fhir"
)

// pace keeps within the server's quotas, so that nothing is refused for having come too early. Medplum counts in fixed
// windows of a minute: r is what is left of this one, t when the next begins.
type pace struct {
	units, requests window
}

type window struct {
	said bool
	left int
	full int       // the most that was seen to be left when a window began
	ends time.Time // after that all of it is back
}

// room is what may be spent now, and when there will be more.
func (w *window) room(now time.Time) (left int, more time.Time) {
	switch {
	case !w.said:
		return math.MaxInt, now
	case !now.Before(w.ends):
		return w.full, now
	}
	return w.left, w.ends
}

// after takes in what an answer said of the window. Spent is what the request is known to have cost, most what it may have.
func (w *window) after(l fhir.Limit, spent, most int, now time.Time) {
	if !l.Said {
		left, _ := w.room(now)
		w.left = max(0, left-most) // nobody knows; what is there of it comes back with the next answer or window
		return
	}
	w.said, w.left, w.ends = true, l.Left, now.Add(l.Reset)
	w.full = max(w.full, l.Left+spent)
}

// wait is how long until something that costs that much may go out.
func (p *pace) wait(cost int, now time.Time) time.Duration {
	var d time.Duration
	for _, need := range []struct {
		of   *window
		cost int
	}{{&p.units, cost}, {&p.requests, 1}} {
		if left, more := need.of.room(now); left < need.cost {
			d = max(d, more.Sub(now))
		}
	}
	return d
}

// entries is how many new entries of a bundle the units allow now; at least one.
func (p *pace) entries(now time.Time) int {
	left, _ := p.units.room(now)
	return max(1, left/fhir.CostEntry)
}

// cost is the most that a request with n resources can cost.
func cost(n int) int {
	if n == 1 {
		return fhir.CostSingle
	}
	return n * fhir.CostEntry
}
