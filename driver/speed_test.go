package driver

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"labagent/lab"
)

// fastTalk is the least a protocol can do, to measure the loop alone.
type fastTalk struct {
	open, piece, out []byte
	ready            bool
	due              time.Time
}

func (f *fastTalk) Feed(now time.Time, p []byte) {
	f.open = append(f.open, p...)
	f.due = now.Add(30 * time.Second)
	if n := len(f.open); n > 0 && f.open[n-1] == '\n' {
		f.piece, f.ready, f.open, f.due = f.open, true, nil, time.Time{}
	}
}

func (f *fastTalk) Output() []byte {
	out := f.out
	f.out = nil
	return out
}

func (f *fastTalk) Take() ([]byte, byte, bool) {
	ok := f.ready
	f.ready = false
	return f.piece, '.', ok
}

func (f *fastTalk) Verdict(time.Time, bool) { f.out = []byte("ok\n") }
func (f *fastTalk) Deadline() time.Time     { return f.due }
func (f *fastTalk) Remarks() []string       { return nil }

const speedConns = 16

// exchanges is how many messages 16 analyzers get answered in d.
func exchanges(tb testing.TB, addr string, d time.Duration) int {
	message := append(make([]byte, 2000), '\n')
	end := time.Now().Add(d)
	var all sync.WaitGroup
	counts := make([]int, speedConns)
	for i := range counts {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			tb.Fatal(err)
		}
		all.Go(func() {
			defer conn.Close()
			var answer [3]byte
			for time.Now().Before(end) {
				if _, err := conn.Write(message); err != nil {
					tb.Error(err)
					return
				}
				if _, err := io.ReadFull(conn, answer[:]); err != nil {
					tb.Error(err)
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
	return sum
}

// naive is what one writes without a thought of timers and disks.
func naive(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			in := bufio.NewReader(conn)
			for {
				if _, err := in.ReadSlice('\n'); err != nil {
					return
				}
				if _, err := conn.Write([]byte("ok\n")); err != nil {
					return
				}
			}
		}()
	}
}

// BenchmarkLoop compares the loop with a naive listener on the same connections, without a disk.
func BenchmarkLoop(b *testing.B) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	go naive(plain)

	ours, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	a := &Analyzer{
		Name: "speed", Log: slog.New(slog.DiscardHandler),
		Port: &Listen{
			Addr: "127.0.0.1:0", Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, MaxPerPeer: speedConns,
			listen: func(context.Context, string) (net.Listener, error) { return ours, nil },
		},
		NewTalk:  func() Talk { return &fastTalk{} },
		NewStore: func(string) Store { return instant{} },
	}
	ended := make(chan struct{})
	go func() { a.Run(ctx); close(ended) }()

	const slice = 100 * time.Millisecond
	var ratios, rates []float64
	for b.Loop() {
		base := exchanges(b, plain.Addr().String(), slice)
		loop := exchanges(b, ours.Addr().String(), slice)
		ratios = append(ratios, float64(loop)/float64(base))
		rates = append(rates, float64(loop)/slice.Seconds())
	}
	slices.Sort(ratios)
	slices.Sort(rates)
	b.ReportMetric(ratios[len(ratios)/2], "vs_naive")
	b.ReportMetric(rates[len(rates)/2], "msg/s")
	stop()
	<-ended
}

// instant is a disk that costs nothing.
type instant struct{}

func (instant) Ready() error                              { return nil }
func (instant) Append(context.Context, []lab.Piece) error { return nil }
func (instant) Close(context.Context) error               { return nil }
