package driver

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// running runs a wire log; end waits until all is written.
func running(t *testing.T, w *WireFile) (end func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	return func() {
		t.Helper()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func fileText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWireLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "wire.log")
		w := NewWireFile(path, 0, slog.New(slog.DiscardHandler))
		end := running(t, w)
		store := &fakeStore{}
		ours, peer := net.Pipe()
		a := &Analyzer{
			Name: "hematology-1", Port: onePipe{ours}, Log: slog.New(slog.DiscardHandler), Wire: w,
			NewTalk: func() Talk { return &fakeTalk{} }, NewStore: func(string) Store { return store },
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- a.Run(ctx) }()
		answer := make([]byte, 3)
		io.WriteString(peer, "\x02<\xe9>\x7f\r\n")
		io.ReadFull(peer, answer)
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		store.set(func(s *fakeStore) { s.fail = io.ErrShortWrite })
		io.WriteString(peer, "xodd\ntwo\n")
		io.ReadFull(peer, answer)
		stop()
		<-ended
		end()
		zone := time.Now().Format("Z07:00")
		want := strings.ReplaceAll(`2000-01-01T00:00:00.000000Z hematology-1 pipe up
2000-01-01T00:00:00.000000Z hematology-1 pipe < <STX><LT><xE9><GT><x7F><CR><LF>
2000-01-01T00:00:00.000000Z hematology-1 pipe ! ok
2000-01-01T00:00:00.000000Z hematology-1 pipe > ok<LF>
2000-01-01T00:00:01.500000Z hematology-1 pipe < xodd<LF>two<LF>
2000-01-01T00:00:01.500000Z hematology-1 pipe * odd
2000-01-01T00:00:01.500000Z hematology-1 pipe ! no
2000-01-01T00:00:01.500000Z hematology-1 pipe > no<LF>
2000-01-01T00:00:01.500000Z hematology-1 pipe down
`, "0Z ", "0"+zone+" ")
		if zone == "Z" { // the start of a bubble is midnight UTC
			if got := fileText(t, path); got != want {
				t.Errorf("wire log\n%s\nwant\n%s", got, want)
			}
		}
		if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
		}
	})
}

func TestWireLogDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "wire.log")
		// Left by a run of last year, readable by all.
		if err := os.WriteFile(path, []byte("old\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		before := time.Now().AddDate(0, 0, -2)
		if err := os.Chtimes(path, before, before); err != nil {
			t.Fatal(err)
		}
		w := NewWireFile(path, 3*24*time.Hour, slog.New(slog.DiscardHandler))
		end := running(t, w)
		for day := range 6 {
			w.Note("a line", time.Now(), "day "+string(rune('0'+day)))
			synctest.Wait()
			if day == 0 {
				if got := fileText(t, filepath.Join(dir, "wire-"+before.Format(time.DateOnly)+".log")); got != "old\n" {
					t.Errorf("the file of an earlier run holds %q", got)
				}
			}
			time.Sleep(24 * time.Hour)
		}
		end()
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		var got []string
		for _, name := range names {
			text := strings.TrimSpace(fileText(t, name))
			got = append(got, filepath.Base(name)+"="+text[len(text)-1:])
		}
		today := time.Now().AddDate(0, 0, -1) // the last one written
		want := "wire-" + today.AddDate(0, 0, -3).Format(time.DateOnly) + ".log=2" +
			" wire-" + today.AddDate(0, 0, -2).Format(time.DateOnly) + ".log=3" +
			" wire-" + today.AddDate(0, 0, -1).Format(time.DateOnly) + ".log=4 wire.log=5"
		if strings.Join(got, " ") != want {
			t.Errorf("files %v, want %s", got, want)
		}
	})
}

func TestWireLogNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "wire.log")
		w := NewWireFile(path, 0, slog.New(slog.DiscardHandler))
		block := make([]byte, 64<<10)
		for range 100 { // nobody writes yet
			w.Record("a line", '<', time.Now(), block)
		}
		if got, want := w.dropped.Load(), int64(100-wireBytes/len(block)); got != want {
			t.Errorf("%d events dropped, want %d", got, want)
		}
		for range 2 * wireEvents {
			w.Note("a line", time.Now(), "! ok")
		}
		dropped := w.dropped.Load()
		end := running(t, w)
		synctest.Wait()
		w.Record("a line", '<', time.Now(), block)
		end()
		if w.dropped.Load() != dropped {
			t.Errorf("dropped although there was room")
		}
		text := fileText(t, path)
		if !strings.Contains(text, " events dropped\n") || w.held.Load() != 0 {
			t.Errorf("the drops are not written down, or %d bytes are still held", w.held.Load())
		}
	})
}

func TestWireLogCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "later")
		log := &journal{}
		w := NewWireFile(filepath.Join(dir, "wire.log"), 0, slog.New(slog.NewTextHandler(log, nil)))
		end := running(t, w)
		for range 5 {
			w.Note("a line", time.Now(), "lost")
			synctest.Wait()
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		w.Note("a line", time.Now(), "kept")
		end()
		if n := strings.Count(log.String(), "\n"); n != 2 {
			t.Errorf("%d lines of log, want begin and end:\n%s", n, log)
		}
		if text := fileText(t, filepath.Join(dir, "wire.log")); !strings.Contains(text, "kept") || !strings.Contains(text, "events dropped") {
			t.Errorf("wire log:\n%s", text)
		}
	})
}
