package simulate

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Dial reaches the host.
type Dial func(ctx context.Context) (io.ReadWriteCloser, error)

// TCP dials an address, as most analyzers do.
func TCP(address string) Dial {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
}

// Accept waits for the host to call, as the analyzers do that are servers themselves.
func Accept(l net.Listener) Dial {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		stop := context.AfterFunc(ctx, func() { _ = l.Close() })
		defer stop()
		return l.Accept()
	}
}

// File opens a path as it stands: one end of a virtual serial port that is in raw mode already.
func File(path string) Dial {
	return func(context.Context) (io.ReadWriteCloser, error) {
		return os.OpenFile(path, os.O_RDWR, 0)
	}
}

// line is a connection that can be read with a patience, which a serial port cannot be by itself: a goroutine reads all
// the time, so that the host never waits for us while we wait for it.
type line struct {
	conn   io.ReadWriteCloser
	rest   []byte        // arrived and not yet looked at; the sender's alone
	news   chan struct{} // something arrived since
	gone   chan struct{} // closed when reading has ended
	forget func() bool

	mu      sync.Mutex
	arrived []byte
}

var errTimeout = errors.New("nothing came in time")

func newLine(ctx context.Context, conn io.ReadWriteCloser) *line {
	l := &line{conn: conn, news: make(chan struct{}, 1), gone: make(chan struct{})}
	l.forget = context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends a write that waits, too
	go l.read()
	return l
}

func (l *line) read() {
	defer close(l.gone)
	buf := make([]byte, 4096)
	for {
		n, err := l.conn.Read(buf)
		l.mu.Lock()
		l.arrived = append(l.arrived, buf[:n]...)
		l.mu.Unlock()
		select {
		case l.news <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (l *line) close() {
	l.forget()
	_ = l.conn.Close()
	<-l.gone
}

// more waits until bytes have arrived, or for the moment due, and adds them to rest.
func (l *line) more(due time.Time) error {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		if l.collect() {
			return nil
		}
		select {
		case <-l.news:
		case <-l.gone:
			if l.collect() {
				return nil
			}
			return io.ErrUnexpectedEOF
		case <-timer.C:
			return errTimeout
		}
	}
}

func (l *line) collect() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	came := len(l.arrived) > 0
	l.rest = append(l.rest, l.arrived...)
	l.arrived = l.arrived[:0]
	return came
}

// next gives the next byte.
func (l *line) next(due time.Time) (byte, error) {
	for len(l.rest) == 0 {
		if err := l.more(due); err != nil {
			return 0, err
		}
	}
	b := l.rest[0]
	l.rest = l.rest[1:]
	return b, nil
}

// write sends p whole; nothing for nothing, since net.Pipe blocks on that.
func (l *line) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := l.conn.Write(p)
	return err
}
