package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"labagent/lab"
	"labagent/queue"
)

// TestRepeatedFlood: a line on which everything breaks off does not keep what is whole from the server. With 400,000 broken
// items each delivery took minutes.
func TestRepeatedFlood(t *testing.T) {
	q, err := queue.Open(t.TempDir(), queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	go q.Run(ctx)
	defer q.Close()
	line := q.Line("h1", "hl7")
	pieces := make([]lab.Piece, 20_000)
	for i := range pieces {
		pieces[i] = lab.Piece{Text: []byte("noise"), Mark: lab.Broken, Received: time.Now()}
	}
	const result = "OBR|1||S1\rOBX|1|NM|WBC||5.1\r"
	pieces = append(pieces, lab.Piece{Text: []byte("MSH|1\r" + result + "OBX|2|N"), Mark: lab.Broken, Received: time.Now()},
		lab.Piece{Text: []byte("MSH|2\r" + result + "OBX|2|NM|HGB||9\r" + strings.Repeat("NTE|x\r", 200_000)), Mark: lab.Whole, Received: time.Now()})
	if err := line.Append(ctx, pieces); err != nil {
		t.Fatal(err)
	}
	whole, err := q.Next("h1", 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &plant{queue: q, log: slog.New(slog.DiscardHandler)}
	began := time.Now()
	if err := p.closeRepeated(whole); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("it took %v", d)
	}
	if left := q.Stats().Incomplete; left != 20_000 {
		t.Errorf("%d are left, want all but the one that came again", left)
	}
}
