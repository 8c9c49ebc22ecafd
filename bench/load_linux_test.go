// Package bench measures the agent as a whole, through real sockets: how many messages it answers a second, beside the least
// that could answer them in the same process and the same seconds, and what the program itself takes. It holds nothing but
// tests, which only `make bench` runs; the speed of a single room is measured in that room.
package bench

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

func benchOnly(t *testing.T) {
	t.Helper()
	if os.Getenv("LABAGENT_BENCH") == "" {
		t.Skip("speed is measured by make bench only")
	}
}

// report prints a figure for make bench.
func report(name string, value float64, decimals int, unit string) {
	fmt.Printf("BENCH %s %.*f %s\n", name, decimals, value, unit)
}

func median(of []float64) float64 {
	of = slices.Clone(of)
	slices.Sort(of)
	return of[len(of)/2]
}

const (
	slice = 80 * time.Millisecond // of one measurement: short, so that a neighbour falls on both of a pair
	pairs = 61                    // measurements, each of two slices in turns
)

// inTurns measures two things side by side, so that what else the machine does falls on both: slices in turns, the first of
// each pair changing, after one pair that only warms up. It gives all measurements of both.
func inTurns(a, b func() float64) (as, bs []float64) {
	for n := range pairs + 1 {
		var x, y float64
		if n%2 == 0 {
			x, y = a(), b()
		} else {
			y, x = b(), a()
		}
		if n > 0 {
			as, bs = append(as, x), append(bs, y)
		}
	}
	return as, bs
}

// ratio is the median of the ratios of the pairs.
func ratio(as, bs []float64) float64 {
	var all []float64
	for n := range as {
		all = append(all, as[n]/bs[n])
	}
	return median(all)
}

// message is an ORU^R01 of 2 KB with 20 OBX, and where its MSH-10 of eight digits stands.
func message() (text []byte, id int) {
	head := "MSH|^~\\&|BC-5380|Mindray|LIS|HOSP|20260301143943||ORU^R01^ORU_R01|"
	text = []byte(head + "00000000|P|2.3.1||||||UNICODE\r" +
		"PID|1||900331^^^^MR||Muster^Erika||19710804000000|Female\rPV1|1||2^^11\r" +
		"OBR|1||90000733|00001^Automated Count^99MRC||20260301140600|20260301143616|||Beispiel||||20260301140000||||||||||HM||||||||Mindray\r")
	for i := range 20 {
		text = fmt.Appendf(text, "OBX|%d|NM|%d-%d^Parameter%02d^LN||%d.%02d|10*9/L|4.00-10.00|N|||F|||20260301143616||Muster^Max|\r", i+1, 6690+i, i%10, i, i, i*3)
	}
	return text, len(head)
}

// analyzers are the connections of the load generator: each sends messages and checks every answer. It does as little as
// can be, for it runs in the process it measures.
type analyzers struct {
	t     *testing.T
	conns []*client
	cpu   []float64 // microseconds of processor a message, of each slice, the load generator's included
}

type client struct {
	conn     net.Conn
	inFlight int
	out      []byte // frames of 2 KB
	frame    int    // bytes of one
	id       int    // where MSH-10 stands in a frame
	sent     int
	answered int
	in       []byte
	rest     int // bytes at the front of in that are no whole answer yet
}

// connect connects n analyzers that have so many messages in flight each.
func connect(t *testing.T, addr string, n, inFlight int) *analyzers {
	t.Helper()
	all := &analyzers{t: t}
	text, id := message()
	frame := append(append([]byte{0x0B}, text...), 0x1C, 0x0D)
	for range n {
		conn, err := dial(addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		all.conns = append(all.conns, &client{
			conn: conn, inFlight: inFlight, out: bytes.Repeat(frame, inFlight), frame: len(frame), id: id + 1, in: make([]byte, 64<<10),
		})
	}
	return all
}

// dial waits for a listener that is about to listen.
func dial(addr string) (conn net.Conn, err error) {
	for range 2000 {
		if conn, err = net.Dial("tcp", addr); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return conn, err
}

// rate lets them send for one slice and tells how many messages a second were answered.
func (a *analyzers) rate() float64 {
	begun, cpu := time.Now(), processorTime()
	before := a.answered()
	var all sync.WaitGroup
	for _, c := range a.conns {
		all.Go(func() {
			if err := c.run(begun.Add(slice)); err != nil {
				a.t.Error(err)
			}
		})
	}
	all.Wait()
	n := float64(a.answered() - before)
	a.cpu = append(a.cpu, float64((processorTime()-cpu).Microseconds())/n)
	return n / time.Since(begun).Seconds()
}

// processorTime is what the process has used so far.
func processorTime() time.Duration {
	var use syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &use)
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

func (a *analyzers) answered() (n int) {
	for _, c := range a.conns {
		n += c.answered
	}
	return n
}

// run sends until end and waits for all answers.
func (c *client) run(end time.Time) error {
	c.conn.SetDeadline(end.Add(20 * time.Second))
	for free := c.inFlight; ; {
		if time.Now().Before(end) {
			if err := c.send(free); err != nil {
				return err
			}
		}
		if c.answered == c.sent {
			return nil
		}
		var err error
		if free, err = c.receive(); err != nil {
			return err
		}
	}
}

// send writes n messages, each with a control id of its own.
func (c *client) send(n int) error {
	if n == 0 {
		return nil
	}
	for i := range n {
		c.sent++
		number(c.out[i*c.frame+c.id:], c.sent)
	}
	_, err := c.conn.Write(c.out[:n*c.frame])
	return err
}

// receive reads what answers have come and checks that they accept what was sent, in the order sent.
func (c *client) receive() (answers int, err error) {
	n, err := c.conn.Read(c.in[c.rest:])
	if err != nil {
		return 0, err
	}
	in := c.in[:c.rest+n]
	for {
		end := bytes.IndexByte(in, 0x1C)
		if end < 0 || end+1 == len(in) {
			break
		}
		var want [len("\rMSA|AA|") + 8]byte
		number(want[copy(want[:], "\rMSA|AA|"):], c.answered+1)
		if !bytes.Contains(in[:end], want[:]) {
			return 0, fmt.Errorf("answer %d is not %q", c.answered+1, want)
		}
		c.answered++
		answers++
		in = in[end+2:]
	}
	c.rest = copy(c.in, in)
	return answers, nil
}

// number writes n as eight digits.
func number(p []byte, n int) {
	for i := 7; i >= 0; i-- {
		p[i] = byte('0' + n%10)
		n /= 10
	}
}
