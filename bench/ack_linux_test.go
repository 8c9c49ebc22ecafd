package bench

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"labagent/driver"
	"labagent/hl7"
	"labagent/lab"
	"labagent/queue"
)

const conns = 16

// listen runs the agent's own way from socket to disk, as cmd/agent wires it, until the test ends.
func listen(t *testing.T, store func() driver.Store) (addr string) {
	t.Helper()
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = probe.Addr().String()
	probe.Close()
	a := &driver.Analyzer{
		Name: "bench", Log: slog.New(slog.DiscardHandler),
		Port:     &driver.Listen{Addr: addr, MaxPerPeer: conns},
		NewTalk:  func() driver.Talk { return hl7.NewMLLP(hl7.Options{}) },
		NewStore: func(string) driver.Store { return store() },
	}
	live(t, a.Run)
	return addr
}

// live runs what lives until the test ends.
func live(t *testing.T, run func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// noDisk makes nothing safe.
type noDisk struct{}

func (noDisk) Ready() error                              { return nil }
func (noDisk) Append(context.Context, []lab.Piece) error { return nil }
func (noDisk) Close(context.Context) error               { return nil }

// naive is the listener one writes without a thought of timers and pipelining: a buffered reader, MSH-10, one answer after
// keep.
func naive(t *testing.T, keep func(text []byte) error) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answerNaively(conn, keep)
		}
	}()
	return l.Addr().String()
}

func answerNaively(conn net.Conn, keep func([]byte) error) {
	defer conn.Close()
	in, out := bufio.NewReader(conn), []byte(nil)
	for {
		text, err := in.ReadBytes(0x1C)
		if err != nil {
			return
		}
		if _, err := in.ReadByte(); err != nil {
			return
		}
		bars, id := 0, []byte(nil)
		for i, start := 0, 0; i < len(text) && id == nil; i++ {
			if text[i] != '|' {
				continue
			}
			if bars++; bars == 10 {
				id = text[start:i]
			}
			start = i + 1
		}
		out = append(out[:0], "\x0bMSH|^~\\&|||||"...)
		out = time.Now().AppendFormat(out, "20060102150405-0700")
		out = append(out, "||ACK|1|P|2.5.1\rMSA|AA|"...)
		out = append(append(out, id...), "\r\x1c\r"...)
		if keep(text) != nil {
			return
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

func TestBenchAckWithoutDisk(t *testing.T) {
	benchOnly(t)
	ours := connect(t, listen(t, func() driver.Store { return noDisk{} }), conns, 1)
	plain := connect(t, naive(t, func([]byte) error { return nil }), conns, 1)
	as, bs := inTurns(ours.rate, plain.rate)
	t.Logf("naive: %.0f msg/s; processor a message: ours %.1f us, naive %.1f us, the load generator in both", median(bs), median(ours.cpu), median(plain.cpu))
	report("hl7/ack_nopersist_16conn", median(as), 0, "msg/s")
	report("hl7/ack_nopersist_vs_naive", ratio(as, bs), 2, "ratio")
	if got := ratio(as, bs); got < 0.8 {
		t.Errorf("%.2f of a naive listener, want 0.8", got)
	}
}

// raw is the limit of the disk: a group commit that takes all that waits, appends it to a file and syncs once.
type raw struct {
	file *os.File
	wake chan struct{}
	mu   sync.Mutex
	wait []*write
}

type write struct {
	text []byte
	done chan error
}

func newRaw(t *testing.T) *raw {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	r := &raw{file: file, wake: make(chan struct{}, 1)}
	live(t, r.run)
	return r
}

func (r *raw) run(ctx context.Context) error {
	var buf []byte
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
		runtime.Gosched() // those answered last are about to come again
		r.mu.Lock()
		batch := r.wait
		r.wait = nil
		r.mu.Unlock()
		buf = buf[:0]
		for _, w := range batch {
			buf = append(buf, w.text...)
		}
		_, err := r.file.Write(buf)
		if err == nil {
			err = syscall.Fdatasync(int(r.file.Fd()))
		}
		for _, w := range batch {
			w.done <- err
		}
	}
}

func (r *raw) append(text []byte) error {
	w := &write{text, make(chan error, 1)}
	r.mu.Lock()
	r.wait = append(r.wait, w)
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return <-w.done
}

// rate is how many messages a second so many writers make safe, with no socket and no protocol between them and the disk.
func (r *raw) rate(t *testing.T) float64 {
	text, _ := message()
	begun := time.Now()
	var all sync.WaitGroup
	counts := make([]int, conns)
	for i := range counts {
		all.Go(func() {
			for time.Since(begun) < slice {
				if err := r.append(text); err != nil {
					t.Error(err)
					return
				}
				counts[i]++
			}
		})
	}
	all.Wait()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return float64(sum) / time.Since(begun).Seconds()
}

// durable listens with a fresh queue under it.
func durable(t *testing.T) (addr string) {
	t.Helper()
	q, err := queue.Open(t.TempDir(), queue.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	live(t, q.Run)
	return listen(t, func() driver.Store { return q.Line("bench", "hl7") })
}

func TestBenchAckDurable(t *testing.T) {
	benchOnly(t)
	disk := newRaw(t)
	ours := connect(t, durable(t), conns, 1)
	plain := connect(t, naive(t, disk.append), conns, 1)
	as, bs := inTurns(ours.rate, plain.rate)
	report("hl7/ack_durable_16conn_vs_raw", ratio(as, bs), 2, "ratio")
	t.Logf("ours: %.0f msg/s, raw: %.0f msg/s", median(as), median(bs))
	if got := ratio(as, bs); got < 0.4 {
		t.Errorf("%.2f of a raw group commit, want 0.40", got)
	}
	as, bs = inTurns(ours.rate, func() float64 { return disk.rate(t) })
	t.Logf("ours: %.0f msg/s, raw without connections: %.0f msg/s, ratio %.2f", median(as), median(bs), ratio(as, bs))
}

func TestBenchAckInFlight(t *testing.T) {
	benchOnly(t)
	addr := durable(t)
	many, one := connect(t, addr, 1, 64), connect(t, addr, 1, 1)
	as, bs := inTurns(many.rate, one.rate)
	t.Logf("64 in flight: %.0f msg/s, one: %.0f msg/s", median(as), median(bs))
	report("hl7/ack_durable_64inflight_vs_1", ratio(as, bs), 1, "ratio")
	if got := ratio(as, bs); got < 8 {
		t.Errorf("%.1f of one message at a time, want 8", got)
	}
}
