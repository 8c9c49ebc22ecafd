package dialect

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"labagent/lab"
)

// place and state are what filing hashes of a result, readable.
func place(r lab.Result) string { return string(bytes.Join(r.Slot, []byte(" | "))) }
func state(r lab.Result) string { return string(bytes.Join(r.Version, []byte(" | "))) }

func all(t *testing.T, protocol, text string, s Setup, received time.Time) []lab.Result {
	t.Helper()
	report, err := Dialects[protocol].Report([]byte(text), s, received)
	if err != nil {
		t.Fatal(err)
	}
	var results []lab.Result
	for _, p := range report.Parts {
		results = append(results, p.Results...)
	}
	return results
}

const (
	astmTimed = "H|\\^&|9||An|||||||P|1|20260301081500\rP|1\rO|1|700001|14||R||20260301080000||||N\r" +
		"R|1|^^^GLU^1|5.5|mmol/L||N||F||op|20260301081000|20260301081100|A1\rC|1|I|first|G\rL|1|N\r"
	astmTimeless = "H|\\^&|9||An|||||||P|1|20260301081500\rP|1\rO|1|12||^^^NIT\rR|1|^^^NIT|NEG|||N||F\rL|1|N\r"
	hl7Timed     = "MSH|^~\\&|An||||20260301081500||OUL^R22|m1|P|2.5.1\rSPM|1|700001&X\rSAC|||C1\rOBR|1|AW1|F1|GLU|||20260301080000\r" +
		"OBX|1|NM|GLU^^99X|1|5.5|mmol/L||N|||F|||20260301081000||op||A1|20260301081100||run8\rNTE|1||first\r"
	hl7Timeless = "MSH|^~\\&|An||||20260301081500||ORU^R01|m1|P|2.5.1\rOBR|1||12|UA\rOBX|1|ST|NIT||NEG||||||F\r"
)

// TestIdentity is the test table of filing rules 2 as far as bytes tell it: a pair of messages, and whether the first result
// of both has one place and, in it, one version.
func TestIdentity(t *testing.T) {
	const same, other = true, false
	edit := func(text string, pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(text, pairs[i]) {
				t.Fatalf("%q is not in the message", pairs[i])
			}
			text = strings.Replace(text, pairs[i], pairs[i+1], 1)
		}
		return text
	}
	for _, test := range []struct {
		name, protocol, text, again string
		later                       time.Duration
		slot, version               bool
	}{
		{"a retransmission with a new H.14", "astm", astmTimed, edit(astmTimed, "|9||An", "|10||An", "|20260301081500", "|20260302070000"), 24 * time.Hour, same, same},
		{"a retransmission with a new MSH-7", "hl7", hl7Timed, edit(hl7Timed, "20260301081500", "20260302070000", "|m1|", "|m2|"), 24 * time.Hour, same, same},
		{"a retransmission under other sequence numbers", "astm", astmTimed, edit(astmTimed, "O|1|", "O|7|", "R|1|", "R|31|", "C|1|", "C|9|"), 0, same, same},
		{"a retransmission under other set ids", "hl7", hl7Timed, edit(hl7Timed, "OBR|1|", "OBR|7|", "OBX|1|", "OBX|31|", "NTE|1|", "NTE|9|"), 0, same, same},
		{"a retransmission of a result without times, that day", "astm", astmTimeless, edit(astmTimeless, "081500", "235500"), time.Hour, same, same},
		{"a rerun with a new time", "astm", astmTimed, edit(astmTimed, "20260301081100", "20260301093000"), 0, other, same},
		{"a rerun with a new time", "hl7", hl7Timed, edit(hl7Timed, "20260301081100", "20260301093000"), 0, other, same},
		{"a rerun with a new run id", "hl7", hl7Timed, edit(hl7Timed, "run8", "run9"), 0, other, same},
		{"a rerun of the same value in the same minute", "astm", edit(astmTimed, "20260301081100", "202603010811"), edit(astmTimed, "20260301081100", "202603010811"), 0, same, same},
		{"a rerun of another value in the same minute", "astm", edit(astmTimed, "20260301081100", "202603010811"), edit(astmTimed, "20260301081100", "202603010811", "5.5", "5.6"), 0, same, other},
		{"mass and molar of one code", "astm", astmTimed, edit(astmTimed, "|5.5|mmol/L", "|99|mg/dL"), 0, other, other},
		{"mass and molar of one code", "hl7", hl7Timed, edit(hl7Timed, "|5.5|mmol/L", "|99|mg/dL"), 0, other, other},
		{"P then F", "astm", edit(astmTimed, "||F|", "||P|"), astmTimed, 0, same, other},
		{"P then F", "hl7", edit(hl7Timed, "|||F|", "|||P|"), hl7Timed, 0, same, other},
		{"a flag added on re-send", "astm", astmTimed, edit(astmTimed, "||N||F", `||N\A||F`), 0, same, other},
		{"a flag added on re-send", "hl7", hl7Timed, edit(hl7Timed, "||N|||F", "||N~A|||F"), 0, same, other},
		{"a comment added on re-send", "astm", astmTimed, edit(astmTimed, "L|1|N", "C|2|I|second|G\rL|1|N"), 0, same, other},
		{"a comment added on re-send", "hl7", hl7Timed, hl7Timed + "NTE|2||second\r", 0, same, other},
		{"a correction", "astm", astmTimed, edit(astmTimed, "||F|", "||C|", "5.5", "5.7"), 0, same, other},
		{"a correction", "hl7", hl7Timed, edit(hl7Timed, "|||F|", "|||C|", "5.5", "5.7"), 0, same, other},
		{"sent before", "astm", astmTimed, edit(astmTimed, "||F|", "||R|"), 0, same, same},
		{"sent before means nothing in HL7", "hl7", hl7Timed, edit(hl7Timed, "|||F|", "|||R|"), 0, same, other},
		{"a counter that begins anew each day", "astm", astmTimeless, edit(astmTimeless, "20260301", "20260302"), 24 * time.Hour, other, same},
		{"a counter that begins anew each day", "hl7", hl7Timeless, edit(hl7Timeless, "20260301", "20260302"), 24 * time.Hour, other, same},
		{"a counter and no times at all", "astm", edit(astmTimeless, "|20260301081500", ""), edit(astmTimeless, "|20260301081500", ""), 24 * time.Hour, other, same},
		{"a counter and no times at all", "hl7", edit(hl7Timeless, "20260301081500", ""), edit(hl7Timeless, "20260301081500", ""), 24 * time.Hour, other, same},
		{"a counter and no times at all, that day", "astm", edit(astmTimeless, "|20260301081500", ""), edit(astmTimeless, "|20260301081500", ""), time.Minute, same, same},
		{"one id for two patients months apart", "astm", astmTimed, edit(astmTimed, "20260301080000", "20260801080000", "20260301081000", "20260801081000", "20260301081100", "20260801081100"), 0, other, same},
		{"an empty specimen, another patient", "astm", edit(astmTimed, "\rP|1", "\rP|1|A1", "|700001|", "||"), edit(astmTimed, "\rP|1", "\rP|1|A2", "|700001|", "||"), 0, other, same},
		{"an empty specimen, another patient in P.4", "astm", edit(astmTimed, "\rP|1", "\rP|1||A1", "|700001|", "|^ |"), edit(astmTimed, "\rP|1", "\rP|1||A2", "|700001|", "|^ |"), 0, other, same},
		{"a specimen, its patient added", "astm", astmTimed, edit(astmTimed, "\rP|1", "\rP|1|A1"), 0, same, same},
		{"a dilution", "astm", edit(astmTimed, "GLU^1", "5/1/not"), edit(astmTimed, "GLU^1", "5/10/not"), 0, other, same},
		{"another aspect", "astm", astmTimed, edit(astmTimed, "GLU^1", "GLU^1^RLU"), 0, other, same},
		{"another sub id", "hl7", hl7Timed, edit(hl7Timed, "|1|5.5", "|1.1|5.5"), 0, other, same},
		{"another container", "hl7", hl7Timed, edit(hl7Timed, "|C1\r", "|C2\r"), 0, other, same},
		{"another order of one specimen", "hl7", hl7Timed, edit(hl7Timed, "|AW1|", "|AW2|"), 0, other, same},
		{"another cup of one specimen", "astm", astmTimed, edit(astmTimed, "|14|", "|15|"), 0, other, same},
		{"a dead clock, another day", "astm", edit(astmTimed, "20260301080000", "18991230000000", "20260301081000", "18991230", "20260301081100", "00000000000000", "20260301081500", "18991230000000"),
			edit(astmTimed, "20260301080000", "18991230000000", "20260301081000", "18991230", "20260301081100", "00000000000000", "20260301081500", "18991230000000"), 24 * time.Hour, other, same},
		{"a dead clock, the same day", "hl7", edit(hl7Timeless, "20260301081500", "19800101000000"), edit(hl7Timeless, "20260301081500", "19800101000512"), time.Minute, same, same},
		{"another operator and device", "astm", astmTimed, edit(astmTimed, "|op|", "|ann|", "|A1\r", "|A2\r"), 0, same, same},
		{"another range", "hl7", hl7Timed, edit(hl7Timed, "mmol/L||N", "mmol/L|3-5|N"), 0, same, same},
	} {
		first := all(t, test.protocol, test.text, Setup{}, received)[0]
		second := all(t, test.protocol, test.again, Setup{}, received.Add(test.later))[0]
		if got := place(first) == place(second); got != test.slot {
			t.Errorf("%s, %s: the same place: %v\n%s\n%s", test.protocol, test.name, got, place(first), place(second))
		}
		if got := state(first) == state(second); got != test.version {
			t.Errorf("%s, %s: the same version: %v\n%s\n%s", test.protocol, test.name, got, state(first), state(second))
		}
	}
}

// TestIdentityWithinAMessage counts the places of the results of one message.
func TestIdentityWithinAMessage(t *testing.T) {
	order := "H|\\^&|||An||||||||20260301081500\rP|1\rO|1|700001||^^^X\r"
	for _, test := range []struct {
		name, protocol, text string
		results, places      int
	}{
		{"RLU, COFF and DOSE of one test", "astm", order + "R|1|^^^X^^^1^RLU|9\rR|2|^^^X^^^1^COFF|1\rR|3|^^^X^^^1^DOSE|2\r", 3, 3},
		{"F, I and P of one assay", "astm", order + "R|1|^^^X^A^F|9\rR|2|^^^X^A^I|R\rR|3|^^^X^A^P|2\r", 3, 3},
		{"two replicates", "astm", order + "R|1|^^^SPT^F^64|13.66|S\rR|2|^^^SPT^F^64|13.66|S\r", 2, 1},
		{"patients without a specimen", "astm", "H|\\^&\rP|1||A\rO|1|||^^^X\rR|1|^^^X|1\rP|2||B\rO|1|||^^^X\rR|1|^^^X|1\r", 2, 2},
		{"a result and its double line", "hl7", hl7Timed + "OBX|2|CE|GLU^^99X|1|^^99ROC||||||F|||20260301081000||op||A1|20260301081100||run8\r", 1, 1},
		{"two replicates, one failed", "hl7", hl7Timeless + "OBX|2|ST|NIT||||||||F\r", 2, 1},
		{"two runs", "hl7", "MSH|^~\\&|An\rOBR|1||F\rOBX|1|NM|X|1.0|5\rOBX|2|NM|X|1.1|5\r", 2, 2},
	} {
		results := all(t, test.protocol, test.text, Setup{}, received)
		places := map[string]bool{}
		for _, r := range results {
			places[place(r)] = true
		}
		if len(results) != test.results || len(places) != test.places {
			t.Errorf("%s: %d results in %d places, want %d in %d", test.name, len(results), len(places), test.results, test.places)
		}
	}
}

// TestBatch: a day sent again as one message has the results of its messages.
func TestBatch(t *testing.T) {
	rest := func(text string) string {
		_, after, _ := strings.Cut(text, "\r")
		return strings.TrimSuffix(after, "L|1|N\r")
	}
	second := strings.NewReplacer("700001", "700002", "5.5", "6.5").Replace(astmTimed)
	batch := "H|\\^&|77||An|||||||P|1|20260301235900\r" + rest(astmTimed) + rest(second) + "L|1|N\r"
	single := append(all(t, "astm", astmTimed, Setup{}, received), all(t, "astm", second, Setup{}, received)...)
	again := all(t, "astm", batch, Setup{}, received.Add(20*time.Hour))
	if len(again) != len(single) {
		t.Fatalf("%d results, want %d", len(again), len(single))
	}
	for i := range single {
		if place(single[i]) != place(again[i]) || state(single[i]) != state(again[i]) {
			t.Errorf("result %d: %s / %s, was %s / %s", i, place(again[i]), state(again[i]), place(single[i]), state(single[i]))
		}
	}
}

// TestConfigIsNoIdentity: identity is the same however the message is read.
func TestConfigIsNoIdentity(t *testing.T) {
	for protocol, text := range map[string]string{"astm": astmTimed, "hl7": hl7Timed} {
		text = strings.Replace(text, "first", "\xe4 \xc3\xa4 first", 1)
		want := all(t, protocol, text, Setup{}, received)[0]
		for _, s := range []Setup{
			{Encoding: "utf-8"}, {Encoding: "cp1252"}, {Encoding: "from-message"}, {Zone: zurich(t)}, {Patient: map[string]string{"astm": "P.3", "hl7": "PID-3"}[protocol]},
			{Specimen: []string{map[string]string{"astm": "O.4", "hl7": "OBR-3"}[protocol]}, SpecimenQC: []*regexp.Regexp{regexp.MustCompile(".")}},
		} {
			got := all(t, protocol, text, s, received.Add(72*time.Hour))[0]
			if place(got) != place(want) || state(got) != state(want) {
				t.Errorf("%s with %+v: %s / %s, want %s / %s", protocol, s, place(got), state(got), place(want), state(want))
			}
		}
	}
}

// TestStandardPlaces pins the fields and their order: changing it would make every delivered result a new one.
func TestStandardPlaces(t *testing.T) {
	astm := all(t, "astm", "H|\\^&\rP|p2|p3|p4\rO|o2||o4|o5|o6|o7|o8||||||||||||||||\rR|r2|r3|r4|r5|r6|r7|r8|r9|r10|r11|r12|r13|r14\rC|c2|c3|c4|c5\r", Setup{}, received)[0]
	if got, want := place(astm), " | o4 | o5 | p3 | r3 | r5 | r12 | r13 | o8 |  | "; got != want {
		t.Errorf("ASTM places are %q, want %q", got, want)
	}
	if got, want := state(astm), "r4 | r9 | r7 | c3 | c4 | c5"; got != want {
		t.Errorf("ASTM version is %q, want %q", got, want)
	}
	var obr, obx []string
	for n := 2; n < 30; n++ {
		obr = append(obr, "b"+string(rune('A'+n)))
		obx = append(obx, "x"+string(rune('A'+n)))
	}
	obx[27] = "RSLT"
	hl7 := all(t, "hl7", "MSH|^~\\&|An||||20260301\rSPM|1|s2\rSAC|||c3\rOBR|1|"+strings.Join(obr, "|")+"\rOBX|1|"+strings.Join(obx, "|")+"\rNTE|1|n2|n3", Setup{}, received)[0]
	at := func(list []string, fields ...int) (texts []string) {
		for _, n := range fields {
			texts = append(texts, list[n-2])
		}
		return texts
	}
	want := slices.Concat(at(obr, 2, 3, 4, 7), []string{"s2", "c3"}, at(obx, 3, 4, 6, 14, 19, 21), []string{"20260301"})
	if got := place(hl7); got != strings.Join(want, " | ") {
		t.Errorf("HL7 places are %q, want %q", got, want)
	}
	if got, want := state(hl7), strings.Join(append(at(obx, 5, 11, 8), "n3"), " | "); got != want {
		t.Errorf("HL7 version is %q, want %q", got, want)
	}
}
