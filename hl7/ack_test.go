package hl7

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))

func header(t *testing.T, payload string) Header {
	t.Helper()
	h, err := ReadHeader([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestAck(t *testing.T) {
	for _, c := range []struct{ title, msh, want string }{
		{"LAW", `MSH|^~\&|cobas pro||host||20180222150842+0100||OUL^R22^OUL_R22|97|P|2.5.1|||NE|AL||UNICODE UTF-8|||LAB-29^IHE`,
			`MSH|^~\&|host||cobas pro||20260301120000+0100||ACK^R22^ACK|X1|P|2.5.1||||||UNICODE UTF-8|||LAB-29^IHE` + "\rMSA|AA|97\r"},
		{"two components, a set", `MSH|^~\&|BC-5380|Mindray|||20080617143943||ORU^R01|1|Q|2.3.1||||||UNICODE`,
			`MSH|^~\&|||BC-5380|Mindray|20260301120000+0100||ACK^R01|X1|Q|2.3.1||||||UNICODE` + "\rMSA|AA|1\r"},
		{"one component", `MSH|^~\&|A|B|C|D|2026||ORU|1|P|2.3`, `MSH|^~\&|C|D|A|B|20260301120000+0100||ACK|X1|P|2.3` + "\rMSA|AA|1\r"},
		{"no event", `MSH|^~\&|A|B|C|D|2026||ORU^^ORU_R01|1|P|2.3`, `MSH|^~\&|C|D|A|B|20260301120000+0100||ACK^^ACK|X1|P|2.3` + "\rMSA|AA|1\r"},
		{"profile without a set", `MSH|^~\&|A|B|C|D|2026||ORU^R01|1|P|2.5|||||||||P~Q`, `MSH|^~\&|C|D|A|B|20260301120000+0100||ACK^R01|X1|P|2.5|||||||||P~Q` + "\rMSA|AA|1\r"},
		{"system and serial are kept whole", `MSH|^~\&|a\T\b^1^M~x|B&1||D |2026||ORU^R01|1|P|2.5`, `MSH|^~\&||D |a\T\b^1^M~x|B&1|20260301120000+0100||ACK^R01|X1|P|2.5` + "\rMSA|AA|1\r"},
		{"it ends after MSH-10", `MSH|^~\&|A|||||||1`, `MSH|^~\&|||A||20260301120000+0100||ACK|X1||` + "\rMSA|AA|1\r"},
		{"other delimiters", `MSH#@!/%#A####2026##ORU@R01#1#P#2.3`, `MSH#@!/%###A##20260301120000+0100##ACK@R01#X1#P#2.3` + "\rMSA#AA#1\r"},
	} {
		t.Run(c.title, func(t *testing.T) {
			if got := Ack(header(t, c.msh), "AA", "", noon, "X1"); string(got) != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
	want := "MSH|^~\\&|||||20260301120000+0100||ACK|X1|P|2.5.1\rMSA|AE||no readable MSH segment\r"
	if got := Ack(Header{}, "AE", "no readable MSH segment", noon, "X1"); string(got) != want {
		t.Errorf("without a header: got %q", got)
	}
	spaced := Ack(header(t, "MSH|- \\&|A||||2026||ORU|1|P|2.3"), "AE", "a - b|c", noon, "X1")
	if !bytes.HasSuffix(spaced, []byte(`|a\R\\S\\R\b\F\c`+"\r")) {
		t.Errorf("our text holds the sender's separators: %q", spaced)
	}
}

// MSH-15 against what became of the message, hl7 table 0155; MSH-16 has no say.
func TestAckCodes(t *testing.T) {
	for _, c := range []struct {
		msh15 string
		want  [3]string // accepted, failed, rejected
		known bool
	}{
		{"", [3]string{"AA", "AE", "AR"}, true},
		{"NE", [3]string{"AA", "AE", "AR"}, true},
		{"AL", [3]string{"CA", "CE", "CR"}, true},
		{"ER", [3]string{"AA", "CE", "CR"}, true},
		{"SU", [3]string{"CA", "AE", "AR"}, true},
		{"P", [3]string{"AA", "AE", "AR"}, false},
		{"0", [3]string{"AA", "AE", "AR"}, false},
	} {
		for _, msh16 := range []string{"", "NE", "AL", "ER", "SU", "0", "1", "2"} {
			h := header(t, `MSH|^~\&|A||||2026||ORU^R01|1|P|2.3.1|||`+c.msh15+"|"+msh16)
			for o, want := range c.want {
				code, known := h.code(outcome(o))
				if code != want || known != c.known {
					t.Errorf("MSH-15 %q, MSH-16 %q, outcome %d: got %s (known %v), want %s", c.msh15, msh16, o, code, known, want)
				}
			}
		}
	}
}

// MSA-2 is MSH-10 byte for byte, for ids of any bytes that a field can hold, through the whole machine.
func TestControlIDVerbatim(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 42))
	m := NewMLLP(Options{})
	for i := range 10000 {
		id := make([]byte, 1+random.IntN(40))
		for j := range id {
			for {
				id[j] = byte(random.IntN(256))
				if i%2 == 0 {
					id[j] = "^~\\&#\x80\xFF ATFSRE09\xC3\xA4\t\""[random.IntN(20)]
				}
				if id[j] != '|' && id[j] != VT && id[j] != FS && id[j] != CR && id[j] != LF {
					break
				}
			}
		}
		payload := append(append([]byte("MSH|^~\\&|A|B|C|D|2026||ORU^R01|"), id...), "|P|2.3.1\rOBX|1\r"...)
		m.Feed(noon, Frame(nil, payload))
		if piece, mark, ok := m.Take(); !ok || mark != '.' || !bytes.Equal(piece, payload) {
			t.Fatalf("id %q: handed up %q %c %v", id, piece, mark, ok)
		}
		m.Take()
		m.Verdict(noon, true)
		answer, rest, found := Cut(m.Output())
		want := append(append([]byte("\rMSA|AA|"), id...), CR)
		if !found || len(rest) > 0 || !bytes.HasSuffix(answer, want) {
			t.Fatalf("id %q: answered %q", id, answer)
		}
	}
}

func TestOwnControlIDsDiffer(t *testing.T) {
	seen := map[string]bool{}
	m := NewMLLP(Options{})
	for range 200 {
		m.Feed(noon, Frame(nil, []byte("MSH|^~\\&|A||||2026||ORU^R01|1|P|2.3.1\r")))
		m.Take()
		m.Verdict(noon, true)
		answer, _, _ := Cut(m.Output())
		id := string(header(t, string(answer)).Field(10))
		if seen[id] || len(id) > 20 { // MSH-10 holds 20 characters up to 2.7
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}
