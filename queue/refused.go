package queue

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

// Refusal says what was turned away and must be sent again by a person if the analyzer does not do so itself (filing
// rules 10).
type Refusal struct {
	Analyzer string    `json:"analyzer"`
	Line     string    `json:"line,omitempty"`     // the connection, as the log names it
	Specimen string    `json:"specimen,omitempty"` // empty: it could not be read
	Reason   string    `json:"reason"`             // in words
	At       time.Time `json:"at"`                 // the last time
	Since    time.Time `json:"since"`              // the first time
	Count    int       `json:"count"`              // how often
}

// The file of refusals has a fixed size and is written to its full length when it is made, so that a refusal for want of
// room can still be noted. A slot is, integers big endian: CRC-32C of the rest (4), length of the rest (2), at (8), since
// (8), count (4), then analyzer, line, specimen and reason, each a length (1) and that many bytes. A free slot is zero.
const (
	refusedName  = "refused"
	refusedMagic = "labagent refused 1\n"
	slotSize     = 512
	slots        = 1024 // a day of refusals of a small laboratory
	slotText     = 100  // bytes of each text at most
)

type refusals struct {
	file *os.File
	log  *slog.Logger
	wake chan struct{}
	quit chan struct{}

	mu    sync.Mutex
	slot  [slots]Refusal // a free one has count 0
	dirty map[int]bool

	writing sync.Mutex // one writer at a time
	failing bool
}

// openRefusals opens the file, or makes it.
func openRefusals(path string, log *slog.Logger) (*refusals, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	r := &refusals{file: file, log: log, wake: make(chan struct{}, 1), quit: make(chan struct{}), dirty: map[int]bool{}}
	if err := errors.Join(restrict(path, 0o600), r.load()); err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", refusedName, err)
	}
	return r, nil
}

func (r *refusals) load() error {
	all, err := io.ReadAll(io.LimitReader(r.file, (slots+1)*slotSize))
	if err != nil {
		return err
	}
	if len(all) > len(refusedMagic) && !bytes.HasPrefix(all, []byte(refusedMagic)) {
		return ErrForeign
	}
	for i := range slots {
		at := (i + 1) * slotSize
		if at+slotSize > len(all) {
			break
		}
		r.slot[i] = parseRefusal(all[at : at+slotSize])
	}
	if len(all) == (slots+1)*slotSize {
		return nil
	}
	// New, or cut off while it was made.
	fill := make([]byte, (slots+1)*slotSize-len(all))
	if _, err := r.file.WriteAt(fill, int64(len(all))); err != nil {
		return err
	}
	if _, err := r.file.WriteAt([]byte(refusedMagic), 0); err != nil {
		return err
	}
	return r.file.Sync()
}

// Refuse notes a refusal. It never waits for the disk: the note is written beside, by Run. The same refusal of the same
// specimen is one note that counts; when all slots are taken the oldest note gives way.
func (q *Queue) Refuse(f Refusal) {
	if f.At.IsZero() {
		f.At = q.now()
	}
	q.refused.add(f)
}

// Refusals are the refusals noted and not cleared, the oldest first.
func (q *Queue) Refusals() []Refusal {
	r := q.refused
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Refusal
	for _, f := range r.slot {
		if f.Count > 0 {
			all = append(all, f)
		}
	}
	slices.SortStableFunc(all, func(a, b Refusal) int { return a.At.Compare(b.At) })
	return all
}

// ClearRefusal forgets the refusals of a specimen of an analyzer up to the moment at which it has come, and tells how many
// there were. What was refused later is still missing.
func (q *Queue) ClearRefusal(analyzer, specimen string, come time.Time) int {
	r := q.refused
	analyzer, specimen = clip(analyzer), clip(specimen)
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for i, f := range r.slot {
		if f.Count > 0 && f.Analyzer == analyzer && f.Specimen == specimen && !f.At.After(come) {
			r.set(i, Refusal{})
			n++
		}
	}
	return n
}

func (r *refusals) add(f Refusal) {
	f.Analyzer, f.Line, f.Specimen, f.Reason = clip(f.Analyzer), clip(f.Line), clip(f.Specimen), clip(f.Reason)
	f.Since, f.Count = f.At, 1
	r.mu.Lock()
	defer r.mu.Unlock()
	place := 0
	for i, g := range r.slot {
		if g.Count > 0 && g.Analyzer == f.Analyzer && g.Line == f.Line && g.Specimen == f.Specimen && g.Reason == f.Reason {
			f.Since, f.Count = g.Since, g.Count+1
			place = i
			break
		}
		if older(g, r.slot[place]) {
			place = i
		}
	}
	if g := r.slot[place]; g.Count > 0 && f.Count == 1 {
		r.log.Error("the list of refusals is full, the oldest was dropped", "analyzer", g.Analyzer)
	}
	r.set(place, f)
}

// older orders slots by what is given up first: a free one before all.
func older(a, b Refusal) bool {
	if a.Count == 0 || b.Count == 0 {
		return cmp.Less(a.Count, b.Count)
	}
	return a.At.Before(b.At)
}

// set is called with mu held.
func (r *refusals) set(i int, f Refusal) {
	r.slot[i] = f
	r.dirty[i] = true
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run writes what changed until stop.
func (r *refusals) run() {
	for {
		select {
		case <-r.wake:
			r.flush()
		case <-r.quit:
			r.flush()
			return
		}
	}
}

func (r *refusals) stop() { close(r.quit) }

// flush writes the slots that changed and syncs them. What cannot be written is tried again with the next refusal.
func (r *refusals) flush() error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	changed := map[int][]byte{}
	for i := range r.dirty {
		changed[i] = r.slot[i].encode()
	}
	clear(r.dirty)
	r.mu.Unlock()
	if len(changed) == 0 {
		return nil
	}
	var err error
	for i, slot := range changed {
		_, e := r.file.WriteAt(slot, int64(i+1)*slotSize)
		err = errors.Join(err, e)
	}
	if err == nil {
		err = r.file.Sync()
	}
	if err != nil {
		if !r.failing {
			r.log.Error("refusals cannot be written down", "error", err)
		}
		r.mu.Lock()
		for i := range changed {
			r.dirty[i] = true
		}
		r.mu.Unlock()
	}
	r.failing = err != nil
	return err
}

func (r *refusals) close() error { return errors.Join(r.flush(), r.file.Close()) }

func (f Refusal) encode() []byte {
	slot := make([]byte, 0, slotSize)
	if f.Count == 0 {
		return slot[:slotSize]
	}
	slot = append(slot, 0, 0, 0, 0, 0, 0)
	slot = binary.BigEndian.AppendUint64(slot, uint64(nanos(f.At)))
	slot = binary.BigEndian.AppendUint64(slot, uint64(nanos(f.Since)))
	slot = binary.BigEndian.AppendUint32(slot, uint32(f.Count))
	for _, s := range []string{f.Analyzer, f.Line, f.Specimen, f.Reason} {
		slot = append(append(slot, byte(len(s))), s...)
	}
	binary.BigEndian.PutUint16(slot[4:], uint16(len(slot)-6))
	binary.BigEndian.PutUint32(slot, crc32.Checksum(slot[4:], castagnoli))
	return slot[:slotSize]
}

// parseRefusal reads a slot; one that is free, or was torn while it was written, is a free one.
func parseRefusal(slot []byte) Refusal {
	n := int(binary.BigEndian.Uint16(slot[4:]))
	if n < 20 || 6+n > len(slot) || crc32.Checksum(slot[4:6+n], castagnoli) != binary.BigEndian.Uint32(slot) {
		return Refusal{}
	}
	rest := slot[6 : 6+n]
	f := Refusal{
		At:    fromNanos(int64(binary.BigEndian.Uint64(rest))),
		Since: fromNanos(int64(binary.BigEndian.Uint64(rest[8:]))),
		Count: int(binary.BigEndian.Uint32(rest[16:])),
	}
	rest = rest[20:]
	for _, s := range []*string{&f.Analyzer, &f.Line, &f.Specimen, &f.Reason} {
		if len(rest) == 0 || int(rest[0]) >= len(rest) {
			return Refusal{}
		}
		*s, rest = string(rest[1:1+rest[0]]), rest[1+rest[0]:]
	}
	return f
}

// clip cuts a text to what a slot holds, at the border of a character.
func clip(s string) string {
	if len(s) <= slotText {
		return s
	}
	n := slotText
	for n > slotText-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
