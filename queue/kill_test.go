package queue

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"labagent/lab"
)

// killed names the directory in which the test binary plays the agent that is killed.
const killed = "LABAGENT_QUEUE_KILLED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killed); dir != "" {
		if err := playAgent(dir, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// playAgent appends on four lines and delivers beside, and writes into the ledger what it was told: "a TEXT" is stored,
// "p TEXT" is stored but its message is not whole, "d TEXT" is delivered.
func playAgent(dir string, ledger io.Writer) error {
	q, err := Open(dir, Options{KeepDelivered: time.Hour})
	if err != nil {
		return err
	}
	go q.Run(context.Background())
	var mu sync.Mutex
	told := func(format string, a ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(ledger, format+"\n", a...)
	}
	ctx := context.Background()
	life := time.Now().UnixNano()
	for n := range 4 {
		analyzer := fmt.Sprint("xn", n%3)
		go func() {
			l := q.Line(analyzer, "astm")
			for i := 0; ; i++ {
				head := fmt.Sprintf("%s/%d/%d/%06d", analyzer, life, n, i)
				if l.Append(ctx, []lab.Piece{{Text: []byte(head), Mark: lab.More}}) == nil {
					told("p %s", head)
				}
				rest := strings.Repeat(".", 1+rand.IntN(3000))
				if l.Append(ctx, []lab.Piece{{Text: []byte(rest), Mark: lab.Whole}}) == nil {
					told("a %s", head+rest)
				}
			}
		}()
	}
	for {
		changed := q.Changed()
		for n := range 3 {
			item, err := q.Next(fmt.Sprint("xn", n), 0)
			if err != nil {
				return err
			}
			if item != nil && q.Done(item.ID, nil) == nil {
				told("d %s", item.Text)
			}
		}
		<-changed
	}
}

func TestKilledAtAnyMoment(t *testing.T) {
	const cycles = 20
	dir := t.TempDir()
	var ledger []string
	for range cycles {
		ledger = append(ledger, life(t, dir, time.Duration(20+rand.IntN(60))*time.Millisecond)...)
	}

	begun := time.Now()
	q := start(t, dir, Options{KeepDelivered: time.Hour})
	q.Line("nobody", "").Close(t.Context()) // answered after what was open has become incomplete
	t.Logf("%d entries in the ledger of %d lives; opened in %v", len(ledger), cycles, time.Since(begun))
	found := map[string]State{}
	last := map[string]string{} // the order of each line in each life
	if err := q.List(func(i *Item) bool {
		text := string(i.Text)
		if was, twice := found[text]; twice {
			t.Errorf("%q is there as %s and as %s", text, was, i.State)
		}
		found[text] = i.State
		if i.State == Waiting {
			line, n := text[:strings.LastIndex(text, "/")], text[strings.LastIndex(text, "/"):]
			if n <= last[line] {
				t.Errorf("%s comes after %s on line %s", n, last[line], line)
			}
			last[line] = n
		}
		return true
	}, true); err != nil {
		t.Fatal(err)
	}
	stored := 0
	for _, entry := range ledger {
		what, text := entry[:1], entry[2:]
		state, ok := found[text]
		switch {
		case what == "p" && ok && state != Incomplete:
			t.Errorf("half a message is %s: %q", state, text)
		case what == "a" && (!ok || state == Incomplete):
			t.Errorf("acknowledged and lost: %q", text)
		case what == "d" && state != Delivered:
			t.Errorf("delivered and now %q: %q", state, text)
		}
		if what == "a" {
			stored++
		}
	}
	if stored < cycles {
		t.Errorf("only %d messages were acknowledged in %d lives", stored, cycles)
	}
	// Of what was acknowledged in part, the whole or the part must be there.
	for _, entry := range ledger {
		if entry[0] != 'p' {
			continue
		}
		whole := false
		for text := range found {
			whole = whole || strings.HasPrefix(text, entry[2:])
		}
		if !whole {
			t.Errorf("a piece was acknowledged and lost: %q", entry[2:])
		}
	}
}

// life lets an agent live for so long after its first answer, kills it and returns its ledger.
func life(t *testing.T, dir string, long time.Duration) (ledger []string) {
	t.Helper()
	agent := exec.Command(os.Args[0])
	agent.Env = append(os.Environ(), killed+"="+dir)
	agent.Stderr = os.Stderr
	out, err := agent.StdoutPipe()
	must(t, err)
	must(t, agent.Start())
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if len(ledger) == 0 {
			time.AfterFunc(long, func() { agent.Process.Kill() })
		}
		ledger = append(ledger, lines.Text())
	}
	agent.Wait()
	if len(ledger) == 0 {
		t.Fatal("the agent ended before its first answer")
	}
	// Only a line that was written to its end counts; Scan gives a torn last one as well.
	return ledger[:len(ledger)-1]
}
