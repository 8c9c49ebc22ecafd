package dialect

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"labagent/lab"
)

// TestHostile: what is allowed by the letter of the standard and meant by nobody is read soon, or said to be unreadable
// soon. Each of these took minutes to days, or all memory, as a message of 1 to 16 MB.
func TestHostile(t *testing.T) {
	const size = 1 << 20
	fill := func(s string, share int) string { return strings.Repeat(s, size/share/len(s)) }
	each := func(format string, share int) string {
		var b strings.Builder
		for i := 0; b.Len() < size/share; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	hl7 := func(body string) string { return "MSH|^~\\&|A||||20260101||ORU^R01|1|P|2.5\r" + body }
	line := func(fields string) string { return hl7("OBR|1||S1\rOBX|1|" + fields + "\r") }
	astm := func(body string) string { return "H|\\^&|||A|||||||P||20260101\r" + body + "\rL|1\r" }
	texts := map[string]string{
		"hl7 components of MSH-9":        strings.Replace(hl7(""), "ORU", fill("^", 1), 1),
		"hl7 line ends in MSH":           strings.Replace(hl7("OBX|1|NM|A||1\r"), "ORU", fill("\r", 1), 1),
		"hl7 components of OBX-5":        line("CE|A||" + fill("^", 1)),
		"hl7 some components of OBX-5":   line("CE|A||" + fill("^", 16)),
		"hl7 repetitions of OBX-5":       line("FT|A||" + fill("a~", 1)),
		"hl7 flags":                      line("NM|A||1|||" + each("%x~", 4)),
		"hl7 components of OBX-4":        line("NM|A|" + fill("a^", 4) + "|1"),
		"hl7 line ends in OBX-5":         line("ST|A||" + fill("\r", 1) + "x"),
		"hl7 comments":                   line("NM|A||1\rNTE|||" + fill("a~", 4)),
		"hl7 specimen ids":               hl7("SPM|1|" + fill("~", 4) + "\rOBR|1\rOBX|1|NM|A||1\r"),
		"hl7 segments without end":       hl7(each("Z%02X|\r", 1) + "OBR|1||S1\rOBX|1|NM|A||1\r"),
		"hl7 one result again and again": hl7("OBR|1||S1\r" + fill("OBX||NM|A||1\r", 1)),
		"hl7 supplements of nothing":     hl7("OBR|1||S1\r" + each("OBX||NM|A|%d|1\r", 2) + fill("OBX||NM|B^^^S_OTHER|x|1\r", 2)),
		"hl7 segments above orders":      hl7(fill("ZZZ|\r", 2) + fill("OBR\rOBX||NM|A||1\r", 2)),
		"hl7 comments above orders":      hl7(fill("NTE|||a\r", 2) + fill("OBR\rOBX||NM|A||1\r", 2)),
		"hl7 questions":                  strings.Replace(hl7("QPD|||"+fill("a~", 1)+"\r"), "ORU^R01", "QBP", 1),
		"hl7 results without number":     hl7("OBR|1||S1\r" + each("OBX||NM|A%d||1\r", 1)),
		"astm components of R.4":         astm("O|1|S1\rR|1|A|" + fill("^", 1)),
		"astm some repetitions of R.4":   astm("O|1|S1\rR|1|A|" + fill("\\", 16)),
		"astm flags":                     astm("O|1|S1\rR|1|A|1|||" + fill("a\\", 1)),
		"astm ids":                       astm("O|1|" + fill("\\", 16) + "\rR|1|A|1"),
		"astm comments above orders":     astm(fill("C|||a\r", 2) + fill("O\rR||A|1\r", 2)),
		"astm results without number":    astm("O|1|S1\r" + fill("R|1|A|1\r", 1)),
		"astm orders without number":     astm(fill("O||||||||||||||||||||||||X\r", 1)),
		"astm escapes":                   astm("O|1|S1\rR|1|A|" + fill("&", 1)),
	}
	for name, text := range texts {
		protocol, _, _ := strings.Cut(name, " ")
		began := time.Now()
		done := make(chan bool)
		go func() {
			Dialects[protocol].Report([]byte(text), Setup{}, received)
			Dialects[protocol].Specimen([]byte(text), Setup{})
			close(done)
		}()
		select {
		case <-done:
			if d := time.Since(began); testing.Verbose() {
				t.Log(name, d)
			}
		case <-time.After(15 * time.Second):
			t.Errorf("%s: not read after 15 s", name)
		}
	}
}

// TestReaderFails: a fault in a reader is an error of that message, not the end of the agent.
func TestReaderFails(t *testing.T) {
	read := guarded(func([]byte, Setup, time.Time) (r lab.Report, err error) { panic("secret") })
	if _, err := read(nil, Setup{}, received); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
	if id := harmless(func([]byte, Setup) string { panic("x") })(nil, Setup{}); id != "" {
		t.Errorf("id %q", id)
	}
}
