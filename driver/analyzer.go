// Package driver keeps the lines of an analyzer alive and runs the one loop between wire, protocol and disk.
//
// A Port opens lines: a serial port (Serial), a socket others connect to (Listen), a socket we connect (Dial). Each line
// gets a Talk, which is the protocol, and a Store, which is the disk; the loop in line.go carries bytes between the three
// and owns the time. It knows no protocol, no queue and no network beyond the port, and it never logs what it carries.
//
// Left out: hardware and software flow control (go.bug.st/serial switches both off), TLS, sending by ourselves.
package driver

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"labagent/lab"
)

// Analyzer is one configured analyzer and all that its lines need.
type Analyzer struct {
	Name     string                  // as configured; stands in each line of the wire log
	Port     Port                    // where its lines come from
	NewTalk  func() Talk             // the protocol of a new line
	NewStore func(line string) Store // the disk under a new line; line is its name, the peer's address or the port's path
	Watch    Watcher                 // told what happens; nil: nobody
	Wire     WireLog                 // told what crosses the wire; nil: nobody
	Log      *slog.Logger            // nil: slog.Default()
	Patience time.Duration           // how long the disk may take before the analyzer is told no; 10 s
}

// Store is the disk under one line; *queue.Line satisfies it. Its methods are called one at a time.
type Store interface {
	// Ready tells without waiting whether a message may begin now; the error says why not.
	Ready() error
	// Append returns nil only when all pieces are synced to disk. When ctx ends first it returns at once, and what it did
	// not confirm it takes back before the next Append: the analyzer was told no and will send it again. The slice may be
	// used again by the caller after a return that ctx did not cause.
	Append(ctx context.Context, pieces []lab.Piece) error
	// Close ends the line; an open message becomes incomplete.
	Close(ctx context.Context) error
}

// Watcher is told what happens on the lines of an analyzer. Its methods are called from several lines at once and must not
// wait. A line is named by the peer's address or the port's path.
type Watcher interface {
	LineUp(line string)
	LineDown(line string, err error)                 // err is nil when we ended it
	Received(n int)                                  // bytes
	Sent(n int)                                      // bytes
	Message(mark lab.Mark)                           // a message was made safe: Whole, or Broken
	Remark(word string)                              // an oddity of the protocol, or ours: "late", the disk took longer than our patience
	Refused(line string, text []byte, reason string) // a piece was turned away for good, as far as this line can know
	Trouble(err error)                               // a line cannot be opened; told at each try
}

// WireLog is told what crosses the wire and what was decided. Its methods must not wait and must not keep p.
type WireLog interface {
	Record(line string, dir byte, at time.Time, p []byte) // dir is '<' from the analyzer, '>' from us, as in .talk files
	Note(line string, at time.Time, word string)          // "! ok", "* checksum", "up"
}

// Conn is one open line. Read waits for bytes; Close ends a waiting Read and Write.
type Conn interface {
	io.ReadWriteCloser
	SetWriteDeadline(t time.Time) error
}

// Port is where lines come from: Serial, Listen, Dial, or in a test a pipe.
type Port interface {
	// Lines opens lines for as long as ctx lives and hands each to serve, which owns the line until it returns, with why it
	// ended. It returns nil when ctx has ended, an error only for what cannot be retried.
	// A line that cannot be opened is told to trouble, each time it is tried.
	Lines(ctx context.Context, log *slog.Logger, serve Serve, trouble func(error)) error
}

// Serve runs one line until it ends and tells why; nil when ctx ended.
type Serve func(ctx context.Context, name string, conn Conn) error

// patience is how long the disk may take: below the 15 s in which a frame must be answered, LIS01-A2 6.5.2.
const patience = 10 * time.Second

// Run serves the analyzer until ctx ends. It returns an error only for what no waiting can mend.
func (a *Analyzer) Run(ctx context.Context) error {
	log := a.Log
	if log == nil {
		log = slog.Default()
	}
	log = log.With("analyzer", a.Name)
	serve := func(ctx context.Context, name string, conn Conn) error { return a.serve(ctx, log, name, conn) }
	trouble := nobody{}.Trouble
	if a.Watch != nil {
		trouble = a.Watch.Trouble
	}
	if err := a.Port.Lines(ctx, log, serve, trouble); err != nil {
		return fmt.Errorf("analyzer %s: %w", a.Name, err)
	}
	return nil
}

// serve runs one line.
func (a *Analyzer) serve(ctx context.Context, log *slog.Logger, name string, conn Conn) error {
	l := &line{
		name: name, wireName: a.Name + " " + name, conn: conn, talk: a.NewTalk(), store: a.NewStore(name),
		watch: a.Watch, wire: a.Wire, log: log.With("line", name), patience: a.Patience,
	}
	if l.watch == nil {
		l.watch = nobody{}
	}
	if l.patience <= 0 {
		l.patience = patience
	}
	return l.run(ctx)
}

// nobody watches when nobody does.
type nobody struct{}

func (nobody) LineUp(string)                  {}
func (nobody) LineDown(string, error)         {}
func (nobody) Received(int)                   {}
func (nobody) Sent(int)                       {}
func (nobody) Message(lab.Mark)               {}
func (nobody) Remark(string)                  {}
func (nobody) Refused(string, []byte, string) {}
func (nobody) Trouble(error)                  {}
