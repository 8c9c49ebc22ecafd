package driver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Listen is a Port that analyzers connect to, as LIS01-A2 7 and MLLP have it.
type Listen struct {
	Addr       string         // host:port to bind
	Allow      []netip.Prefix // who may connect; empty is only good on loopback
	Replace    bool           // a new connection of an address ends the one before (ASTM); else they stand side by side (HL7)
	MaxConns   int            // connections at a time; 16
	MaxPerPeer int            // of one address; 4

	listen func(ctx context.Context, addr string) (net.Listener, error) // nil: TCP
}

const (
	maxConns   = 16
	maxPerPeer = 4
	bindFirst  = time.Second // waits for an address that is not there yet, as after a cold boot
	bindLimit  = 15 * time.Second
)

// keepAlive finds a dead peer within 30 + 3 x 10 s of silence.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}

func listenTCP(ctx context.Context, addr string) (net.Listener, error) {
	c := net.ListenConfig{KeepAliveConfig: keepAlive}
	l, err := c.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return tcpListener{l}, nil
}

// tcpListener sets what an accepted connection does not inherit.
type tcpListener struct{ net.Listener }

func (l tcpListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if raw, err := conn.(*net.TCPConn).SyscallConn(); err == nil {
		giveUpUnacknowledged("", "", raw)
	}
	return conn, nil
}

// Lines accepts connections until ctx ends. A missing allow-list beyond loopback is an error at once.
func (p *Listen) Lines(ctx context.Context, log *slog.Logger, serve Serve, trouble func(error)) error {
	log = log.With("listen", p.Addr)
	listen := p.listen
	if listen == nil {
		listen = listenTCP
	}
	o := outage{log: log, down: "cannot listen", up: "listening again"}
	h := &host{port: p, log: log, serve: serve, peers: map[netip.Addr][]*guest{}, turned: map[netip.Addr]*turned{}}
	defer h.lines.Wait()
	for tries := 1; ctx.Err() == nil; tries++ {
		l, err := listen(ctx, p.Addr)
		if err == nil {
			if len(p.Allow) == 0 && !loopback(l.Addr()) {
				l.Close()
				return &Error{AllowMissing, p.Addr, errors.New("everyone could connect"), "give the networks of the analyzers in tcp.allow, or listen on 127.0.0.1"}
			}
			if tries == 1 {
				log.Info("listening", "addr", l.Addr().String())
			}
			o.end()
			tries = 0
			err = h.accept(ctx, l)
		}
		if ctx.Err() != nil {
			break
		}
		err = &Error{ListenFailed, p.Addr, err, "labagent tries again by itself; see which program has the address, and that this computer has it"}
		o.begin(err)
		trouble(err)
		sleep(ctx, jitter(max(tries, 1), bindFirst, bindLimit))
	}
	return nil
}

func loopback(a net.Addr) bool {
	at, err := netip.ParseAddrPort(a.String())
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// host knows who is connected.
type host struct {
	port  *Listen
	log   *slog.Logger
	serve Serve
	lines sync.WaitGroup

	mu     sync.Mutex
	count  int
	peers  map[netip.Addr][]*guest
	turned map[netip.Addr]*turned
}

// guest is one connection; leave ends it.
type guest struct{ leave context.CancelFunc }

// accept takes connections until the listener fails or ctx ends.
func (h *host) accept(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		h.greet(ctx, conn)
	}
}

// greet lets a connection in or closes it before a byte is read.
func (h *host) greet(ctx context.Context, conn net.Conn) {
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	peer := at.Addr().Unmap().WithZone("")
	if err != nil {
		conn.Close()
		return
	}
	why := ""
	ctx, leave := context.WithCancel(ctx)
	me := &guest{leave}
	h.mu.Lock()
	leaving := 0
	if h.port.Replace && len(h.peers[peer]) > 0 {
		leaving = 1 // what makes room for this one may take a moment to end
	}
	switch {
	case !h.allowed(peer):
		why = "not in the allow-list"
	case h.count >= limit(h.port.MaxConns, maxConns)+leaving:
		why = "too many connections"
	case len(h.peers[peer]) >= limit(h.port.MaxPerPeer, maxPerPeer)+leaving:
		why = "too many connections of this address"
	default:
		if h.port.Replace {
			// The analyzer was switched off and on; the old connection is half open and would wait for ever.
			for _, old := range h.peers[peer] {
				old.leave()
			}
		}
		h.peers[peer] = append(h.peers[peer], me)
		h.count++
	}
	if why != "" {
		h.turnAway(peer, why)
	}
	h.mu.Unlock()
	if why != "" {
		leave()
		conn.Close()
		return
	}
	h.lines.Go(func() {
		defer leave()
		err := h.serve(ctx, at.String(), conn)
		h.log.Debug("connection ended", "line", at.String(), "error", err)
		h.forget(peer, me)
	})
}

func limit(n, standard int) int {
	if n > 0 {
		return n
	}
	return standard
}

func (h *host) allowed(peer netip.Addr) bool {
	for _, net := range h.port.Allow {
		if net.Contains(peer) {
			return true
		}
	}
	return len(h.port.Allow) == 0 && peer.IsLoopback()
}

func (h *host) forget(peer netip.Addr, me *guest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count--
	left := h.peers[peer][:0]
	for _, g := range h.peers[peer] {
		if g != me {
			left = append(left, g)
		}
	}
	if h.peers[peer] = left; len(left) == 0 {
		delete(h.peers, peer)
	}
}

// turned counts what an address was refused since it was last logged.
type turned struct {
	logged time.Time
	count  int
}

const (
	turnedEvery = time.Hour // one line of log an address
	turnedMax   = 256       // addresses remembered
)

// turnAway logs a refused connection, once an hour and address.
func (h *host) turnAway(peer netip.Addr, why string) {
	t := h.turned[peer]
	if t == nil {
		if len(h.turned) >= turnedMax {
			clear(h.turned)
		}
		t = &turned{}
		h.turned[peer] = t
	}
	t.count++
	if now := time.Now(); t.logged.IsZero() || now.Sub(t.logged) >= turnedEvery {
		h.log.Warn("connection refused", "peer", peer.String(), "reason", why, "times", t.count)
		t.logged, t.count = now, 0
	}
}
