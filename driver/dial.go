package driver

import (
	"context"
	"log/slog"
	"net"
	"time"
)

// Dial is a Port for an analyzer that is itself the TCP server.
type Dial struct {
	Addr string // host:port of the analyzer

	dial func(ctx context.Context, addr string) (net.Conn, error) // nil: TCP
}

const (
	dialWait  = 10 * time.Second // for one connection to be made
	dialFirst = time.Second      // reconnect: full jitter, from this limit
	dialLimit = time.Minute      // to this
)

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialWait, KeepAliveConfig: keepAlive, Control: giveUpUnacknowledged}
	return d.DialContext(ctx, "tcp", addr)
}

// Lines holds one connection to the analyzer until ctx ends.
func (p *Dial) Lines(ctx context.Context, log *slog.Logger, serve Serve, trouble func(error)) error {
	dial := p.dial
	if dial == nil {
		dial = dialTCP
	}
	open := func(ctx context.Context) (Conn, error) {
		conn, err := dial(ctx, p.Addr)
		if err != nil {
			return nil, &Error{DialFailed, p.Addr, err, "labagent tries again by itself; see that the analyzer is on, and its address and port"}
		}
		return conn, nil
	}
	keepOpen(ctx, log, p.Addr, open, func(tries int) time.Duration { return jitter(tries, dialFirst, dialLimit) }, serve, trouble)
	return nil
}
