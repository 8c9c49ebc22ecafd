package driver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.bug.st/serial"
)

func TestSerialSettings(t *testing.T) {
	for _, c := range []struct {
		name string
		port Serial
		ok   bool
	}{
		{"defaults", Serial{}, true},
		{"7E1", Serial{Baud: 1200, DataBits: 7, Parity: "even", StopBits: 1}, true},
		{"8N2", Serial{Baud: 19200, DataBits: 8, Parity: "none", StopBits: 2}, true},
		{"baud", Serial{Baud: 8}, false},
		{"data bits", Serial{DataBits: 9}, false},
		{"parity", Serial{Parity: "both"}, false},
		{"stop bits", Serial{StopBits: 3}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.port.Check(); (err == nil) != c.ok {
				t.Errorf("Check: %v", err)
			}
			if !c.ok {
				if err := c.port.Lines(context.Background(), slog.New(slog.DiscardHandler), nil, func(error) {}); err == nil {
					t.Error("Lines waits for what cannot be")
				}
			}
		})
	}
}

// fakeLib is a port of the library that counts calls on a closed descriptor.
type fakeLib struct {
	serial.Port
	calls  atomic.Int32
	uses   atomic.Int32
	warm   chan struct{} // closed once the port is in use
	closed atomic.Bool
	wrong  atomic.Int32
}

func (l *fakeLib) use() {
	if l.uses.Add(1) == 10 {
		close(l.warm)
	}
	l.calls.Add(1)
	defer l.calls.Add(-1)
	if l.closed.Load() {
		l.wrong.Add(1)
	}
	time.Sleep(50 * time.Microsecond)
	if l.closed.Load() {
		l.wrong.Add(1)
	}
}

func (l *fakeLib) Read(p []byte) (int, error)  { l.use(); return min(1, len(p)), nil }
func (l *fakeLib) Write(p []byte) (int, error) { l.use(); return min(1, len(p)), nil }
func (l *fakeLib) ResetOutputBuffer() error    { l.use(); return nil }
func (l *fakeLib) Close() error {
	if l.calls.Load() > 0 {
		l.wrong.Add(1)
	}
	l.closed.Store(true)
	return nil
}

func TestNoCallOnClosedPort(t *testing.T) {
	for range 200 {
		lib := &fakeLib{warm: make(chan struct{})}
		p := newPort("fake", lib, io.NopCloser(nil))
		var all sync.WaitGroup
		all.Go(func() {
			for {
				if _, err := p.Read(make([]byte, 1)); err != nil {
					if codeOf(err) != PortClosed {
						t.Errorf("Read: %v", err)
					}
					return
				}
			}
		})
		all.Go(func() {
			for {
				if _, err := p.Write([]byte("ack")); err != nil {
					if codeOf(err) != PortClosed {
						t.Errorf("Write: %v", err)
					}
					return
				}
			}
		})
		for range 2 {
			all.Go(func() {
				<-lib.warm
				p.Close()
			})
		}
		all.Wait()
		<-p.gone
		if n := lib.wrong.Load(); n > 0 || !lib.closed.Load() {
			t.Fatalf("%d calls met a closed descriptor", n)
		}
	}
}

func codeOf(err error) Code {
	var ours *Error
	if errors.As(err, &ours) {
		return ours.Code
	}
	return ""
}
