package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
)

// disk stands between the writer and the disk: it counts commits, holds them up and lets them fail.
type disk struct {
	commits atomic.Int32
	stalled chan struct{} // a commit waits until it is closed; nil: none does
	fail    atomic.Int32  // so many commits to come fail
	landing bool          // those that fail are on disk all the same
}

var errDisk = errors.New("input/output error")

func (d *disk) commit(tx *bbolt.Tx) error {
	d.commits.Add(1)
	if d.stalled != nil {
		<-d.stalled
	}
	if d.fail.Add(-1) < 0 {
		return tx.Commit()
	}
	if d.landing {
		return errors.Join(tx.Commit(), errDisk)
	}
	return errors.Join(tx.Rollback(), errDisk)
}

// on opens a queue on the disk d and runs it.
func (d *disk) on(t *testing.T, dir string, o Options) *Queue {
	q := reopen(t, dir, o)
	q.commit = d.commit
	run(t, q)
	return q
}

// within is a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestTheAnswerComesAfterTheSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{stalled: make(chan struct{})}
		q := d.on(t, t.TempDir(), Options{})
		if q.db.NoSync || q.db.NoGrowSync {
			t.Fatal("bbolt does not sync")
		}
		answer := make(chan error, 1)
		go func() { answer <- q.Line("xn", "astm").Append(t.Context(), parse("a.")) }()
		time.Sleep(time.Hour)
		select {
		case err := <-answer:
			t.Fatalf("answered %v before the commit was over", err)
		default:
		}
		same(t, "before the commit is over", texts(t, q, "xn"), []string{})
		close(d.stalled)
		must(t, <-answer)
		same(t, "afterwards", texts(t, q, "xn"), []string{"a"})
	})
}

func TestLinesShareCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{stalled: make(chan struct{})}
		q := d.on(t, t.TempDir(), Options{})
		answers := make(chan error)
		for i := range 64 {
			l := q.Line(fmt.Sprint(i%4), "hl7")
			go func() { answers <- l.Append(t.Context(), parse("a.")) }()
			if i == 0 {
				synctest.Wait() // the first is in a commit, the others come while it is under way
			}
		}
		synctest.Wait()
		close(d.stalled)
		for range 64 {
			must(t, <-answers)
		}
		if n := d.commits.Load(); n != 2 {
			t.Errorf("%d commits for 64 appends", n)
		}
		if s := q.Stats(); s.Waiting != 64 {
			t.Errorf("stats: %+v", s)
		}
	})
}

func TestALateAppendIsTakenBack(t *testing.T) {
	for _, c := range []struct {
		name   string
		before []string // stored and answered
		late   []string
		open   []string // what is incomplete when the agent ends right after
	}{
		{"a whole message", nil, []string{"late."}, nil},
		{"the first piece", nil, []string{"late="}, nil},
		{"the last piece", []string{"A=", "B="}, []string{"late."}, []string{"AB incomplete restart"}},
		{"a piece within", []string{"A=", "B="}, []string{"late="}, []string{"AB incomplete restart"}},
		{"the end and a new beginning", []string{"A="}, []string{"late.", "late."}, []string{"A incomplete restart"}},
		{"the end and a new message", []string{"A="}, []string{"late.", "late="}, []string{"A incomplete restart"}},
		{"torn off", []string{"A="}, []string{"late!", "late="}, []string{"A incomplete restart"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, d := t.TempDir(), &disk{}
				q := d.on(t, dir, Options{})
				l, other := q.Line("xn", "astm"), q.Line("xn", "astm")
				if c.before != nil {
					put(t, l, c.before...)
				}
				bytes := q.Stats().Bytes
				d.stalled = make(chan struct{})
				begun := time.Now()
				if err := l.Append(within(t, 10*time.Second), parse(c.late...)); err != context.DeadlineExceeded {
					t.Fatalf("got %v", err)
				}
				if took := time.Since(begun); took != 10*time.Second {
					t.Errorf("answered after %v", took)
				}
				changed := q.Changed()
				close(d.stalled)
				put(t, other, "other.") // whoever comes next finds it gone
				<-changed
				synctest.Wait()
				same(t, "waiting", texts(t, q, "xn"), []string{"other"})
				if got := q.Stats().Bytes - bytes; got != 5+overhead {
					t.Errorf("%d bytes more count as undelivered", got)
				}
				crashed := copyOf(t, dir)
				same(t, "after a crash", standing(t, crashed, Waiting, Incomplete), append([]string{"other waiting"}, c.open...))

				put(t, l, "again.")
				want := "again"
				for _, b := range slices.Backward(c.before) {
					want = b[:len(b)-1] + want
				}
				same(t, "after the resend", standing(t, q, Undelivered...), []string{"other waiting", want + " waiting"})
				if got, want := records(t, q), len(c.before)+2; got != want {
					t.Errorf("%d records, want %d", got, want)
				}
				closeQueue(t, q)
				q = start(t, dir, Options{})
				same(t, "after a restart", standing(t, q, Undelivered...), []string{"other waiting", want + " waiting"})
			})
		})
	}
}

func TestWhatIsAbandonedBeforeItsCommitIsNeverWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{stalled: make(chan struct{})}
		q := d.on(t, t.TempDir(), Options{})
		a, b := q.Line("a", "astm"), q.Line("b", "astm")
		answer := make(chan error, 1)
		go func() { answer <- a.Append(t.Context(), parse("a.")) }()
		synctest.Wait()
		for range 3 { // the analyzer offers it again and again
			if err := b.Append(within(t, 10*time.Second), parse("b.")); err != context.DeadlineExceeded {
				t.Fatalf("got %v", err)
			}
		}
		close(d.stalled)
		must(t, <-answer)
		put(t, b, "c.")
		same(t, "b", texts(t, q, "b"), []string{"c"})
		if n := d.commits.Load(); n != 2 {
			t.Errorf("%d commits, want 2", n)
		}
	})
}

func TestAFailedCommitIsTakenBack(t *testing.T) {
	for _, landing := range []bool{false, true} {
		for _, failures := range []int32{1, 2, 3, 5} {
			t.Run(fmt.Sprintf("landing %v, %d failures", landing, failures), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					dir, d := t.TempDir(), &disk{landing: landing}
					q := d.on(t, dir, Options{})
					l := q.Line("xn", "astm")
					put(t, l, "A=")
					d.fail.Store(failures)
					for d.fail.Load() > 0 {
						if err := l.Append(t.Context(), parse("B=", "C.", "D=")); !errors.Is(err, errDisk) {
							t.Fatalf("got %v", err)
						}
						synctest.Wait() // what follows a failure is over
						same(t, "waiting", texts(t, q, "xn"), []string{})
					}
					put(t, l, "B.")
					same(t, "at last", standing(t, q), []string{"AB waiting"})
					if n := records(t, q); n != 2 {
						t.Errorf("%d records, want 2", n)
					}
					closeQueue(t, q)
					q = start(t, dir, Options{})
					same(t, "after a restart", standing(t, q), []string{"AB waiting"})
				})
			})
		}
	}
}

func TestAChangeIsTriedOnceMore(t *testing.T) {
	d := &disk{}
	q := d.on(t, t.TempDir(), Options{KeepDelivered: time.Hour})
	put(t, q.Line("xn", "astm"), "a.")
	d.fail.Store(1)
	must(t, q.Done(1, nil))
	same(t, "items", standing(t, q, Waiting, Delivered), []string{"a delivered"})
}

func TestChangesOfUnknownOutcome(t *testing.T) {
	for _, landing := range []bool{false, true} {
		t.Run(fmt.Sprintf("landing %v", landing), func(t *testing.T) {
			dir, d := t.TempDir(), &disk{landing: landing}
			o := Options{KeepDelivered: time.Hour}
			q := d.on(t, dir, o)
			l := q.Line("xn", "astm")
			put(t, l, "a.", "b.", "c!")
			must(t, q.Park(2, "unmapped"))
			d.fail.Store(1000)
			for what, err := range map[string]error{
				"done": q.Done(1, nil), "retry": q.Retry(2), "release": q.Release(3, "anna", "seen", nil)} {
				if !errors.Is(err, errDisk) {
					t.Errorf("%s: %v", what, err)
				}
			}
			d.fail.Store(0)
			want := []string{"a waiting", "b parked unmapped", "c incomplete broken"}
			same(t, "in memory", standing(t, q, Undelivered...), want)
			put(t, l, "d.")
			want = append(want, "d waiting")
			closeQueue(t, q)
			q = start(t, dir, o)
			same(t, "after a restart", standing(t, q), want)
			must(t, q.Done(1, nil))
			if s, n := q.Stats(), history(t, q); s.Delivered != 1 || n != 1 {
				t.Errorf("%d entries in the history, stats: %+v", n, s)
			}
		})
	}
}

func TestADeadDiskIsNotRememberedForEver(t *testing.T) {
	d := &disk{landing: true}
	q := d.on(t, t.TempDir(), Options{})
	l := q.Line("xn", "astm")
	put(t, l, "A=", "x.", "A=")
	d.fail.Store(10000)
	for range 50 {
		if err := l.Append(t.Context(), parse("B.", "C=")); err == nil {
			t.Fatal("stored on a dead disk")
		}
		q.Line("e411", "astm").Append(t.Context(), parse("B.", "C="))
		q.Done(2, nil)
	}
	q.mu.Lock() // the writer is idle: nothing waits
	spans, lines, items := len(q.repairs.spans), len(q.repairs.lines), len(q.repairs.items)
	q.mu.Unlock()
	if spans > 1 || lines > 1 || items > 1 {
		t.Errorf("%d spans, %d lines and %d items are to be repaired", spans, lines, items)
	}
	d.fail.Store(0)
	put(t, l, "B.")
	same(t, "at last", texts(t, q, "xn"), []string{"Ax", "AB"})
	same(t, "of the other", texts(t, q, "e411"), []string{})
	if n := records(t, q); n != 4 {
		t.Errorf("%d records, want 4", n)
	}
}

func TestAClosingIsDoneInTheEnd(t *testing.T) {
	t.Run("after a failed commit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := &disk{landing: true}
			q := d.on(t, t.TempDir(), Options{})
			l := q.Line("xn", "astm")
			put(t, l, "A=")
			d.fail.Store(2)
			if err := l.Close(t.Context()); !errors.Is(err, errDisk) {
				t.Fatalf("got %v", err)
			}
			time.Sleep(2 * tidyEvery)
			synctest.Wait()
			same(t, "items", standing(t, q, Undelivered...), []string{"A incomplete broken"})
		})
	})
	t.Run("after its context ended", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := &disk{}
			q := d.on(t, t.TempDir(), Options{})
			l := q.Line("xn", "astm")
			put(t, l, "A=")
			d.stalled = make(chan struct{})
			if err := l.Append(within(t, 10*time.Second), parse("late.")); err != context.DeadlineExceeded {
				t.Fatalf("got %v", err)
			}
			if err := l.Close(within(t, time.Second)); err != context.DeadlineExceeded {
				t.Fatalf("got %v", err)
			}
			close(d.stalled)
			synctest.Wait()
			same(t, "items", standing(t, q, Undelivered...), []string{"A incomplete broken"})
		})
	})
}

func TestReadySaysWhyNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		q := d.on(t, t.TempDir(), Options{})
		l := q.Line("xn", "astm")
		d.fail.Store(2)
		l.Append(t.Context(), parse("a."))
		if err := l.Ready(); !errors.Is(err, errDisk) {
			t.Errorf("after a failed commit: %v", err)
		}
		time.Sleep(troubleMemory)
		if err := l.Ready(); err != nil {
			t.Errorf("after a while only a try tells: %v", err)
		}
		d.fail.Store(2)
		l.Append(t.Context(), parse("a."))
		put(t, l, "a.")
		if err := l.Ready(); err != nil {
			t.Errorf("after a commit that went well: %v", err)
		}
		d.stalled = make(chan struct{})
		ctx := within(t, stall)
		l.Append(ctx, parse("b."))
		if err := l.Ready(); err != errStalled {
			t.Errorf("when the disk stalls: %v", err)
		}
		close(d.stalled)
		synctest.Wait()
		if err := l.Ready(); err != nil {
			t.Errorf("when the disk is back: %v", err)
		}
	})
}

func TestEndWhileTheDiskStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, d := t.TempDir(), &disk{}
		q := d.on(t, dir, Options{})
		l := q.Line("xn", "astm")
		put(t, l, "a.")
		d.stalled = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		go l.Append(ctx, parse("late."))
		other := make(chan error, 1)
		go func() { other <- q.Line("xn", "astm").Append(t.Context(), parse("asked for before the end.")) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		go func() { time.Sleep(time.Second); close(d.stalled) }()
		closeQueue(t, q)
		must(t, <-other)
		q = start(t, dir, Options{})
		same(t, "after a restart", texts(t, q, "xn"), []string{"a", "asked for before the end"})
	})
}

func TestACrashBetweenPieces(t *testing.T) {
	dir := t.TempDir()
	q := start(t, dir, Options{KeepDelivered: time.Hour})
	a, b := q.Line("a", "astm"), q.Line("b", "astm")
	put(t, a, "H=", "P=")
	put(t, b, "whole.", "H=")
	put(t, a, "O=")
	put(t, b, "torn!", "H=")
	must(t, q.Done(first(t, q, "b").ID, nil))
	for range 3 { // the start itself may crash as well
		crashed := copyOf(t, dir)
		same(t, "after a crash", standing(t, crashed), []string{
			"Htorn incomplete broken", "HPO incomplete restart", "H incomplete restart", "whole delivered"})
		put(t, crashed.Line("a", "astm"), "next.")
		same(t, "waiting", texts(t, crashed, "a"), []string{"next"})
	}
}

// copyOf runs a queue on a copy of what is on disk now, as after a crash.
func copyOf(t *testing.T, dir string) *Queue {
	t.Helper()
	q := start(t, copyFiles(t, dir), Options{KeepDelivered: time.Hour})
	q.Line("nobody", "").Close(t.Context()) // answered after the first commit of the start
	return q
}

func copyFiles(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{fileName, refusedName} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(to, name), text, 0o600))
	}
	return to
}

func history(t *testing.T, q *Queue) (n int) {
	t.Helper()
	must(t, q.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketHistory).ForEach(func(k, v []byte) error { n++; return nil })
	}))
	return n
}

func TestADamagedItemIsParked(t *testing.T) {
	dir := t.TempDir()
	q := start(t, dir, Options{})
	l := q.Line("xn", "astm")
	put(t, l, "H|bit\r=", "L|bit\r.", "H|gone\r=", "L|gone\r.", "header.", "sound.")
	closeQueue(t, q)
	db, err := bbolt.Open(filepath.Join(dir, fileName), 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketRecords)
		flip := func(sequence uint64, at int) error {
			v := slices.Clone(b.Get(key(sequence)))
			v[(at+len(v))%len(v)] ^= 0x10
			return b.Put(key(sequence), v)
		}
		return errors.Join(flip(1, -6), b.Delete(key(3)), flip(5, 2))
	}))
	must(t, db.Close())
	for range 2 {
		q = start(t, dir, Options{})
		same(t, "waiting", texts(t, q, "xn"), []string{"sound"})
		if s := q.Stats(); s.Parked != 3 || s.Waiting != 1 {
			t.Errorf("stats: %+v", s)
		}
		n := 0
		must(t, q.List(func(i *Item) bool { n++; return i.Reason == ReasonDamaged }, true, Parked))
		if n != 3 {
			t.Errorf("%d items listed before one that is not damaged", n)
		}
		if _, err := q.Get(2); !errors.Is(err, errDamaged) {
			t.Errorf("get: %v", err)
		}
		closeQueue(t, q)
	}
}
