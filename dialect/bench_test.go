package dialect

import (
	"fmt"
	"strings"
	"testing"
)

func BenchmarkReport(b *testing.B) {
	var astm, hl7 strings.Builder
	astm.WriteString("H|\\^&|||An|||||||P|1|20260301081500\rP|1\rO|1|700001||^^^CBC|R||||||N||||||||||||||F\r")
	hl7.WriteString("MSH|^~\\&|An||||20260301081500||ORU^R01|m1|P|2.5.1||||||UNICODE UTF-8\rPID|1||P1\rOBR|1||700001|CBC|||20260301081000\r")
	for i := range 20 {
		fmt.Fprintf(&astm, "R|%d|^^^TEST%d^1|%d.50|10*3/uL|4.00 to 10.00|N||F||op||20260301081100|A1\r", i+1, i, i)
		fmt.Fprintf(&hl7, "OBX|%d|NM|TEST%d^Test^99X||%d.50|10*3/uL|4.00-10.00|N|||F|||20260301081100||op||A1\r", i+1, i, i)
	}
	astm.WriteString("L|1|N\r")
	for protocol, text := range map[string][]byte{"astm": []byte(astm.String()), "hl7": []byte(hl7.String())} {
		b.Run(protocol, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				report, err := Dialects[protocol].Report(text, Setup{}, received)
				if err != nil || len(report.Parts[0].Results) != 20 {
					b.Fatal(err)
				}
			}
		})
	}
}
