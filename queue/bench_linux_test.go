package queue

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"labagent/lab"
)

// raw is the limit of the disk: the same records, written by the same loop (take all that waits, one commit, answer),
// appended to a file and synced once.
type raw struct {
	file *os.File
	mu   sync.Mutex
	wait []*request
	wake chan struct{}
	buf  []byte
	next uint64
}

func (w *raw) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		}
		for w.commit() {
		}
	}
}

func (w *raw) commit() bool {
	runtime.Gosched()
	w.mu.Lock()
	batch := w.wait
	w.wait = nil
	w.mu.Unlock()
	if len(batch) == 0 {
		return false
	}
	w.buf = w.buf[:0]
	for _, r := range batch {
		for _, p := range r.pieces {
			w.next++
			rec := record{mark: p.Mark, sequence: w.next, first: w.next, received: nanos(p.Received), analyzer: r.line.analyzer,
				protocol: r.line.protocol, text: p.Text}
			w.buf = rec.append(w.buf)
		}
	}
	_, err := w.file.Write(w.buf)
	if err == nil {
		err = syscall.Fdatasync(int(w.file.Fd()))
	}
	for _, r := range batch {
		r.done <- err
	}
	return true
}

func (w *raw) append(l *Line, pieces []lab.Piece) error {
	r := &request{line: l, pieces: pieces, done: make(chan error, 1)}
	w.mu.Lock()
	w.wait = append(w.wait, r)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return <-r.done
}

// slice lets so many producers append for a while and tells how many appends a second were answered.
func slice(t testing.TB, producers int, put func(producer int) error) float64 {
	t.Helper()
	const long = 150 * time.Millisecond
	var count atomic.Int64
	var all sync.WaitGroup
	begun := time.Now()
	for n := range producers {
		all.Go(func() {
			for time.Since(begun) < long {
				if err := put(n); err != nil {
					t.Error(err)
					return
				}
				count.Add(1)
			}
		})
	}
	all.Wait()
	return float64(count.Load()) / time.Since(begun).Seconds()
}

// BenchmarkAppend compares the queue with the limit of the disk and with an update of bbolt for each message.
func BenchmarkAppend(b *testing.B) {
	for _, producers := range []int{1, 4, 16, 64} {
		b.Run(fmt.Sprint(producers), func(b *testing.B) { benchmarkAppend(b, producers) })
	}
}

func benchmarkAppend(b *testing.B, producers int) {
	dir := b.TempDir()
	q := start(b, filepath.Join(dir, "queue"), Options{})
	file, err := os.Create(filepath.Join(dir, "raw"))
	must(b, err)
	defer file.Close()
	w := &raw{file: file, wake: make(chan struct{}, 1)}
	go w.run(b.Context())
	naive, err := bbolt.Open(filepath.Join(dir, "naive"), 0o600, nil)
	must(b, err)
	defer naive.Close()
	must(b, naive.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(bucketRecords); return err }))

	text := bytes.Repeat([]byte("2 KB of a message|"), 120)[:2048]
	message := []lab.Piece{{Text: text, Mark: lab.Whole, Received: time.Now()}}
	var lines []*Line
	for n := range producers {
		lines = append(lines, q.Line(fmt.Sprint("xn", n%4), "hl7"))
	}
	var toRaw, toUpdate, rates []float64
	for b.Loop() {
		limit := slice(b, producers, func(n int) error { return w.append(lines[n], message) })
		ours := slice(b, producers, func(n int) error { return lines[n].Append(b.Context(), message) })
		update := slice(b, producers, func(n int) error {
			return naive.Update(func(tx *bbolt.Tx) error {
				b := tx.Bucket(bucketRecords)
				n, err := b.NextSequence()
				if err != nil {
					return err
				}
				return b.Put(key(n), text)
			})
		})
		toRaw, toUpdate, rates = append(toRaw, ours/limit), append(toUpdate, ours/update), append(rates, ours)
	}
	b.ReportMetric(median(toRaw), "vs_raw")
	b.ReportMetric(median(toUpdate), "vs_update")
	b.ReportMetric(median(rates), "msg/s")
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}
