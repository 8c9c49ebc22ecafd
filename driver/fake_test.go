package driver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"labagent/lab"
)

// fakeTalk is a protocol of lines: each text to LF is a message, answered "ok" or "no" and LF. "?" alone asks whether a
// message may begin, a text that begins with "+" is a part of one, with "x" is refused by the protocol. A text that is
// begun must end within 30 s.
type fakeTalk struct {
	kept    []byte // came while a verdict was outstanding
	open    []byte // of a text not ended
	out     []byte
	up      []fakePiece
	owed    int // taken and waiting for the verdict
	mute    int // of them, not answered
	due     time.Time
	alarm   time.Time
	remarks []string

	mu  sync.Mutex
	fed []time.Time // when time passed
}

type fakePiece struct {
	text []byte
	mark byte
}

func (f *fakeTalk) Feed(now time.Time, p []byte) {
	if len(p) == 0 {
		f.mu.Lock()
		f.fed = append(f.fed, now)
		f.mu.Unlock()
		if !f.alarm.IsZero() && !now.Before(f.alarm) {
			f.alarm = time.Time{}
		}
	}
	if f.owed > 0 {
		f.kept = append(f.kept, p...)
		return
	}
	if len(p) == 0 {
		if !f.due.IsZero() && !now.Before(f.due) {
			f.up = append(f.up, fakePiece{bytes.Clone(f.open), '!'})
			f.open, f.due = nil, time.Time{}
		}
		return
	}
	f.open = append(f.open, p...)
	f.due = now.Add(30 * time.Second)
	for {
		i := bytes.IndexByte(f.open, '\n')
		if i < 0 {
			break
		}
		text := bytes.Clone(f.open[:i])
		f.open = f.open[i+1:]
		switch {
		case string(text) == "?":
			f.up = append(f.up, fakePiece{nil, '?'})
		case string(text) == "t":
			f.alarm = now.Add(3 * time.Second)
		case bytes.HasPrefix(text, []byte("+")):
			f.up = append(f.up, fakePiece{text, '='})
		case bytes.HasPrefix(text, []byte("x")):
			f.remarks = append(f.remarks, "odd")
			f.up = append(f.up, fakePiece{text, 'x'})
		case bytes.HasPrefix(text, []byte("panic")):
			panic(string(text))
		default:
			f.up = append(f.up, fakePiece{text, '.'})
		}
	}
	if len(f.open) == 0 {
		f.due = time.Time{}
	}
}

// passed is when time passed, from the start.
func (f *fakeTalk) passed(start time.Time) (all []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range f.fed {
		all = append(all, at.Sub(start))
	}
	return all
}

func (f *fakeTalk) Output() []byte {
	out := f.out
	f.out = nil
	return out
}

func (f *fakeTalk) Take() ([]byte, byte, bool) {
	if len(f.up) == 0 {
		return nil, 0, false
	}
	p := f.up[0]
	f.up = f.up[1:]
	if p.mark != 'x' {
		f.owed++
	}
	if p.mark == '!' {
		f.mute++
	}
	return p.text, p.mark, true
}

func (f *fakeTalk) Verdict(now time.Time, safe bool) {
	word := "no\n"
	if safe {
		word = "ok\n"
	}
	for ; f.owed > f.mute; f.owed-- {
		f.out = append(f.out, word...)
	}
	f.owed, f.mute = 0, 0
	kept := f.kept
	f.kept = nil
	if len(kept) > 0 {
		f.Feed(now, kept)
	}
}

func (f *fakeTalk) Deadline() time.Time {
	if !f.alarm.IsZero() && (f.due.IsZero() || f.alarm.Before(f.due)) {
		return f.alarm
	}
	return f.due
}

func (f *fakeTalk) Remarks() []string {
	words := f.remarks
	f.remarks = nil
	return words
}

// fakeStore is a disk that answers as told.
type fakeStore struct {
	mu      sync.Mutex
	pieces  []lab.Piece
	stalled chan struct{} // Append waits for it; nil: answers at once
	deaf    bool          // Append does not heed ctx
	fail    error
	full    error
	appends int
	closed  int
}

func (s *fakeStore) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

func (s *fakeStore) Append(ctx context.Context, pieces []lab.Piece) error {
	s.mu.Lock()
	stalled, deaf, fail := s.stalled, s.deaf, s.fail
	s.appends++
	s.mu.Unlock()
	if stalled != nil {
		done := ctx.Done()
		if deaf {
			done = nil
		}
		select {
		case <-stalled:
		case <-done:
			return ctx.Err()
		}
	}
	if fail != nil {
		return fail
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pieces = append(s.pieces, pieces...)
	return nil
}

func (s *fakeStore) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed++
	return nil
}

func (s *fakeStore) set(f func(*fakeStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *fakeStore) texts() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pieces {
		all = append(all, string(p.Mark)+string(p.Text))
	}
	return all
}

// diary is a Watcher that remembers.
type diary struct {
	mu      sync.Mutex
	up      []string
	down    []error
	in, out int
	marks   string
	words   []string
	refused []string
}

func (d *diary) note(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *diary) LineUp(line string)           { d.note(func() { d.up = append(d.up, line) }) }
func (d *diary) LineDown(_ string, err error) { d.note(func() { d.down = append(d.down, err) }) }
func (d *diary) Received(n int)               { d.note(func() { d.in += n }) }
func (d *diary) Sent(n int)                   { d.note(func() { d.out += n }) }
func (d *diary) Message(mark lab.Mark)        { d.note(func() { d.marks += string(mark) }) }
func (d *diary) Remark(word string)           { d.note(func() { d.words = append(d.words, word) }) }
func (d *diary) Trouble(error)                {}

func (d *diary) Refused(_ string, text []byte, why string) {
	d.note(func() { d.refused = append(d.refused, string(text)+": "+why) })
}

// onePipe is a Port with one line.
type onePipe struct{ conn Conn }

func (p onePipe) Lines(ctx context.Context, _ *slog.Logger, serve Serve, _ func(error)) error {
	serve(ctx, "pipe", p.conn)
	return nil
}

// rig is one line in a bubble, seen from the analyzer.
type rig struct {
	t     *testing.T
	peer  net.Conn
	talk  *fakeTalk
	store *fakeStore
	watch *diary
	log   *bytes.Buffer
	stop  context.CancelFunc
	ended chan struct{}
	start time.Time
}

// bubble plays against one line over a pipe, in a bubble whose clock stands still until all wait.
func bubble(t *testing.T, play func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		ctx, stop := context.WithCancel(t.Context())
		r := &rig{t: t, peer: peer, talk: &fakeTalk{}, store: &fakeStore{}, watch: &diary{}, log: &bytes.Buffer{}, stop: stop, ended: make(chan struct{}), start: time.Now()}
		a := &Analyzer{
			Name: "a", Port: onePipe{ours}, Watch: r.watch,
			NewTalk:  func() Talk { return r.talk },
			NewStore: func(string) Store { return r.store },
			Log:      slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}
		go func() {
			defer close(r.ended)
			if err := a.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		}()
		defer func() { // also when play gave up
			stop()
			peer.Close()
			<-r.ended
		}()
		play(r)
		stop()
		<-r.ended
		if r.store.closed != 1 {
			t.Errorf("store closed %d times, want once", r.store.closed)
		}
	})
}

func (r *rig) send(text string) {
	r.t.Helper()
	if _, err := r.peer.Write([]byte(text)); err != nil {
		r.t.Fatalf("the analyzer could not send: %v", err)
	}
}

// want reads the answer and how long after the start it came.
func (r *rig) want(text string, at time.Duration) {
	r.t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(r.peer, got); err != nil {
		r.t.Fatalf("no answer %q: %v", text, err)
	}
	if string(got) != text {
		r.t.Fatalf("answered %q, want %q", got, text)
	}
	if passed := time.Since(r.start); passed != at {
		r.t.Fatalf("%q came after %v, want after %v", text, passed, at)
	}
	synctest.Wait()
}

// silent wants no answer for so long.
func (r *rig) silent(d time.Duration) {
	r.t.Helper()
	r.peer.SetReadDeadline(time.Now().Add(d))
	defer r.peer.SetReadDeadline(time.Time{})
	var one [1]byte
	if n, err := r.peer.Read(one[:]); n > 0 || !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		r.t.Fatalf("got %q, %v, want silence for %v", one[:n], err, d)
	}
	synctest.Wait()
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// journal is a log that can be waited for.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{}
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.news != nil {
		close(j.news)
		j.news = nil
	}
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) await(t *testing.T, what string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		j.mu.Lock()
		if strings.Contains(j.text.String(), what) {
			j.mu.Unlock()
			return
		}
		news := make(chan struct{})
		j.news = news
		j.mu.Unlock()
		select {
		case <-news:
		case <-late:
			t.Fatalf("%q was not logged:\n%s", what, j)
		}
	}
}
