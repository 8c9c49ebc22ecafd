package simulate

import (
	"context"
	"fmt"
	"io"
	"time"

	"labagent/talk"
)

// Play plays the analyzer's side of a .talk file on a connection and closes it: it sends what < says, wants the answers of >
// and lets the time of @ pass. What is handed up inside (=, !, *) cannot be seen from here. Chunk is the most bytes written
// at once (0: a step at once), patience how long an answer may take.
func Play(ctx context.Context, conn io.ReadWriteCloser, steps []talk.Step, chunk int, patience time.Duration) error {
	l := newLine(ctx, conn)
	defer l.close()
	for _, s := range steps {
		var err error
		switch s.Op {
		case '<':
			err = l.writeChunks(s.Data, chunk)
		case '>':
			err = l.expect(s, patience)
		case '@':
			err = sleep(ctx, s.Wait)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", s.Line, err)
		}
	}
	if err := l.quiet(min(patience, 200*time.Millisecond)); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	return nil
}

func (l *line) writeChunks(p []byte, chunk int) error {
	for len(p) > 0 {
		n := len(p)
		if chunk > 0 {
			n = min(n, chunk)
		}
		if err := l.write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// expect waits until what came is what the step wants; as in package talktest, the answers
// to several sends may stand in one.
func (l *line) expect(s talk.Step, patience time.Duration) error {
	due := time.Now().Add(patience)
	for {
		n := len(l.rest)
		if !s.Wild {
			n = min(n, len(s.Data))
		}
		if s.Match(l.rest[:n]) {
			l.rest = l.rest[n:]
			return nil
		}
		if err := l.more(due); err != nil {
			return fmt.Errorf("answered %q, want %q: %w", talk.Text(l.rest), talk.Text(s.Data), err)
		}
	}
}

// quiet finds fault with bytes that came and were not expected.
func (l *line) quiet(wait time.Duration) error {
	_ = l.more(time.Now().Add(wait)) // that nothing comes is as it should be
	if len(l.rest) > 0 {
		return fmt.Errorf("answered %q, which the file does not expect", talk.Text(l.rest))
	}
	return nil
}
