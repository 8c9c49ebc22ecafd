package driver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnswersAfterTheDisk(t *testing.T) {
	bubble(t, func(r *rig) {
		r.send("one\n")
		r.want("ok\n", 0)
		r.send("?\n")
		r.want("ok\n", 0)
		r.send("+a\n+b\nc\n")
		r.want("ok\nok\nok\n", 0)
		if got := strings.Join(r.store.texts(), " "); got != ".one =+a =+b .c" {
			t.Errorf("stored %s", got)
		}
		if r.store.appends != 2 {
			t.Errorf("%d appends, want 2: what comes together is stored together", r.store.appends)
		}
		if r.watch.marks != ".." || r.watch.in != 14 || r.watch.out != 15 {
			t.Errorf("watcher was told of messages %q, %d bytes in, %d out", r.watch.marks, r.watch.in, r.watch.out)
		}
	})
}

func TestVerdictBesideTheLoop(t *testing.T) {
	bubble(t, func(r *rig) {
		r.store.stalled = make(chan struct{})
		r.send("one\n")
		r.silent(4 * time.Second)
		r.send("begun") // is taken from the wire although the disk has not answered
		synctest.Wait()
		close(r.store.stalled)
		r.want("ok\n", 4*time.Second)
		r.silent(29 * time.Second)
		if at := r.talk.passed(r.start); len(at) != 0 {
			t.Errorf("time passed for the Talk after %v", at)
		}
		r.silent(2 * time.Second)
		if at := r.talk.passed(r.start); len(at) != 1 || at[0] != 34*time.Second {
			t.Errorf("the deadline of the Talk fell at %v, want once after 34s", at)
		}
		if got := strings.Join(r.store.texts(), " "); got != ".one !begun" {
			t.Errorf("stored %s", got)
		}
	})
}

func TestTimersRunWhileTheDiskIsStalled(t *testing.T) {
	bubble(t, func(r *rig) {
		r.store.stalled = make(chan struct{})
		r.send("t\none\n")
		r.silent(5 * time.Second)
		if at := r.talk.passed(r.start); len(at) != 1 || at[0] != 3*time.Second {
			t.Errorf("the deadline of the Talk fell at %v, want once after 3s", at)
		}
		close(r.store.stalled)
		r.want("ok\n", 5*time.Second)
	})
}

func TestDiskStalled(t *testing.T) {
	for _, c := range []struct {
		name string
		deaf bool
		at   time.Duration
	}{
		{"store heeds its ctx", false, 10 * time.Second},
		{"store is deaf", true, 10*time.Second + unheeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.store.stalled, r.store.deaf = make(chan struct{}), c.deaf
				r.send("one\n")
				r.want("no\n", c.at)
				if c.deaf {
					// Nothing more is given to a disk that still owes an answer.
					r.send("?\ntwo\n")
					r.want("no\nno\n", c.at)
					if r.store.appends != 1 {
						t.Errorf("%d appends, want 1", r.store.appends)
					}
				}
				r.silent(30*time.Second - c.at)
				close(r.store.stalled)
				r.silent(5 * time.Second) // no late answer
				r.store.set(func(s *fakeStore) { s.stalled, s.pieces = nil, nil })
				r.send("one\n")
				r.want("ok\n", 35*time.Second)
				if got := strings.Join(r.store.texts(), " "); got != ".one" {
					t.Errorf("stored %s", got)
				}
				if !strings.Contains(strings.Join(r.watch.words, " "), "late") {
					t.Errorf("remarks %v, want late among them", r.watch.words)
				}
				if got := r.watch.refused[0]; got != "one: not stored" {
					t.Errorf("told of refusal %q", got)
				}
				if n := strings.Count(r.log.String(), "level=WARN"); n != 1 {
					t.Errorf("%d warnings, want one for the whole outage:\n%s", n, r.log)
				}
				if !strings.Contains(r.log.String(), "storing again") {
					t.Errorf("the end of the outage was not logged:\n%s", r.log)
				}
			})
		})
	}
}

func TestDiskFull(t *testing.T) {
	bubble(t, func(r *rig) {
		full := errors.New("no room")
		r.store.fail, r.store.full = full, full
		r.send("?\n")
		r.want("no\n", 0)
		r.send("one\n")
		r.want("no\n", 0)
		r.send("one\n")
		r.want("no\n", 0)
		if len(r.watch.refused) != 1 {
			t.Errorf("refusals told: %v, want the repeated one once", r.watch.refused)
		}
		r.store.set(func(s *fakeStore) { s.fail, s.full = nil, nil })
		r.send("?\n")
		r.want("ok\n", 0)
		r.send("one\n")
		r.want("ok\n", 0)
		// It came, and was taken off the list; refused once more it must stand there again.
		r.store.set(func(s *fakeStore) { s.fail = full })
		r.send("one\n")
		r.want("no\n", 0)
		if len(r.watch.refused) != 2 {
			t.Errorf("refusals told: %v, want the later one too", r.watch.refused)
		}
	})
}

func TestStopsReading(t *testing.T) {
	bubble(t, func(r *rig) {
		r.store.stalled = make(chan struct{})
		r.send("one\n")
		synctest.Wait()
		block := append(bytes.Repeat([]byte{'a'}, 1023), '\n')
		sent, blocked := 0, false
		for range 2048 {
			r.peer.SetWriteDeadline(time.Now().Add(10 * brisk))
			n, err := r.peer.Write(block)
			if sent += n; err != nil {
				blocked = true
				break
			}
		}
		if !blocked || sent > waitLimit+2*readSize || sent < waitLimit-2*readSize {
			t.Errorf("%d bytes were taken while the disk was stalled, want about 1 MiB", sent)
		}
		rest := block[len(block)-(1024-sent%1024)%1024:]
		messages := (sent+len(rest))/1024 + 1
		close(r.store.stalled)
		answers := make(chan error)
		go func() {
			_, err := io.ReadFull(r.peer, make([]byte, 3*messages))
			answers <- err
		}()
		r.peer.SetWriteDeadline(time.Time{})
		if len(rest) > 0 {
			r.send(string(rest))
		}
		if err := <-answers; err != nil {
			t.Errorf("answers: %v", err)
		}
		if got := len(r.store.texts()); got != messages {
			t.Errorf("%d messages stored, want %d", got, messages)
		}
	})
}

func TestEndOfContext(t *testing.T) {
	bubble(t, func(r *rig) {
		r.store.stalled = make(chan struct{})
		r.send("one\n")
		synctest.Wait()
		r.stop()
		synctest.Wait()
		select {
		case <-r.ended:
			t.Fatal("ended before the answer that is due")
		default:
		}
		close(r.store.stalled)
		r.want("ok\n", 0)
		<-r.ended
		if time.Since(r.start) != 0 || len(r.watch.down) != 1 || r.watch.down[0] != nil {
			t.Errorf("ended after %v with %v", time.Since(r.start), r.watch.down)
		}
	})
	bubble(t, func(r *rig) {
		r.store.stalled = make(chan struct{})
		r.send("one\n")
		synctest.Wait()
		r.stop()
		<-r.ended
		if took := time.Since(r.start); took > grace+brisk {
			t.Errorf("took %v to end with a stalled disk, want %v at most", took, grace)
		}
	})
	bubble(t, func(r *rig) {
		r.send("one\n") // and the answer is never read
		synctest.Wait()
		r.stop()
		<-r.ended
		if took := time.Since(r.start); took > grace+brisk {
			t.Errorf("took %v to end with a stuck write, want %v at most", took, grace)
		}
	})
}

func TestAnalyzerGoesAway(t *testing.T) {
	bubble(t, func(r *rig) {
		r.store.stalled = make(chan struct{})
		r.send("one\ntor")
		synctest.Wait()
		r.peer.Close()
		synctest.Wait()
		close(r.store.stalled)
		<-r.ended
		if took := time.Since(r.start); took != 0 {
			t.Errorf("took %v to end", took)
		}
		if got := strings.Join(r.store.texts(), " "); got != ".one !tor" {
			t.Errorf("stored %s, want what had come and what was torn off", got)
		}
		if len(r.watch.down) != 1 || r.watch.down[0] == nil {
			t.Errorf("line down with %v", r.watch.down)
		}
	})
}

func TestSlowReader(t *testing.T) {
	bubble(t, func(r *rig) {
		r.send("one\n") // and the answer is never read
		<-r.ended
		if took := time.Since(r.start); took != writeWait {
			t.Errorf("ended after %v, want %v", took, writeWait)
		}
		if len(r.watch.down) != 1 || !isTimeout(r.watch.down[0]) {
			t.Errorf("line down with %v, want a timeout", r.watch.down)
		}
	})
}

func TestRemarksAndRefusals(t *testing.T) {
	bubble(t, func(r *rig) {
		r.send("xbad\nxbad\ngood\n")
		r.want("ok\n", 0)
		if len(r.watch.refused) != 1 || r.watch.refused[0] != "xbad: odd" {
			t.Errorf("told of refusals %v", r.watch.refused)
		}
		if got := r.store.pieces; len(got) != 1 || len(got[0].Quirks) != 1 || got[0].Quirks[0] != "odd" || !got[0].Received.Equal(r.start) {
			t.Errorf("stored %v", got)
		}
		if n := strings.Count(r.log.String(), "word=odd"); n != 1 {
			t.Errorf("the oddity was logged %d times, want once", n)
		}
		if strings.Contains(r.log.String(), "good") || strings.Contains(r.log.String(), "bad") {
			t.Errorf("bytes of a message in the log:\n%s", r.log)
		}
	})
}

func TestFaultEndsOneLine(t *testing.T) {
	bubble(t, func(r *rig) {
		r.send("panic secret\n")
		<-r.ended
		if log := r.log.String(); !strings.Contains(log, "fault") || strings.Contains(log, "secret") {
			t.Errorf("logged:\n%s", log)
		}
	})
}

func TestTwoLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Analyzer{
			Name: "a", Port: twoPipes{}, Log: slog.New(slog.DiscardHandler),
			NewTalk: func() Talk { return &fakeTalk{} },
		}
		var peers [2]net.Conn
		stores := map[string]*fakeStore{"first": {stalled: make(chan struct{})}, "second": {}}
		a.NewStore = func(line string) Store { return stores[line] }
		var ours [2]net.Conn
		for i := range peers {
			ours[i], peers[i] = net.Pipe()
		}
		a.Port = twoPipes{ours}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- a.Run(ctx) }()
		io.WriteString(peers[0], "one\n")
		io.WriteString(peers[1], "two\n")
		answer := make([]byte, 3)
		if _, err := io.ReadFull(peers[1], answer); err != nil || string(answer) != "ok\n" {
			t.Errorf("the second line was answered %q, %v beside a stalled one", answer, err)
		}
		close(stores["first"].stalled)
		if _, err := io.ReadFull(peers[0], answer); err != nil || string(answer) != "ok\n" {
			t.Errorf("the first line was answered %q, %v", answer, err)
		}
		stop()
		<-ended
	})
}

type twoPipes struct{ conns [2]net.Conn }

func (p twoPipes) Lines(ctx context.Context, _ *slog.Logger, serve Serve, _ func(error)) error {
	first := make(chan struct{})
	go func() { serve(ctx, "first", p.conns[0]); close(first) }()
	serve(ctx, "second", p.conns[1])
	<-first
	return nil
}

// TestTornWhileTheDiskFails: that a message broke off is stored before anything else, by itself as soon as the disk can, and
// never does the next message grow onto it. What is told of its refused rest begins with what was stored.
func TestTornWhileTheDiskFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		next   time.Duration // when the next message comes
		stored string
	}{
		{"nothing comes", time.Minute, "=+a ! .two"},
		{"the next message comes first", 34 * time.Second, "=+a ! .two"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.send("+a\n")
				r.want("ok\n", 0)
				r.store.set(func(s *fakeStore) { s.fail = errors.New("full") })
				r.send("rest")
				r.silent(33 * time.Second) // it breaks off after 30
				r.store.set(func(s *fakeStore) { s.fail = nil })
				r.silent(c.next - 33*time.Second)
				if stored := r.store.texts(); c.next == time.Minute && len(stored) != 2 {
					t.Errorf("before anything comes %q is stored", stored)
				}
				r.send("two\n")
				r.want("ok\n", c.next)
				if got := strings.Join(r.store.texts(), " "); got != c.stored {
					t.Errorf("stored %q, want %q", got, c.stored)
				}
				if got := strings.Join(r.watch.refused, ","); got != "+arest: not stored" || r.watch.marks != "!." {
					t.Errorf("told of refusals %q and messages %q", got, r.watch.marks)
				}
			})
		})
	}
}
