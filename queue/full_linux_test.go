package queue

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"labagent/lab"
)

// smallDisk mounts a file system of the size, for the test.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small file system cannot be mounted here, that takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func TestTheDiskIsFull(t *testing.T) {
	disk := smallDisk(t, "8m")
	others := filepath.Join(disk, "others")
	must(t, os.WriteFile(others, make([]byte, 1<<20), 0o600))
	dir := filepath.Join(disk, "data")
	o := Options{KeepDelivered: time.Hour}
	q := start(t, dir, o)
	l := q.Line("xn", "hl7")
	text := func(n int) []byte { return append(bytes.Repeat([]byte{'x'}, 2000), fmt.Sprint(n)...) }
	stored, delivered := 0, 0
	add := func() error {
		begun := time.Now()
		err := l.Append(t.Context(), []lab.Piece{{Text: text(stored), Mark: lab.Whole}})
		if took := time.Since(begun); took > time.Second {
			t.Errorf("answered after %v", took)
		}
		if err == nil {
			stored++
		}
		return err
	}
	deliver := func() {
		t.Helper()
		item, err := q.Next("xn", 0)
		must(t, err)
		if want := text(delivered); !bytes.Equal(item.Text, want) {
			t.Fatalf("item %d is not message %d", item.ID, delivered)
		}
		must(t, q.Done(item.ID, nil))
		delivered++
	}
	fill := func() {
		t.Helper()
		for failed := 0; failed < 3; {
			err := add()
			if err == nil {
				failed = 0
				continue
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("full, and %v", err)
			}
			failed++
		}
	}

	for range 200 {
		must(t, add())
	}
	for range 50 {
		deliver()
	}
	fill()
	if err := l.Ready(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("ready: %v", err)
	}
	if s := q.Stats(); s.Delivered != 0 {
		t.Errorf("%d delivered items are kept while there is no room", s.Delivered)
	}
	if stored < 1500 {
		t.Errorf("7 MB held %d messages of 2 KB", stored)
	}
	// The last pages go to somebody else; nothing is left at all.
	f, err := os.OpenFile(others, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	must(t, f.Close())

	q.Refuse(Refusal{Analyzer: "xn", Specimen: "S1", Reason: "full"})
	must(t, q.Park(first(t, q, "xn").ID, "refused"))
	must(t, q.Retry(uint64(delivered+1)))
	for range 300 {
		deliver()
	}
	if n := records(t, q); n < stored-delivered || n > stored {
		t.Errorf("%d records for %d undelivered messages", n, stored-delivered)
	}
	// Delivered items have made room again, one failing try at a time.
	for range 50 {
		if add() == nil {
			break
		}
	}
	fill()
	t.Logf("%d messages fitted, %d delivered", stored, delivered)
	closeQueue(t, q)

	q = start(t, dir, o) // a start on the full disk
	l = q.Line("xn", "hl7")
	if got := q.Refusals(); len(got) != 1 || got[0].Specimen != "S1" {
		t.Errorf("refusals: %+v", got)
	}
	deliver()
	must(t, os.Remove(others))
	for range 100 {
		must(t, add())
	}
	for delivered < stored {
		deliver()
	}
	same(t, "waiting", texts(t, q, "xn"), []string{})
}
