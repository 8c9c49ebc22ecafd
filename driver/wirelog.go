package driver

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// WireFile is a WireLog in a file, for finding the bad frame of last night. It holds patients' data: it is off unless asked
// for, readable by its owner alone, and kept for some days only. One line an event, written as in .talk files:
//
//	2026-03-01T08:00:00.000123+01:00 hematology-1 10.1.2.7:50321 < <STX>1H|\^&<CR><ETX>E5<CR><LF>
//
// Path is today's file; those of other days stand beside it as name-2026-02-28.ext. It never holds up the wire: what comes
// while the buffer is full is dropped, and how much is written down.
type WireFile struct {
	path string
	keep time.Duration
	log  *slog.Logger

	events  chan entry
	held    atomic.Int64 // bytes in events
	dropped atomic.Int64 // events

	file    *os.File
	day     string
	failing outage
}

type entry struct {
	line string
	at   time.Time
	dir  byte // 0: p is a note
	p    []byte
}

const (
	wireEvents = 4096
	wireBytes  = 4 << 20
	wireKeep   = 7 * 24 * time.Hour
)

// NewWireFile gives a wire log that Run writes to path and keeps for so long; 0 stands for 7 days.
func NewWireFile(path string, keep time.Duration, log *slog.Logger) *WireFile {
	if keep <= 0 {
		keep = wireKeep
	}
	return &WireFile{
		path: path, keep: keep, log: log, events: make(chan entry, wireEvents),
		failing: outage{log: log, down: "wire log cannot be written", up: "wire log is written again"},
	}
}

// Record notes bytes that crossed the wire.
func (w *WireFile) Record(line string, dir byte, at time.Time, p []byte) {
	if w.held.Add(int64(len(p))) > wireBytes {
		w.held.Add(-int64(len(p)))
		w.dropped.Add(1)
		return
	}
	w.add(entry{line, at, dir, bytes.Clone(p)})
}

// Note notes a verdict or another event of a line.
func (w *WireFile) Note(line string, at time.Time, word string) {
	w.held.Add(int64(len(word)))
	w.add(entry{line, at, 0, []byte(word)})
}

func (w *WireFile) add(e entry) {
	select {
	case w.events <- e:
	default:
		w.held.Add(-int64(len(e.p)))
		w.dropped.Add(1)
	}
}

// Run writes until ctx ends, and then what is still there: end it after the analyzers.
func (w *WireFile) Run(ctx context.Context) error {
	defer func() {
		if w.file != nil {
			w.file.Close()
		}
	}()
	var text []byte
	var told int64
	for more := true; more; {
		text = text[:0]
		select {
		case e := <-w.events:
			text = w.collect(e, text)
		case <-ctx.Done():
			select {
			case e := <-w.events:
				text = w.collect(e, text)
			default:
				more = false
			}
		}
		if n := w.dropped.Load(); n > told {
			text = fmt.Appendf(text, "%s - - # %d events dropped\n", stamp(time.Now()), n-told)
			told = n
		}
		if len(text) > 0 {
			w.write(time.Now(), text)
		}
	}
	return nil
}

// collect writes an event, and those that are there behind it, to text.
func (w *WireFile) collect(e entry, text []byte) []byte {
	for {
		text = e.append(text)
		w.held.Add(-int64(len(e.p)))
		if len(text) > 256<<10 {
			return text
		}
		select {
		case e = <-w.events:
		default:
			return text
		}
	}
}

func stamp(at time.Time) string { return at.Format("2006-01-02T15:04:05.000000Z07:00") }

func (e entry) append(text []byte) []byte {
	text = append(text, stamp(e.at)...)
	text = append(text, ' ')
	text = append(text, e.line...)
	text = append(text, ' ')
	if e.dir == 0 {
		text = append(text, e.p...)
		return append(text, '\n')
	}
	text = append(text, e.dir, ' ')
	for _, b := range e.p {
		text = append(text, byName[b]...)
	}
	return append(text, '\n')
}

// byName is how each byte is written.
var byName = func() (t [256]string) {
	for i := range t {
		t[i] = "<x" + strings.ToUpper(strconv.FormatInt(0x100+int64(i), 16)[1:]) + ">"
		if i >= ' ' && i <= '~' {
			t[i] = string(rune(i))
		}
	}
	for b, name := range map[byte]string{
		0: "NUL", 1: "SOH", 2: "STX", 3: "ETX", 4: "EOT", 5: "ENQ", 6: "ACK", 7: "BEL", 9: "TAB", 10: "LF", 11: "VT", 13: "CR",
		16: "DLE", 21: "NAK", 22: "SYN", 23: "ETB", 27: "ESC", 28: "FS", 29: "GS", 30: "RS", 31: "US", '<': "LT", '>': "GT",
	} {
		t[b] = "<" + name + ">"
	}
	return t
}()

// write appends to the file of the day. Text that cannot be written is dropped: the disk may be full, and what is on the wire
// matters more than what is said about it.
func (w *WireFile) write(at time.Time, text []byte) {
	err := w.open(at)
	if err == nil {
		_, err = w.file.Write(text)
	}
	if err != nil {
		w.dropped.Add(int64(bytes.Count(text, []byte{'\n'})))
		w.failing.begin(err)
		return
	}
	w.failing.end()
}

// open opens the file of the day, after putting aside that of another.
func (w *WireFile) open(at time.Time) error {
	day := at.Format(time.DateOnly)
	if w.file != nil && w.day == day {
		return nil
	}
	old := w.day
	if w.file != nil {
		w.file.Close() // Windows renames no open file
		w.file = nil
	}
	if info, err := os.Stat(w.path); err == nil {
		if old == "" { // left by a run before this
			old = info.ModTime().In(at.Location()).Format(time.DateOnly)
		}
		if old != day {
			if err := w.putAside(old); err != nil {
				return err
			}
		}
	}
	w.clean(at)
	file, err := os.OpenFile(w.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := file.Chmod(0o600); err != nil {
		file.Close()
		return err
	}
	w.file, w.day = file, day
	return nil
}

// putAside renames the file of a day that is over. The name is free unless clocks were set back; then the text is joined to
// what is there.
func (w *WireFile) putAside(day string) error {
	aside := w.aside(day)
	if _, err := os.Stat(aside); err != nil {
		return os.Rename(w.path, aside)
	}
	text, err := os.ReadFile(w.path)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(aside, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Remove(w.path)
}

func (w *WireFile) aside(day string) string {
	ext := filepath.Ext(w.path)
	return strings.TrimSuffix(w.path, ext) + "-" + day + ext
}

// clean removes the files that are older than what is kept.
func (w *WireFile) clean(at time.Time) {
	names, err := filepath.Glob(w.aside("????-??-??"))
	if err != nil {
		return
	}
	oldest := w.aside(at.Add(-w.keep).Format(time.DateOnly))
	for _, name := range names {
		if name < oldest {
			if err := os.Remove(name); err != nil {
				w.log.Warn("an old wire log could not be removed", "error", err)
			}
		}
	}
}
