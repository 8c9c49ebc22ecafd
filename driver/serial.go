package driver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.bug.st/serial"
)

// Serial is a Port that is a serial port. Bytes that came before it was opened and that the system kept are read like all
// others: they may hold a result.
type Serial struct {
	Path     string // /dev/ttyUSB0, a link of /dev/serial/by-id, or COM3
	Baud     int    // 0: 9600
	DataBits int    // 5 to 8; 0: 8
	Parity   string // none, odd, even, mark, space; empty: none
	StopBits int    // 1 or 2; 0: 1
}

// PortInfo is a serial port this computer has.
type PortInfo struct {
	Path string // what to open
	Link string // a name that stays with the adapter, under /dev/serial/by-id; empty: none
	USB  string // vendor:product, or vendor:product:serial number; empty: not on USB, or not known
}

var parities = map[string]serial.Parity{
	"": serial.NoParity, "none": serial.NoParity, "odd": serial.OddParity, "even": serial.EvenParity,
	"mark": serial.MarkParity, "space": serial.SpaceParity,
}

const (
	reopenFirst = 250 * time.Millisecond // after unplug: found again within 2 s
	reopenLimit = time.Second
	pollEvery   = 200 * time.Millisecond // how long one read of the library lasts, and so how soon Close can be
)

// mode checks the settings.
func (p *Serial) mode() (*serial.Mode, error) {
	m := &serial.Mode{BaudRate: p.Baud, DataBits: p.DataBits}
	if m.BaudRate == 0 {
		m.BaudRate = 9600
	}
	if m.DataBits == 0 {
		m.DataBits = 8
	}
	parity, known := parities[p.Parity]
	m.Parity = parity
	switch {
	case m.BaudRate < 50:
		return nil, p.unfit(fmt.Sprintf("baud %d", p.Baud), "give the baud rate of the analyzer, mostly 9600")
	case m.DataBits < 5 || m.DataBits > 8:
		return nil, p.unfit(fmt.Sprintf("data_bits %d", p.DataBits), "give 5, 6, 7 or 8")
	case !known:
		return nil, p.unfit(fmt.Sprintf("parity %q", p.Parity), "give none, odd, even, mark or space")
	}
	switch p.StopBits {
	case 0, 1:
	case 2:
		m.StopBits = serial.TwoStopBits
	default:
		return nil, p.unfit(fmt.Sprintf("stop_bits %d", p.StopBits), "give 1 or 2")
	}
	return m, nil
}

func (p *Serial) unfit(what, next string) error {
	return &Error{PortInvalid, p.Path, errors.New(what + " is not possible"), next}
}

// Check tells whether the settings are possible at all.
func (p *Serial) Check() error {
	_, err := p.mode()
	return err
}

// Lines keeps the port open until ctx ends. Settings that cannot be are an error at once; a port that is missing is waited
// for.
func (p *Serial) Lines(ctx context.Context, log *slog.Logger, serve Serve, trouble func(error)) error {
	mode, err := p.mode()
	if err != nil {
		return err
	}
	open := func(context.Context) (Conn, error) { return openPort(p.Path, mode) }
	wait := func(tries int) time.Duration { return min(reopenLimit, reopenFirst*time.Duration(tries)) }
	keepOpen(ctx, log, p.Path, open, wait, serve, trouble)
	return nil
}

// port is the one wrapper around the library's ports. No call of the library ever meets a closed descriptor: a late write
// would go into whatever file got the same number since. So each call is counted, and whoever ends the last call after Close
// closes the descriptor.
type port struct {
	path string
	lib  serial.Port
	lock io.Closer // held from before the library opens until after it has closed

	mu     sync.Mutex
	calls  int  // of the library, now
	writes bool // one of them is a write
	closed bool
	gone   chan struct{} // closed: nothing is held any more

	closing  chan struct{} // closed by Close
	out      chan []byte
	sent     chan error
	deadline time.Time // of Write; used by one goroutine
	stuck    bool      // a write was given up
}

func openPort(path string, mode *serial.Mode) (*port, error) {
	lock, err := lockPort(path)
	if err != nil {
		return nil, openError(path, err)
	}
	lib, err := serial.Open(path, mode)
	if err != nil {
		lock.Close()
		return nil, openError(path, err)
	}
	p := newPort(path, lib, lock)
	if err := p.probe(); err != nil {
		p.Close()
		return nil, openError(path, err)
	}
	return p, nil
}

func newPort(path string, lib serial.Port, lock io.Closer) *port {
	p := &port{path: path, lib: lib, lock: lock, gone: make(chan struct{}), closing: make(chan struct{}), out: make(chan []byte), sent: make(chan error, 1)}
	go p.writer() // ends with Close, or with the write it is stuck in
	return p
}

// begin counts a call of the library; false when the port is closed.
func (p *port) begin(write bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.calls++
	p.writes = p.writes || write
	return true
}

func (p *port) end(write bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls--
	p.writes = p.writes && !write
	p.release()
}

// release closes the descriptor when it may be; p.mu is held.
func (p *port) release() {
	if !p.closed || p.calls > 0 {
		return
	}
	p.lib.Close()
	p.lock.Close()
	close(p.gone)
}

// Close ends a waiting Read and Write. It waits for them a little; a write that hangs in the system keeps the port until it
// returns, and nobody can open it before.
func (p *port) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	if p.writes {
		p.lib.ResetOutputBuffer() // makes room for a write that hangs
	}
	p.closed = true
	close(p.closing)
	p.release()
	p.mu.Unlock()
	select {
	case <-p.gone:
	case <-time.After(time.Second):
	}
	return nil
}

// probe finds out whether the library can wait for this descriptor: select(2) knows no number above 1023, and the library
// panics.
func (p *port) probe() error {
	if err := p.lib.SetReadTimeout(time.Millisecond); err != nil { // 0 is not the same everywhere
		return err
	}
	var late *Error
	if _, err := p.read(nil); errors.As(err, &late) {
		return err
	}
	return p.lib.SetReadTimeout(pollEvery)
}

func (p *port) read(b []byte) (n int, err error) {
	defer func() {
		if recover() != nil {
			n, err = 0, &Error{PortDescriptors, p.path, errors.New("more than 1000 files are open, the port cannot be waited for"), "end connections that are not needed, then restart labagent"}
		}
	}()
	return p.lib.Read(b)
}

// Read waits for bytes. All its errors after Close are PortClosed.
func (p *port) Read(b []byte) (int, error) {
	for p.begin(false) {
		n, err := p.read(b)
		p.end(false)
		switch {
		case n > 0:
			return n, nil
		case err != nil && !errors.Is(err, syscall.EINTR):
			return 0, p.lost(err)
		}
	}
	return 0, p.closedError()
}

// SetWriteDeadline says until when later Writes may last.
func (p *port) SetWriteDeadline(t time.Time) error {
	p.deadline = t
	return nil
}

// Write waits until the system has taken b, or the deadline. After a deadline the port is good for nothing but Close.
func (p *port) Write(b []byte) (int, error) {
	wait := (<-chan time.Time)(nil)
	if !p.deadline.IsZero() {
		t := time.NewTimer(time.Until(p.deadline))
		defer t.Stop()
		wait = t.C
	}
	slow := &Error{WriteTimeout, p.path, errors.New("no byte was taken"), "see the cable, and that flow control is off at the analyzer"}
	if p.stuck {
		return 0, slow
	}
	select {
	case p.out <- bytes.Clone(b): // b is the caller's again after the deadline
	case <-p.closing:
		return 0, p.closedError()
	}
	select {
	case err := <-p.sent:
		if err != nil {
			return 0, err
		}
		return len(b), nil
	case <-wait:
		p.stuck = true
		return 0, slow
	case <-p.closing:
		return 0, p.closedError()
	}
}

// writer makes the library's writes, which know no deadline and which Close does not end.
func (p *port) writer() {
	for {
		select {
		case b := <-p.out:
			p.sent <- p.writeAll(b)
		case <-p.closing:
			return
		}
	}
}

func (p *port) writeAll(b []byte) error {
	for len(b) > 0 {
		if !p.begin(true) {
			return p.closedError()
		}
		n, err := p.lib.Write(b)
		p.end(true)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return p.lost(err)
		}
		b = b[n:]
	}
	return nil
}

func (p *port) closedError() error {
	return &Error{PortClosed, p.path, fs.ErrClosed, ""}
}

// lost names the error of a read or write: whatever it is, after Close it is that.
func (p *port) lost(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return p.closedError()
	}
	var ours *Error
	if errors.As(err, &ours) {
		return err
	}
	return &Error{PortGone, p.path, err, "see the cable and the adapter; labagent opens the port again by itself"}
}

// openError names the error of an open.
func openError(path string, err error) error {
	var ours *Error
	if errors.As(err, &ours) {
		return err
	}
	code := PortInvalid
	var theirs *serial.PortError
	switch {
	case errors.As(err, &theirs):
		switch theirs.Code() {
		case serial.PortBusy:
			code = PortBusy
		case serial.PortNotFound:
			code = PortAbsent
		case serial.PermissionDenied:
			code = PortDenied
		}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ENODEV):
		code = PortAbsent
	case errors.Is(err, fs.ErrPermission):
		code = PortDenied
	case errors.Is(err, syscall.EBUSY):
		code = PortBusy
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		code = PortDescriptors
	}
	return &Error{code, path, err, nextStep(code)}
}

func nextStep(code Code) string {
	switch code {
	case PortBusy:
		return "stop the program that holds it"
	case PortDenied:
		return denied
	case PortDescriptors:
		return "end connections that are not needed, then restart labagent"
	}
	found, err := Ports()
	if err != nil || len(found) == 0 {
		return "this computer shows no serial port: see the adapter and its driver"
	}
	var names []string
	for _, f := range found {
		names = append(names, f.Path)
	}
	return "the serial ports of this computer are " + strings.Join(names, ", ")
}
