package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"labagent/queue"
)

// TestIdentity is the test table of the filing rules from the wire to the server: how many Observations, and of how many
// places, the messages of a case make.
func TestIdentity(t *testing.T) {
	edit := func(text string, pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(text, pairs[i]) {
				t.Fatalf("%q is not in the message", pairs[i])
			}
		}
		return strings.NewReplacer(pairs...).Replace(text)
	}
	const (
		timed = "H|\\^&|9||An|||||||P|1|20000101001500\rP|1\rO|1|700001|14||R||20000101000000||||N\r" +
			"R|1|^^^GLU^1|5.5|mmol/L||N||F||op|20000101001000|20000101001100|A1\rC|1|I|first|G\rL|1|N\r"
		timeless = "H|\\^&|9||An|||||||P|1|20000101001500\rP|1\rO|1|12||^^^NIT\rR|1|^^^NIT|1|||N||F\rL|1|N\r"
		order    = "H|\\^&|9||An|||||||P|1|20000101001500\rP|1\rO|1|700001||^^^X\r"
		v2       = "MSH|^~\\&|An||||20000101001500||OUL^R22|m1|P|2.5.1\rSPM|1|700001&X\rSAC|||C1\rOBR|1|AW1|F1|GLU|||20000101000000\r" +
			"OBX|1|NM|GLU^^99X|1|5.5|mmol/L||N|||F|||20000101001000||op||A1|20000101001100||run8\r"
	)
	const day = 24 * time.Hour
	for _, test := range []struct {
		name     string
		messages []string
		apart    time.Duration
		made     int // Observations
		places   int // slots
	}{
		{"a message once", []string{timed}, 0, 1, 1},
		{"a message three times", []string{timed, timed, timed}, 0, 1, 1},
		{"a retransmission with a new H.14", []string{timed, edit(timed, "20000101001500", "20000102070000", "|9||", "|10||")}, day, 1, 1},
		{"a retransmission with a new MSH-7", []string{v2, edit(v2, "20000101001500", "20000102070000", "|m1|", "|m2|")}, day, 1, 1},
		{"a rerun with a new time", []string{timed, edit(timed, "20000101001100", "20000101003000")}, 0, 2, 2},
		{"a rerun with a new time, HL7", []string{v2, edit(v2, "20000101001100", "20000101003000")}, 0, 2, 2},
		{"a rerun, same value, same minute", []string{edit(timed, "20000101001100", "200001010011"), edit(timed, "20000101001100", "200001010011")}, 0, 1, 1},
		{"another value, both final", []string{timed, edit(timed, "|5.5|", "|5.6|")}, 0, 2, 1},
		{"mass and molar of one code", []string{timed, edit(timed, "|5.5|mmol/L", "|99|mg/dL")}, 0, 2, 2},
		{"RLU, COFF and DOSE of one test", []string{order + "R|1|^^^X^^^1^RLU|9\rR|2|^^^X^^^1^COFF|1\rR|3|^^^X^^^1^DOSE|2\rL|1\r"}, 0, 3, 3},
		{"F, I and P of one assay", []string{order + "R|1|^^^X^A^F|9\rR|2|^^^X^A^I|R\rR|3|^^^X^A^P|2\rL|1\r"}, 0, 3, 3},
		{"P then F", []string{edit(timed, "||F|", "||P|"), timed}, 0, 2, 1},
		{"a flag added", []string{timed, edit(timed, "||N||F", `||N\A||F`)}, 0, 2, 1},
		{"a comment added", []string{timed, edit(timed, "L|1|N", "C|2|I|second|G\rL|1|N")}, 0, 2, 1},
		{"a correction", []string{timed, edit(timed, "||F|", "||C|", "|5.5|", "|5.7|")}, 0, 2, 1},
		{"sent before", []string{timed, edit(timed, "||F|", "||R|")}, 0, 1, 1},
		{"a daily counter on two days without times", []string{timeless, edit(timeless, "20000101", "20000102")}, day, 2, 2},
		{"a daily counter again on its day", []string{timeless, edit(timeless, "001500", "061500")}, 6 * time.Hour, 1, 1},
		{"the same id for two patients months apart", []string{timed, edit(timed, "200001010", "200005010")}, 121 * day, 2, 2},
		{"an empty specimen", []string{edit(timed, "|700001|", "||")}, 0, 0, 0},
		{"a dilution repeat", []string{edit(timed, "GLU^1", "5/1/not"), edit(timed, "GLU^1", "5/10/not")}, 0, 2, 2},
		{"two replicates in one message", []string{order + "R|1|^^^SPT^F^64|13.66|S\rR|2|^^^SPT^F^64|13.66|S\rL|1\r"}, 0, 2, 2},
		{"two replicates, sent again", []string{order + "R|1|^^^SPT|13.66|S\rR|2|^^^SPT|13.66|S\rL|1\r", order + "R|1|^^^SPT|13.66|S\rR|2|^^^SPT|13.66|S\rL|1\r"}, 0, 2, 2},
		{"a day sent again as one batch", []string{timed, edit(timed, "700001", "700002"),
			edit(timed, "L|1|N\r", "O|2|700002|14||R||20000101000000||||N\rR|1|^^^GLU^1|5.5|mmol/L||N||F||op|20000101001000|20000101001100|A1\rC|1|I|first|G\rL|1|N\r")}, time.Hour, 2, 2},
		{"a dead clock, the same day", []string{edit(timeless, "20000101001500", "19800101000000"), edit(timeless, "20000101001500", "19800101000512")}, time.Minute, 1, 1},
		{"a dead clock, another day", []string{edit(timeless, "20000101001500", "19800101000000"), edit(timeless, "20000101001500", "19800101000000")}, day, 2, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				b.cfg.Deliver.Unmapped = "deliver"
				b.start()
				for i, text := range test.messages {
					if i > 0 && test.apart >= day { // the agent is off for so long
						b.stop()
						time.Sleep(test.apart)
						b.start()
					} else if i > 0 {
						b.after(test.apart)
					}
					if strings.HasPrefix(text, "MSH") {
						if code := b.dial("chem").hl7(text); code != "AA" {
							t.Fatalf("acknowledged %s", code)
						}
						continue
					}
					b.dial("hema").astm(text)
				}
				b.after(time.Minute)
				places := map[string]bool{}
				for _, o := range b.observations() {
					for _, id := range o.Identifier {
						if id.System == "urn:labagent:slot" {
							places[id.Value] = true
						}
					}
				}
				if got := len(b.observations()); got != test.made || len(places) != test.places {
					t.Errorf("%d Observations in %d places, want %d in %d", got, len(places), test.made, test.places)
				}
				if test.made > 0 {
					b.wantAttention()
				}
			})
		})
	}
}

// TestTwoAnalyzersOneSpecimen: what two analyzers say of one specimen stands side by side, word for word the same or not.
func TestTwoAnalyzersOneSpecimen(t *testing.T) {
	inBubble(t, func(b *bubble) {
		second := b.cfg.Analyzers[0]
		second.Name = "hema-2"
		b.cfg.Analyzers = append(b.cfg.Analyzers, second)
		b.start()
		b.dial("hema").astm(cbc("100001"))
		b.dial("hema-2").astm(cbc("100001"))
		b.wantObservations("100001 WBC=6.41", "100001 HGB=13.9", "100001 WBC=6.41", "100001 HGB=13.9")
		b.wantSheets("100001 partial: 2 results, 0 held", "100001 partial: 2 results, 0 held")
	})
}

// TestDiffersOnServer: something else under our identity is never passed over.
func TestDiffersOnServer(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		w := b.dial("hema")
		w.astm(cbc("100001"))
		for _, text := range b.server.Resources("Observation") {
			if _, err := b.server.Put(bytes.Replace(text, []byte("6.41"), []byte("64.1"), 1)); err != nil {
				t.Fatal(err)
			}
		}
		w.astm(cbc("100001"))
		b.wantAttention("hema differs-on-server 1")
		b.only(queue.Parked)
	})
}
