package simulate

import (
	"io"
	"net"
	"sync"
	"time"
)

// machine is a protocol machine of astm or hl7.
type machine interface {
	Feed(now time.Time, p []byte)
	Output() []byte
	Take() (piece []byte, mark byte, ok bool)
	Verdict(now time.Time, safe bool)
	Deadline() time.Time
	Remarks() []string
}

// host is a receiver with a machine inside and no disk.
type host struct {
	machine func() machine
	verdict func(mark byte) bool // nil: all is safe

	mu    sync.Mutex // a broken connection and the next may overlap
	whole [][]byte   // messages as handed up
}

// dial gives the analyzer a connection to a new machine; the goroutine ends with the connection.
func (h *host) dial() net.Conn {
	ours, theirs := net.Pipe()
	go h.serve(ours)
	return theirs
}

func (h *host) serve(conn net.Conn) {
	m := h.machine()
	var open []byte // of the message under way on this connection
	buf := make([]byte, 512)
	for {
		due := m.Deadline()
		_ = conn.SetReadDeadline(due) // the zero time is never
		n, err := conn.Read(buf)
		if ne, ok := err.(net.Error); err != nil && (!ok || !ne.Timeout()) {
			_ = conn.Close()
			return
		}
		m.Feed(time.Now(), buf[:n])
		if err := h.settle(conn, m, &open); err != nil {
			return
		}
	}
}

func (h *host) settle(conn io.Writer, m machine, open *[]byte) error {
	for {
		owed, safe := false, true
		for {
			text, mark, ok := m.Take()
			if !ok {
				break
			}
			if mark == 'x' {
				continue
			}
			owed = true
			if h.verdict != nil {
				safe = h.verdict(mark) && safe
			}
			if safe {
				h.keep(text, mark, open)
			}
		}
		if owed {
			m.Verdict(time.Now(), safe)
		}
		if out := m.Output(); len(out) > 0 {
			if _, err := conn.Write(out); err != nil {
				return err
			}
		}
		if !owed {
			return nil
		}
	}
}

func (h *host) keep(text []byte, mark byte, open *[]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch mark {
	case '=':
		*open = append(*open, text...)
	case '.':
		h.whole = append(h.whole, append(*open, text...))
		*open = nil
	case '!':
		*open = nil
	}
}
