package astm

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// benchMessage is a blood count of 40 results, about 2.5 kB.
func benchMessage() []byte {
	var m strings.Builder
	m.WriteString("H|\\^&|||    HX-550^00-19^90001^^^^HX900001||||||||E1394-97\rP|1||||^Nowhere^Nina||19800101|F\r")
	m.WriteString("O|1||5^3^             260301001^B|^^^^WBC\\^^^^RBC\\^^^^HGB|||||||N||||||||||||||F\r")
	for i := range 40 {
		fmt.Fprintf(&m, "R|%d|^^^^TEST%d^1|%d.41|10*3/uL|4.0 to 10.0|N||F||tech||20260301075812|HX900001\r", i+1, i, i)
	}
	m.WriteString("L|1|N\r")
	return []byte(m.String())
}

// readResults parses a message and touches every field of every result.
func readResults(message []byte) (n int) {
	m, err := Parse(message)
	if err != nil {
		panic(err)
	}
	for _, r := range m.Records {
		if r.Type() != 'R' {
			continue
		}
		for field := range r.Fields() {
			n += len(r.Field(field + 1))
		}
		n += len(r.Component(3, 1, 5))
	}
	return n
}

func BenchmarkParse(b *testing.B) {
	message := benchMessage()
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		readResults(message)
	}
}

// benchSession is a session of frames of the size of a serial line, and how many frames it has.
func benchSession() ([]byte, int) {
	var message []byte
	for range 20 {
		message = append(message, benchMessage()...)
	}
	texts := Split(message, 240)
	return framed(texts), len(texts)
}

// linkFrames reads a session as the loop does, with a disk that is always at once, and tells how many answers it gave.
func linkFrames(session []byte, kept func([]byte)) int {
	now, answers := time.Unix(1, 0), 0
	l := NewLink(Options{})
	for read := range slices.Chunk(session, 4096) {
		l.Feed(now, read)
		for {
			owed := false
			for text, _, ok := l.Take(); ok; text, _, ok = l.Take() {
				kept(text)
				owed = true
			}
			answers += len(l.Output())
			if !owed {
				break
			}
			l.Verdict(now, true)
		}
		answers += len(l.Output())
	}
	return answers
}

// naiveFrames is what one would write in an afternoon: a blocking reader that wants whole frames with their tails, checks
// the sum and the number, and answers.
func naiveFrames(session []byte, kept func([]byte)) int {
	r := bufio.NewReader(bytes.NewReader(session))
	var w bytes.Buffer
	for {
		b, err := r.ReadByte()
		if err != nil {
			return w.Len()
		}
		switch b {
		case ENQ:
			w.WriteByte(ACK)
		case STX:
			line, err := r.ReadBytes('\n')
			if err != nil || len(line) < 6 {
				return w.Len()
			}
			body, sum := line[:len(line)-4], line[len(line)-4:len(line)-2]
			if want, err := strconv.ParseUint(string(sum), 16, 8); err != nil || byte(want) != Checksum(body) {
				w.WriteByte(NAK)
				continue
			}
			kept(body[1 : len(body)-1])
			w.WriteByte(ACK)
		}
	}
}

func BenchmarkFrames(b *testing.B) {
	session, _ := benchSession()
	for _, c := range []struct {
		name string
		read func([]byte, func([]byte)) int
	}{{"link", linkFrames}, {"naive", naiveFrames}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(session)))
			b.ReportAllocs()
			for b.Loop() {
				c.read(session, func([]byte) {})
			}
		})
	}
}

// rate is how often a second f ran in a short while.
func rate(f func()) float64 {
	n, start := 0, time.Now()
	for time.Since(start) < 10*time.Millisecond {
		f()
		n++
	}
	return float64(n) / time.Since(start).Seconds()
}

// median is the median of 51 measurements, the first left out.
func median(measure func() float64) float64 {
	measure()
	var all []float64
	for range 51 {
		all = append(all, measure())
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func benchOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("LABAGENT_BENCH") == "" {
		t.Skip("speed is measured by make bench only")
	}
}

func TestBenchParse(t *testing.T) {
	benchOnly(t)
	message := benchMessage()
	speed := median(func() float64 { return rate(func() { readResults(message) }) * float64(len(message)) / 1e6 })
	fmt.Printf("BENCH astm/parse %.0f MB/s\n", speed)
	if speed < 100 {
		t.Errorf("%.0f MB/s, want 100", speed)
	}
}

func TestBenchFrames(t *testing.T) {
	benchOnly(t)
	session, frames := benchSession()
	for _, read := range []func([]byte, func([]byte)) int{linkFrames, naiveFrames} {
		if got := read(session, func([]byte) {}); got != frames+1 {
			t.Fatalf("%d answers for %d frames and an ENQ", got, frames)
		}
	}
	// In turns, so that what else the machine does falls on both.
	ratio := median(func() float64 {
		link := rate(func() { linkFrames(session, func([]byte) {}) })
		return link / rate(func() { naiveFrames(session, func([]byte) {}) })
	})
	fmt.Printf("BENCH astm/frames_vs_naive %.2f ratio\n", ratio)
	if ratio < 0.7 {
		t.Errorf("%.2f of a naive reader, want 0.7", ratio)
	}
}
