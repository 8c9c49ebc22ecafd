package hl7

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// cbc is a blood count of about 2 KB with 20 OBX.
func cbc() []byte {
	p := []byte("MSH|^~\\&|BC-5380|Mindray|LIS|HOSP|20260301143943||ORU^R01^ORU_R01|9000001|P|2.3.1||||||UNICODE\r" +
		"PID|1||900331^^^^MR||Muster^Erika||19710804000000|Female\rPV1|1||2^^11\r" +
		"OBR|1||90000733|00001^Automated Count^99MRC||20260301140600|20260301143616|||Beispiel||||20260301140000||||||||||HM||||||||Mindray\r")
	for i := range 20 {
		p = fmt.Appendf(p, "OBX|%d|NM|%d-%d^Parameter%02d^LN||%d.%02d|10*9/L|4.00-10.00|N|||F|||20260301143616||Muster^Max|\r", i+1, 6690+i, i%10, i, i, i*3)
	}
	return p
}

// read parses p and reads every field of every OBX.
func read(p []byte) (bytes int) {
	m, err := Parse(p)
	if err != nil {
		panic(err)
	}
	for _, s := range m.Segments {
		if !s.Is("OBX") {
			continue
		}
		for n := 1; n <= s.Fields(); n++ {
			bytes += len(s.Field(n))
		}
		bytes += len(s.Component(3, 1, 1)) + len(s.Component(3, 1, 2)) + len(s.Component(3, 1, 3))
	}
	return bytes
}

func BenchmarkParseCBC(b *testing.B) {
	p := cbc()
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		read(p)
	}
}

// big is a frame of 8 MiB: a count with an image.
func big() []byte {
	p := append(cbc(), "OBX|21|ED|15008^WBC Histogram. BMP^99MRC||^Image^BMP^Base64^"...)
	p = append(p, bytes.Repeat([]byte("Qk0eAAAA"), (8<<20-len(p))/8)...)
	return Frame(nil, append(p, "||||||F\r"...))
}

// receive takes a stream as a socket gives it, 64 KiB at a time, and answers it.
func receive(m *MLLP, stream []byte) (answer int) {
	for len(stream) > 0 {
		n := min(64<<10, len(stream))
		m.Feed(noon, stream[:n])
		stream = stream[n:]
		for {
			if _, _, ok := m.Take(); !ok {
				break
			}
		}
		m.Verdict(noon, true)
		answer += len(m.Output())
	}
	return answer
}

func BenchmarkFrame8MiB(b *testing.B) {
	stream := big()
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		if receive(NewMLLP(Options{}), stream) == 0 {
			b.Fatal("no answer")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms")
}

// BenchmarkAnswer is one message of 2 KB from bytes to answer.
func BenchmarkAnswer(b *testing.B) {
	m, stream := NewMLLP(Options{}), Frame(nil, cbc())
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		receive(m, stream)
	}
}

func TestBenchHL7(t *testing.T) {
	if os.Getenv("LABAGENT_BENCH") == "" {
		t.Skip("speed is measured by make bench only")
	}
	p, stream := cbc(), big()
	report("hl7/parse_cbc", "MB/s", func() float64 {
		start, n := time.Now(), 0
		for ; time.Since(start) < 2*time.Millisecond; n++ {
			read(p)
		}
		return float64(n*len(p)) / 1e6 / time.Since(start).Seconds()
	})
	report("hl7/frame_8MiB", "ms", func() float64 {
		start := time.Now()
		receive(NewMLLP(Options{}), stream)
		return float64(time.Since(start).Microseconds()) / 1000
	})
}

// report prints the median of many slices, each so short that most of them have the processor to themselves.
func report(name, unit string, slice func() float64) {
	var figures []float64
	for range 101 {
		figures = append(figures, slice())
	}
	slices.Sort(figures)
	fmt.Printf("BENCH %s %.1f %s\n", name, figures[50], unit)
}
