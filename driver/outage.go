package driver

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// outage says a trouble once when it begins and once when it ends, with how long it was and how often it was met.
type outage struct {
	log      *slog.Logger
	down, up string // constant messages

	mu    sync.Mutex
	since time.Time // zero: all is well
	count int
}

func (o *outage) begin(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count++
	if o.since.IsZero() {
		o.since = time.Now()
		o.log.Warn(o.down, "error", err)
		return
	}
	o.log.Debug(o.down, "error", err, "times", o.count)
}

func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return
	}
	o.log.Info(o.up, "after", time.Since(o.since).Round(time.Millisecond), "times", o.count)
	o.since, o.count = time.Time{}, 0
}

// settled is how long a line must live to count as up again: one that is opened and lost over and over is one outage.
const settled = 3 * time.Second

// keepOpen opens one line, serves it, and does so again for as long as ctx lives. wait tells how long to wait after so many
// tries in a row that came to nothing.
func keepOpen(ctx context.Context, log *slog.Logger, name string, open func(context.Context) (Conn, error), wait func(tries int) time.Duration, serve Serve, trouble func(error)) {
	o := outage{log: log.With("line", name), down: "line down", up: "line up again"}
	for tries := 0; ctx.Err() == nil; {
		conn, err := open(ctx)
		if err == nil {
			steady := time.AfterFunc(settled, o.end)
			err = serve(ctx, name, conn)
			if !steady.Stop() {
				tries = 0
			}
		} else {
			trouble(err)
		}
		if ctx.Err() != nil {
			return
		}
		o.begin(err)
		tries++
		sleep(ctx, wait(tries))
	}
}

// jitter is a wait somewhere below a limit that doubles with each try, so that many lines lost together do not come back
// together.
func jitter(tries int, first, limit time.Duration) time.Duration {
	ceiling := limit
	if tries < 16 {
		ceiling = min(limit, first<<(tries-1))
	}
	return first/10 + rand.N(ceiling-first/10)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
