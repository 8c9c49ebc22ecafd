package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"labagent/lab"
)

// start opens a queue and runs it until the test ends.
func start(t testing.TB, dir string, o Options) *Queue {
	t.Helper()
	q := reopen(t, dir, o)
	run(t, q)
	return q
}

// reopen opens a queue that is not run yet.
func reopen(t testing.TB, dir string, o Options) *Queue {
	t.Helper()
	q, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeQueue(t, q) })
	return q
}

func run(t testing.TB, q *Queue) {
	go func() {
		if err := q.Run(context.Background()); err != nil {
			t.Error(err)
		}
	}()
}

func closeQueue(t testing.TB, q *Queue) {
	t.Helper()
	if err := q.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func piece(text string, mark lab.Mark) lab.Piece {
	return lab.Piece{Text: []byte(text), Mark: mark, Received: time.Unix(1700000000, 0)}
}

// put appends pieces written as "text=" or "text." or "text!", the mark last.
func put(t testing.TB, l *Line, pieces ...string) {
	t.Helper()
	if err := l.Append(t.Context(), parse(pieces...)); err != nil {
		t.Fatalf("append %q: %v", pieces, err)
	}
}

func parse(pieces ...string) []lab.Piece {
	var all []lab.Piece
	for _, p := range pieces {
		all = append(all, piece(p[:len(p)-1], lab.Mark(p[len(p)-1])))
	}
	return all
}

// texts are the waiting items of the analyzer in the order Next gives them.
func texts(t testing.TB, q *Queue, analyzer string) []string {
	t.Helper()
	all := []string{}
	for after := uint64(0); ; {
		item, err := q.Next(analyzer, after)
		if err != nil {
			t.Fatal(err)
		}
		if item == nil {
			return all
		}
		all, after = append(all, string(item.Text)), item.ID
	}
}

// standing lists all items of the states as "text state reason".
func standing(t testing.TB, q *Queue, states ...State) []string {
	t.Helper()
	all := []string{}
	err := q.List(func(i *Item) bool {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", i.Text, i.State, i.Reason)))
		return true
	}, true, states...)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func same(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func first(t testing.TB, q *Queue, analyzer string) *Item {
	t.Helper()
	item, err := q.Next(analyzer, 0)
	if err != nil || item == nil {
		t.Fatalf("next: %v, %v", item, err)
	}
	return item
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock stands still but for forward.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) forward(d time.Duration) { c.at.Add(int64(d)) }

func TestPiecesOfTwoLinesDoNotMix(t *testing.T) {
	q := start(t, t.TempDir(), Options{})
	a, b := q.Line("xn", "astm"), q.Line("xn", "astm")
	put(t, a, "H|1\r=")
	put(t, b, "H|2\r=")
	put(t, a, "P|1\r=", "O|1\r=")
	put(t, b, "L|2\r.")
	same(t, "while one is open", texts(t, q, "xn"), []string{"H|2\rL|2\r"})
	put(t, a, "L|1\r.", "H|3\rL|3\r.", "H|4\r=")
	same(t, "all whole ones", texts(t, q, "xn"), []string{"H|2\rL|2\r", "H|1\rP|1\rO|1\rL|1\r", "H|3\rL|3\r"})
	same(t, "another analyzer", texts(t, q, "e411"), []string{})

	item := first(t, q, "xn")
	item, err := q.Get(item.ID)
	must(t, err)
	if item.Protocol != "astm" || item.Analyzer != "xn" || item.State != Waiting || item.Size != 8 ||
		!item.Received.Equal(time.Unix(1700000000, 0)) || item.Incomplete {
		t.Errorf("item is %+v", item)
	}
}

func TestMarksThatHoldNothing(t *testing.T) {
	q := start(t, t.TempDir(), Options{})
	l := q.Line("xn", "astm")
	put(t, l, "?", "never stored x", "!")
	put(t, l)
	must(t, l.Close(t.Context()))
	if s := q.Stats(); s.Counts != (Counts{}) || s.Bytes != 0 {
		t.Errorf("something was stored: %+v", s)
	}
}

func TestQuirksAreJoined(t *testing.T) {
	q := start(t, t.TempDir(), Options{})
	l := q.Line("xn", "astm")
	must(t, l.Append(t.Context(), []lab.Piece{
		{Text: []byte("a"), Mark: lab.More, Quirks: []string{"no-cr", "noise"}},
		{Text: []byte("b"), Mark: lab.More, Quirks: []string{"noise", "checksum"}},
		{Text: []byte("c"), Mark: lab.Whole},
	}))
	item := first(t, q, "xn")
	same(t, "quirks", item.Quirks, []string{"no-cr", "noise", "checksum"})
	if item.Received.IsZero() {
		t.Error("a piece without a time was not given one")
	}
}

func TestTornOffMessages(t *testing.T) {
	dir := t.TempDir()
	q := start(t, dir, Options{})
	l := q.Line("xn", "astm")
	put(t, l, "broken =", "by the talk!")
	put(t, l, "closed=")
	must(t, l.Close(t.Context()))
	put(t, l, "alone!")
	put(t, l, "cut=", " off=")
	same(t, "incomplete", standing(t, q, Undelivered...), []string{
		"broken by the talk incomplete broken", "closed incomplete broken", "alone incomplete broken"})
	closeQueue(t, q)

	q = reopen(t, dir, Options{})
	run(t, q)
	put(t, q.Line("xn", "astm"), "next.")
	same(t, "after a restart", standing(t, q, Undelivered...), []string{
		"broken by the talk incomplete broken", "closed incomplete broken", "alone incomplete broken",
		"cut off incomplete restart", "next waiting"})
	same(t, "waiting", texts(t, q, "xn"), []string{"next"})
	item, err := q.Get(first(t, q, "xn").ID - 1)
	must(t, err)
	if !item.Incomplete || item.Protocol != "astm" {
		t.Errorf("the torn item is %+v", item)
	}
}

func TestNextIsFirstInFirstOut(t *testing.T) {
	q := start(t, t.TempDir(), Options{})
	a, b := q.Line("a", "hl7"), q.Line("b", "hl7")
	for i := range 5 {
		put(t, a, fmt.Sprintf("a%d.", i))
		put(t, b, fmt.Sprintf("b%d.", i))
	}
	same(t, "a", texts(t, q, "a"), []string{"a0", "a1", "a2", "a3", "a4"})
	id := first(t, q, "a").ID
	must(t, q.Park(id, "unmapped"))
	same(t, "a after parking", texts(t, q, "a"), []string{"a1", "a2", "a3", "a4"})
	must(t, q.Done(first(t, q, "a").ID, nil))
	must(t, q.Retry(id))
	same(t, "a after retrying", texts(t, q, "a"), []string{"a0", "a2", "a3", "a4"})
	same(t, "b", texts(t, q, "b"), []string{"b0", "b1", "b2", "b3", "b4"})
}

func TestChangedTellsOfWaitingItems(t *testing.T) {
	q := start(t, t.TempDir(), Options{})
	l := q.Line("xn", "astm")
	changed := q.Changed()
	put(t, l, "a=")
	select {
	case <-changed:
		t.Fatal("an open message counts as waiting")
	default:
	}
	put(t, l, "b.")
	<-changed
	changed = q.Changed()
	id := first(t, q, "xn").ID
	must(t, q.Park(id, "unmapped"))
	must(t, q.Retry(id))
	<-changed
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	newer := func(t *testing.T, path string) {
		db, err := bbolt.Open(path, 0o600, nil)
		must(t, err)
		must(t, db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket(bucketMeta)
			return errors.Join(err, b.Put(keyFormat, key(format+1)))
		}))
		must(t, db.Close())
	}
	strange := func(t *testing.T, path string) {
		db, err := bbolt.Open(path, 0o600, nil)
		must(t, err)
		must(t, db.Close())
	}
	write := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte(text), 0o600)) }
	}
	for _, c := range []struct {
		name, file string
		make       func(*testing.T, string)
		want       error
	}{
		{"newer format", fileName, newer, ErrNewer},
		{"a strange bbolt file", fileName, strange, ErrForeign},
		{"text", fileName, write(strings.Repeat("no queue ", 20000)), ErrForeign},
		{"an empty file", fileName, write(""), ErrForeign},
		{"a directory", fileName, func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, ErrForeign},
		{"a strange list of refusals", refusedName, write(strings.Repeat("no list ", 100)), ErrForeign},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, c.file)
			c.make(t, path)
			before, _ := os.ReadFile(path)
			_, err := Open(dir, Options{})
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestOneProcessOnly(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, Options{})
	_, err := Open(dir, Options{})
	if !errors.Is(err, ErrLocked) {
		t.Errorf("a second opening: %v", err)
	}
}

func TestPrivateFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows guards files by access lists, which the service sets")
	}
	dir := filepath.Join(t.TempDir(), "data")
	must(t, os.Mkdir(dir, 0o755))
	q := start(t, dir, Options{})
	put(t, q.Line("xn", "astm"), "a.")
	must(t, os.Chmod(filepath.Join(dir, fileName), 0o644))
	closeQueue(t, q)
	start(t, dir, Options{})
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		info, err := d.Info()
		must(t, err)
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return nil
	}))
}

func TestAnInterruptedCreationIsNoObstacle(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, fileName+".new"), []byte("half a pa"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, refusedName), []byte(refusedMagic+"\x00\x00"), 0o600))
	q := start(t, dir, Options{})
	put(t, q.Line("xn", "astm"), "a.")
	q.Refuse(Refusal{Analyzer: "xn", Reason: "full"})
	closeQueue(t, q)
	q = start(t, dir, Options{})
	if got := len(q.Refusals()); got != 1 {
		t.Errorf("%d refusals", got)
	}
	same(t, "items", texts(t, q, "xn"), []string{"a"})
}

func TestAppendWaitsForRun(t *testing.T) {
	q := reopen(t, t.TempDir(), Options{})
	stored := make(chan error)
	go func() { stored <- q.Line("xn", "astm").Append(t.Context(), parse("a.")) }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Line("xn", "astm").Append(ctx, parse("b.")); err != context.Canceled {
		t.Errorf("append with a context that has ended: %v", err)
	}
	run(t, q)
	must(t, <-stored)
}

func TestAfterTheEnd(t *testing.T) {
	q := start(t, t.TempDir(), Options{})
	l := q.Line("xn", "astm")
	put(t, l, "a.")
	id := first(t, q, "xn").ID
	closeQueue(t, q)
	if err := l.Append(t.Context(), parse("b.")); err != ErrClosed {
		t.Errorf("append: %v", err)
	}
	if err := q.Done(id, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("done: %v", err)
	}
	if err := l.Ready(); err != ErrClosed {
		t.Errorf("ready: %v", err)
	}
	must(t, q.Run(t.Context()))
	closeQueue(t, q)
}

func TestMaxSizeCountsWhatIsUndelivered(t *testing.T) {
	dir := t.TempDir()
	o := Options{MaxSize: 10 * (100 + overhead), KeepDelivered: time.Hour}
	q := start(t, dir, o)
	l := q.Line("xn", "astm")
	message := strings.Repeat("x", 100) + "."
	for range 10 {
		must(t, l.Ready())
		put(t, l, message)
	}
	full := func() {
		t.Helper()
		if err := l.Ready(); err != ErrFull {
			t.Errorf("ready: %v", err)
		}
		if err := l.Append(t.Context(), parse(message)); err != ErrFull {
			t.Errorf("append: %v", err)
		}
	}
	full()
	must(t, q.Park(first(t, q, "xn").ID, "unmapped"))
	full()
	must(t, q.Done(first(t, q, "xn").ID, nil))
	must(t, l.Ready())
	put(t, l, "short=")
	if err := l.Append(t.Context(), parse(message)); err != ErrFull {
		t.Errorf("a message that would be too much: %v", err)
	}
	must(t, l.Close(t.Context()))
	bytes := q.Stats().Bytes
	closeQueue(t, q)

	q = start(t, dir, o)
	if got := q.Stats().Bytes; got != bytes {
		t.Errorf("after a restart %d bytes count, before %d", got, bytes)
	}
	if s := q.Stats(); s.Waiting != 8 || s.Parked != 1 || s.Incomplete != 1 || s.Delivered != 1 {
		t.Errorf("stats: %+v", s)
	}
}

func TestSequencesAreNeverUsedTwice(t *testing.T) {
	dir := t.TempDir()
	var last uint64
	for range 3 {
		q := start(t, dir, Options{})
		l := q.Line("xn", "astm")
		for range 3 {
			put(t, l, "a.")
			item := first(t, q, "xn")
			if item.ID <= last {
				t.Errorf("id %d after %d", item.ID, last)
			}
			last = item.ID
			must(t, q.Done(item.ID, nil))
		}
		closeQueue(t, q)
	}
}

// records counts what lies in the bucket of records.
func records(t testing.TB, q *Queue) (n int) {
	t.Helper()
	must(t, q.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error { n++; return nil })
	}))
	return n
}

func TestAStartReadsOnlyWhatWaits(t *testing.T) {
	dir := t.TempDir()
	o := Options{KeepDelivered: time.Hour}
	q := start(t, dir, o)
	a, b := q.Line("a", "hl7"), q.Line("b", "hl7")
	for range 50 {
		put(t, a, "a.")
		put(t, b, "b.")
	}
	floor := func(want uint64) {
		t.Helper()
		q := start(t, copyFiles(t, dir), o)
		if q.floor != want {
			t.Errorf("a start reads from %d on, want %d", q.floor, want)
		}
	}
	must(t, q.Park(2, "unmapped")) // what has a note is found by it
	for range 49 {
		must(t, q.Done(first(t, q, "b").ID, nil))
	}
	floor(1)
	for range 50 {
		must(t, q.Done(first(t, q, "a").ID, nil))
	}
	put(t, a, "end.")
	floor(101)
	must(t, q.Retry(2))
	put(t, a, "end.")
	floor(101)
	q = start(t, copyFiles(t, dir), o)
	same(t, "a", texts(t, q, "a"), []string{"end", "end"})
	same(t, "b", texts(t, q, "b"), []string{"b"})
}
