package main

import "testing"

func TestRecurs(t *testing.T) {
	const whole = "H|\\^&|2\rP|1\rO|1|100001\rR|1|^^^WBC|6.41\rR|2|^^^HGB|13.9\rL|1|N\r"
	for _, test := range []struct {
		name, torn string
		want       bool
	}{
		{"another header", "H|\\^&|1\rP|1\rO|1|100001\rR|1|^^^WBC|6.41\r", true},
		{"cut within a record", "H|\\^&|1\rP|1\rO|1|100001\rR|1|^^^WBC|6.", true},
		{"the order alone", "H|\\^&|1\rP|1\rO|1|100001\r", true},
		{"another value", "H|\\^&|1\rP|1\rO|1|100001\rR|1|^^^WBC|6.5\r", false},
		{"another specimen", "H|\\^&|1\rP|1\rO|1|100002\r", false},
		{"a whole record is not taken for a cut one", "H|\\^&|1\rP|1\rO|1|100001\rR|1|^^^WBC|6.4\r", false},
		{"twice in the one, once in the other", "H|\\^&|1\rO|1|100001\rO|1|100001\r", false},
		{"the header alone", "H|\\^&|2\r", false},
		{"no further than the patient", "H|\\^&|2\rP|1\r", false},
		{"nothing", "", false},
	} {
		if got := recurs([]byte(test.torn), []byte(whole)); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	const v2 = "MSH|^~\\&|A|||2000|ORU^R01|2\rPID|1\rOBR|1||S1\rOBX|1|NM|GLU||5.4\r"
	if !recurs([]byte("MSH|^~\\&|A|||1999|ORU^R01|1\rPID|1\rOBR|1||S1\rOBX|1|NM|GL"), []byte(v2)) || recurs([]byte("MSH|^~\\&|A|||1999|ORU^R01|1\rPI"), []byte(v2)) {
		t.Error("HL7: a torn block")
	}
}
