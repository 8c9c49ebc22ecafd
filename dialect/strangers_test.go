package dialect_test

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"labagent/dialect"
	"labagent/filing"
)

func pick(r *rand.Rand, l ...string) string { return l[r.Intn(len(l))] }

// gen makes a message of few, often equal and often odd, words.
func gen(r *rand.Rand, proto string) string {
	var b strings.Builder
	id := func() string {
		return pick(r, "S1", "S2", "S3", "S1^1", "^1^2", "", "1", "S1 ", "^S1", "S1^^", "NONE", "?")
	}
	tm := func() string {
		return pick(r, "", "", "20260101120000", "20260101120100", "20260102", "00000000", "19800101", "0", "202601011200")
	}
	code := func() string {
		return pick(r, "^^^A", "^^^B", "^^^A^1^DOSE", "^^^A^1^RLU", "A", "A^a^L", "B^b^L", "^^^A/5/not", "^^^A^")
	}
	val := func() string { return pick(r, "1", "2", "1.0", "<1", "", "POS", "-", "^1", "1^2", "+1") }
	if proto == "astm" {
		fmt.Fprintf(&b, "H|\\^&|%d||A|||||||P||20260101%02d0000\r", r.Intn(1e9), r.Intn(24))
		for p := 0; p < 1+r.Intn(2); p++ {
			fmt.Fprintf(&b, "P|%d||%s|%s\r", p+1, pick(r, "", "P1", "P2"), pick(r, "", "Q1", "Q2"))
			for o := 0; o < 1+r.Intn(2); o++ {
				if r.Intn(8) > 0 {
					fmt.Fprintf(&b, "O|%d|%s|%s|%s||||%s\r", o+1, id(), pick(r, "", "I1"), pick(r, "", "^^^A"), pick(r, "", "", tm()))
				}
				for i := 0; i < r.Intn(4); i++ {
					fmt.Fprintf(&b, "R|%d|%s|%s|%s||%s||%s|||%s|%s\r", i+1, code(), val(), pick(r, "", "g", "mg"), pick(r, "", "H"), pick(r, "F", "R", "", "P"), tm(), tm())
					if r.Intn(5) == 0 {
						fmt.Fprintf(&b, "C|%d|I|%s\r", i+1, pick(r, "x", "y"))
					}
				}
			}
		}
		b.WriteString("L|1|N\r")
		return b.String()
	}
	fmt.Fprintf(&b, "MSH|^~\\&|A||||20260101%02d0000||ORU^R01|%d|P|2.5\r", r.Intn(24), r.Intn(1e9))
	seg := func(s string) { b.WriteString(s + "\r") }
	for p := 0; p < 1+r.Intn(2); p++ {
		if r.Intn(2) == 0 {
			seg("PID|1||" + pick(r, "P1", "P2", ""))
		}
		for o := 0; o < 1+r.Intn(3); o++ {
			for n := r.Intn(3); n > 0; n-- {
				seg("SPM|1|" + pick(r, "", id()))
			}
			for n := r.Intn(3) - 1; n > 0; n-- {
				seg("SAC|||" + pick(r, "", id()))
			}
			if r.Intn(6) > 0 {
				seg(fmt.Sprintf("OBR|1|%s|%s|%s|||%s", pick(r, "", "", id()), pick(r, "", "", id()), pick(r, "PAN", ""), tm()))
			}
			for i := 0; i < r.Intn(4); i++ {
				seg(fmt.Sprintf("OBX|%d|%s|%s|%s|%s|%s||%s|||%s|||%s|||||%s", i+1, pick(r, "NM", "ST", "CE", ""), code(), pick(r, "", "1", "2", "IC"), val(), pick(r, "", "g", "mg"), pick(r, "", "H"), pick(r, "F", "P", "C", ""), tm(), tm()))
				for r.Intn(6) == 0 {
					seg("NTE|1||" + pick(r, "x", "y"))
				}
			}
			for n := r.Intn(3) - 1; n > 0; n-- {
				seg("SPM|1|" + pick(r, "", id()))
			}
		}
	}
	return b.String()
}

// fact is what a result says of whom.
type fact struct{ specimen, code, aspect, run, value, unit, observed, analyzed string }

// TestStrangers: over many odd messages no two results that say different things share a version, and a retransmission
// with another time, control id and day of receipt always does.
func TestStrangers(t *testing.T) {
	day := time.Date(2026, 1, 1, 23, 0, 0, 0, time.UTC)
	// The second SPM names the specimen where the first is empty.
	fixed := []string{
		"MSH|^~\\&|A||||20260101||ORU^R01|1|P|2.5\rOBR|1|||P|||20260101120000\rOBX|1|NM|A||1\rSPM|1|\rSPM|2|S2\r",
		"MSH|^~\\&|A||||20260101||ORU^R01|1|P|2.5\rOBR|1|||P|||20260101120000\rOBX|1|NM|A||1\rSPM|1|\rSPM|2|S3\r",
	}
	for _, protocol := range []string{"astm", "hl7"} {
		known := map[string]fact{}
		r := rand.New(rand.NewSource(1))
		for n := range 5_000 {
			text := gen(r, protocol)
			if protocol == "hl7" && n < len(fixed) {
				text = fixed[n]
			}
			first, again := identities(t, protocol, text, day), identities(t, protocol, resent(protocol, text), day.AddDate(0, 0, 3))
			if !slices.EqualFunc(first, again, func(a, b identity) bool { return a.version == b.version }) {
				t.Errorf("sent again it is another: %q", text)
			}
			for _, i := range first {
				if other, seen := known[i.version]; seen && other != i.fact {
					t.Errorf("one version for %+v and %+v, in %q", other, i.fact, text)
				}
				known[i.version] = i.fact
			}
		}
	}
}

type identity struct {
	version string
	fact    fact
}

// identities are those of the results that have one.
func identities(t *testing.T, protocol, text string, received time.Time) (list []identity) {
	t.Helper()
	report, err := dialect.Dialects[protocol].Report([]byte(text), dialect.Setup{}, received)
	if err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	rules := &filing.Rules{Analyzer: "x", Deliver: true}
	for _, p := range rules.File(report, filing.Item{Received: received}) {
		for _, r := range p.Results {
			if r.Version != "" {
				list = append(list, identity{r.Version, fact{p.Specimen, r.Test.Code, r.Aspect, r.Run, r.Value.Raw, r.Unit, r.Observed.Raw, r.Analyzed.Raw}})
			}
		}
	}
	return list
}

// resent is the message with the facts of another transmission on the same day.
func resent(protocol, text string) string {
	header, rest, _ := strings.Cut(text, "\r")
	fields := strings.Split(header, "|")
	at, id := 13, 2
	if protocol == "hl7" {
		at, id = 6, 9
	}
	fields[at], fields[id] = "20260101235959", "ZZZ"
	return strings.Join(fields, "|") + "\r" + rest
}
