package upload

import (
	"math/rand/v2"
	"time"

	"labagent/fhir"
)

// State is how the way to the server is. The zero value: nothing is known yet.
type State struct {
	Well  bool          // the last request was answered as it should
	Fault string        // ours: what a person must mend before anything is delivered; empty: nothing
	Text  string        // why delivery waits for better weather; empty: it does not
	Since time.Time     // since when it is so
	Tries int           // in vain, since then
	Next  time.Time     // when it is tried again; zero when Well
	Skew  time.Duration // this machine's clock ahead of the server's, to the second
}

// way keeps what is known of the way to the server, says an outage once and its end once.
type way struct {
	State
	pause time.Time // before that nothing is sent
	said  bool      // the outage stands in the log
	skew  time.Duration
}

const (
	// Between attempts in bad weather: drawn from 0 to a second, doubled with each, a minute at most.
	backoffLeast, backoffMost = time.Second, time.Minute
	// Between attempts while a person is needed.
	faultLeast, faultMost = time.Minute, 5 * time.Minute
)

// backoff draws the pause after the n-th failure in a row, with full jitter.
func backoff(n int) time.Duration {
	return rand.N(min(backoffMost, backoffLeast<<min(n-1, 10))) + time.Millisecond
}

// turnedBack takes note that the server could not be served, until when to wait, and says why in a word.
func (r *run) turnedBack(o fhir.Outcome) (reason string) {
	w := &r.way
	now := time.Now()
	fault, text := "", o.Error()
	if o.Class == fhir.OurFault {
		fault, text = text, ""
	}
	if w.Well || w.Since.IsZero() || (w.Fault == "") != (fault == "") {
		w.Since, w.Tries = now, 0
	}
	w.Tries++
	d := backoff(w.Tries)
	if fault != "" {
		d = min(faultMost, faultLeast<<min(w.Tries-1, 10))
		d += rand.N(d / 4)
	}
	w.pause = now.Add(max(d, o.Wait))
	news := !w.said || w.Fault != fault
	w.Well, w.Fault, w.Text, w.Next = false, fault, text, w.pause
	switch {
	case !news:
		r.log.Debug("delivery waits", "cause", o.Error(), "tries", w.Tries, "next", w.Next)
	case fault != "":
		w.said = true
		r.log.Error("nothing is delivered until somebody mends this; results are kept", "cause", fault, "trace", o.Trace)
	case o.Code == "conflict": // another writer was quicker; soon over, and no outage
		r.log.Debug("delivery waits", "cause", text)
	default:
		w.said = true
		r.log.Warn("delivery waits for the server", "cause", text, "trace", o.Trace)
	}
	r.tell()
	if fault != "" {
		return TriedAccess
	}
	return TriedServer
}

// answered takes note that the server served us.
func (w *way) answered(r *run) {
	if w.Well {
		return
	}
	if w.said {
		r.log.Info("delivery goes on", "after", time.Since(w.Since).Round(time.Second), "tries", w.Tries)
	}
	w.State = State{Well: true, Since: time.Now(), Skew: w.skew}
	w.pause, w.said = time.Time{}, false
	r.tell()
}

// clock compares clocks; a second is as fine as the server says.
func (w *way) clock(server time.Time) {
	if !server.IsZero() {
		w.skew = time.Since(server).Truncate(time.Second)
		w.Skew = w.skew
	}
}

func (r *run) tell() {
	if r.Watch != nil {
		r.Watch.Server(r.way.State)
	}
}
