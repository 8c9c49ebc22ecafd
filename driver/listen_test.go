package driver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeListener hands out pipes that claim to come from any address.
type fakeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   atomic.Bool
	at     string
}

func newFakeListener(at string) *fakeListener {
	return &fakeListener{conns: make(chan net.Conn), closed: make(chan struct{}), at: at}
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *fakeListener) Close() error {
	if l.once.CompareAndSwap(false, true) {
		close(l.closed)
	}
	return nil
}

func (l *fakeListener) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(l.at))
}

// from is a connection of an address; it counts what we read of it.
type from struct {
	net.Conn
	at    string
	reads *atomic.Int32
}

func (c from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.at)) }
func (c from) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

// call is one attempt of an analyzer to connect.
type call struct {
	t     *testing.T
	peer  net.Conn
	reads atomic.Int32
}

func (l *fakeListener) call(t *testing.T, at string) *call {
	t.Helper()
	ours, peer := net.Pipe()
	c := &call{t: t, peer: peer}
	l.conns <- from{ours, at, &c.reads}
	synctest.Wait()
	return c
}

// served tells whether the line answers.
func (c *call) served() bool {
	c.t.Helper()
	c.peer.SetDeadline(time.Now().Add(time.Second))
	defer c.peer.SetDeadline(time.Time{})
	if _, err := io.WriteString(c.peer, "one\n"); err != nil {
		return false
	}
	answer := make([]byte, 3)
	_, err := io.ReadFull(c.peer, answer)
	synctest.Wait()
	return err == nil && string(answer) == "ok\n"
}

// reception plays against a listener in a bubble.
func reception(t *testing.T, port Listen, play func(l *fakeListener, log *bytes.Buffer, stores map[string]*fakeStore)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newFakeListener("10.1.2.1:5001")
		port.listen = func(context.Context, string) (net.Listener, error) { return l, nil }
		log := &bytes.Buffer{}
		stores := map[string]*fakeStore{}
		a := &Analyzer{
			Name: "a", Port: &port, Log: slog.New(slog.NewTextHandler(log, nil)),
			NewTalk: func() Talk { return &fakeTalk{} },
		}
		lines := make(chan struct{}, 1)
		lines <- struct{}{}
		a.NewStore = func(line string) Store {
			<-lines
			defer func() { lines <- struct{}{} }()
			stores[line] = &fakeStore{}
			return stores[line]
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- a.Run(ctx) }()
		synctest.Wait()
		defer func() {
			stop()
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
		}()
		play(l, log, stores)
	})
}

var laboratory = []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24")}

func TestAllowList(t *testing.T) {
	reception(t, Listen{Allow: laboratory}, func(l *fakeListener, log *bytes.Buffer, _ map[string]*fakeStore) {
		for range 3 {
			stranger := l.call(t, "10.1.3.7:40000")
			if stranger.served() {
				t.Error("an address beyond the allow-list was served")
			}
			if n := stranger.reads.Load(); n != 0 {
				t.Errorf("%d reads of a connection that is not allowed", n)
			}
		}
		if n := strings.Count(log.String(), "connection refused"); n != 1 {
			t.Errorf("three refusals were logged %d times, want once", n)
		}
		if !l.call(t, "10.1.2.7:40000").served() {
			t.Error("an allowed address was not served")
		}
		if !l.call(t, "[::ffff:10.1.2.8]:40000").served() {
			t.Error("an allowed address written as IPv6 was not served")
		}
	})
}

func TestReplace(t *testing.T) {
	for _, c := range []struct {
		name    string
		replace bool
	}{{"ASTM: replaced", true}, {"HL7: side by side", false}} {
		t.Run(c.name, func(t *testing.T) {
			reception(t, Listen{Allow: laboratory, Replace: c.replace, MaxConns: 2}, func(l *fakeListener, _ *bytes.Buffer, stores map[string]*fakeStore) {
				old := l.call(t, "10.1.2.7:40000")
				other := l.call(t, "10.1.2.8:40000")
				if !old.served() || !other.served() {
					t.Fatal("not served")
				}
				io.WriteString(old.peer, "half of a mess") // and the analyzer is switched off
				synctest.Wait()
				if c.replace {
					if !l.call(t, "10.1.2.7:40001").served() {
						t.Error("the new connection was not served")
					}
					got := strings.Join(stores["10.1.2.7:40000"].texts(), " ")
					if got != ".one !half of a mess" || stores["10.1.2.7:40000"].closed != 1 {
						t.Errorf("of the old connection was stored %s, closed %d times", got, stores["10.1.2.7:40000"].closed)
					}
				} else if l.call(t, "10.1.2.7:40001").served() {
					t.Error("a third connection was served, want two at most")
				}
				if old.served() == c.replace {
					t.Errorf("the old connection is served: %v", !c.replace)
				}
				if !other.served() {
					t.Error("the connection of another address was ended")
				}
			})
		})
	}
}

func TestCaps(t *testing.T) {
	reception(t, Listen{Allow: laboratory}, func(l *fakeListener, log *bytes.Buffer, _ map[string]*fakeStore) {
		served := 0
		var first *call
		for peer := range 6 {
			for n := range 6 {
				c := l.call(t, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 2, byte(peer + 1)}), uint16(40000+n)).String())
				if ok := c.served(); ok {
					served++
				} else if n < maxPerPeer && served < maxConns {
					t.Errorf("connection %d of peer %d was refused", n, peer)
				}
				if first == nil {
					first = c
				}
			}
		}
		if served != maxConns {
			t.Errorf("%d connections served, want %d", served, maxConns)
		}
		first.peer.Close()
		synctest.Wait()
		if !l.call(t, "10.1.2.99:40000").served() {
			t.Error("no room although a connection has ended")
		}
	})
}

func TestBeyondLoopbackWantsAllowList(t *testing.T) {
	p := &Listen{Addr: "0.0.0.0:0"}
	err := p.Lines(t.Context(), slog.New(slog.DiscardHandler), nil, func(error) {})
	var ours *Error
	if !errors.As(err, &ours) || ours.Code != AllowMissing {
		t.Errorf("got %v, want %s", err, AllowMissing)
	}
}

func TestListenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tries := 0
		l := newFakeListener("127.0.0.1:5001")
		p := &Listen{Addr: "127.0.0.1:5001", listen: func(context.Context, string) (net.Listener, error) {
			if tries++; tries < 10 {
				return nil, errors.New("address not there")
			}
			return l, nil
		}}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- p.Lines(ctx, slog.New(slog.NewTextHandler(&log, nil)), func(context.Context, string, Conn) error { return nil }, func(error) {})
		}()
		time.Sleep(5 * time.Minute) // in the bubble
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if down, up := strings.Count(log.String(), "cannot listen"), strings.Count(log.String(), "listening again"); tries != 10 || down != 1 || up != 1 {
			t.Errorf("%d tries, logged %d times down and %d times up:\n%s", tries, down, up, &log)
		}
	})
}

// A real socket on loopback, for what a pipe cannot show.
func TestListenTCP(t *testing.T) {
	at := make(chan string, 1)
	p := &Listen{Addr: "127.0.0.1:0", listen: func(ctx context.Context, addr string) (net.Listener, error) {
		l, err := listenTCP(ctx, addr)
		if err == nil {
			at <- l.Addr().String()
		}
		return l, err
	}}
	store := &fakeStore{stalled: make(chan struct{})}
	a := &Analyzer{Name: "a", Port: p, Log: slog.New(slog.DiscardHandler), NewTalk: func() Talk { return &fakeTalk{} }, NewStore: func(string) Store { return store }}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	conn, err := net.Dial("tcp", <-at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The analyzer says it will send no more, and still waits for its answer.
	io.WriteString(conn, "one\n")
	conn.(*net.TCPConn).CloseWrite()
	close(store.stalled)
	if got, err := io.ReadAll(conn); err != nil || string(got) != "ok\n" {
		t.Errorf("answered %q, %v", got, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var up atomic.Bool
		tries := make(chan time.Time, 1000)
		peers := make(chan net.Conn, 10)
		p := &Dial{Addr: "10.1.2.7:5000", dial: func(context.Context, string) (net.Conn, error) {
			tries <- time.Now()
			if !up.Load() {
				return nil, errors.New("connection refused")
			}
			ours, peer := net.Pipe()
			peers <- peer
			return ours, nil
		}}
		a := &Analyzer{
			Name: "a", Port: p, Log: slog.New(slog.NewTextHandler(&log, nil)),
			NewTalk: func() Talk { return &fakeTalk{} }, NewStore: func(string) Store { return &fakeStore{} },
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- a.Run(ctx) }()
		time.Sleep(time.Hour)
		if n := len(tries); n < 60 || n > 400 {
			t.Errorf("%d tries in an hour, want about two a minute", n)
		}
		for last := <-tries; len(tries) > 0; {
			next := <-tries
			if wait := next.Sub(last); wait <= 0 || wait > dialLimit {
				t.Errorf("waited %v between tries", wait)
			}
			last = next
		}
		up.Store(true)
		peer := <-peers
		<-tries
		if !(&call{t: t, peer: peer}).served() {
			t.Error("not served after the analyzer came back")
		}
		time.Sleep(time.Minute)
		lost := time.Now()
		peer.Close()
		if wait := (<-tries).Sub(lost); wait > dialFirst {
			t.Errorf("a line that lived was tried again after %v, want within %v", wait, dialFirst)
		}
		<-peers
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if down, again := strings.Count(log.String(), "line down"), strings.Count(log.String(), "line up again"); down != 2 || again != 1 {
			t.Errorf("logged %d times down and %d times up again:\n%s", down, again, &log)
		}
	})
}

// An analyzer that takes a connection and drops it at once is one outage, not one a try.
func TestDialFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tries := 0
		p := &Dial{Addr: "10.1.2.7:5000", dial: func(context.Context, string) (net.Conn, error) {
			tries++
			ours, peer := net.Pipe()
			peer.Close()
			return ours, nil
		}}
		a := &Analyzer{
			Name: "a", Port: p, Log: slog.New(slog.NewTextHandler(&log, nil)),
			NewTalk: func() Talk { return &fakeTalk{} }, NewStore: func(string) Store { return &fakeStore{} },
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "\n"); n != 1 || tries > 400 {
			t.Errorf("%d tries and %d lines of log in an hour:\n%.2000s", tries, n, &log)
		}
	})
}
