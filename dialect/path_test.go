package dialect

import (
	"regexp"
	"strings"
	"testing"
)

func TestPaths(t *testing.T) {
	for _, ok := range [][2]string{{"astm", "O.3"}, {"astm", "O.3.1"}, {"astm", "R.14.2"}, {"hl7", "PID-3"}, {"hl7", "PID-3.1"}, {"hl7", "SPM-2.1.1"}, {"hl7", "ZX1-120.10"}} {
		if err := CheckPath(ok[0], ok[1]); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range [][2]string{{"astm", ""}, {"astm", "O"}, {"astm", "o.3.1"}, {"astm", "O.3.1.1"}, {"astm", "O.0"}, {"astm", "O-3.1"}, {"astm", "OBR-3"},
		{"hl7", "O.3.1"}, {"hl7", "PID.3"}, {"hl7", "PID-3.0"}, {"hl7", "PID-3.1.1.1"}, {"hl7", "PID-3.1 "}, {"other", "O.3.1"}} {
		if CheckPath(bad[0], bad[1]) == nil {
			t.Errorf("%s path %q was taken", bad[0], bad[1])
		}
	}
}

const astmText = `H|\^&|||An|||||||P
P|1|PRAC|LAB7
O|1| 700001 ^0014^A|^^    27^M\second|^^^GLU|||||||N||||S^arm
R|1|^^^GLU|5.5|mmol/L
R|2|^^^K|4.1|mmol/L
M|1|reagent
L|1|N`

const hl7Text = "MSH|^~\\&|An|Ward7|||20260105||ORU^R01|1|P|2.5\rPID|1||P1^^^H~P2\rPV1|1|I|W1\rSPM|1|700001&PLC^9||SER|||||||P\rSAC|||C1\r" +
	"OBR|1|AW1|F1|GLU\rOBX|1|NM|GLU||5.5|mmol/L\rSPM|2|700002\rOBR|2|AW2|F2|K\rOBX|1|NM|K||4|mmol/L"

// TestSpecimenAndPatient reads the same two messages by other paths.
func TestSpecimenAndPatient(t *testing.T) {
	for _, test := range []struct {
		protocol          string
		specimen          []string
		patient           string
		wantSpecimen, who string
	}{
		{"astm", nil, "", "700001", ""},
		{"astm", []string{"O.4.3"}, "P.4", "27", "LAB7"},
		{"astm", []string{"O.4.1"}, "P.5", "second", ""},
		{"astm", []string{"P.5", "O.3.2"}, "P.3.1", "0014", "PRAC"},
		{"astm", []string{"M.3"}, "Q.3", "reagent", ""},
		{"astm", []string{"O.3"}, "O.16.2", "700001 ^0014^A", "arm"},
		{"astm", []string{"O.99", "X.1"}, "H.5", "", "An"},
		{"hl7", nil, "", "700001", ""},
		{"hl7", []string{"OBR-2"}, "PID-3.1", "AW1", "P1"},
		{"hl7", []string{"SPM-2.2"}, "PV1-3", "9", "W1"},
		{"hl7", []string{"SPM-2"}, "MSH-4", "700001&PLC^9", "Ward7"},
		{"hl7", []string{"SPM-2.1.2"}, "", "PLC", ""},
		{"hl7", []string{"ZZZ-1", "SAC-3"}, "PID-2", "C1", ""},
	} {
		text := map[string]string{"astm": astmText, "hl7": hl7Text}[test.protocol]
		setup := Setup{Specimen: test.specimen, Patient: test.patient}
		report, err := Dialects[test.protocol].Report([]byte(text), setup, received)
		if err != nil {
			t.Fatal(err)
		}
		part := report.Parts[0]
		if part.Specimen != test.wantSpecimen || part.Patient != test.who {
			t.Errorf("%s %v %s: specimen %q patient %q, want %q %q", test.protocol, test.specimen, test.patient, part.Specimen, part.Patient, test.wantSpecimen, test.who)
		}
		if got := Dialects[test.protocol].Specimen([]byte(text), setup); got != test.wantSpecimen && test.wantSpecimen != "" {
			t.Errorf("%s %v: the quick look found %q, want %q", test.protocol, test.specimen, got, test.wantSpecimen)
		}
	}
	report, err := Dialects["hl7"].Report([]byte(hl7Text), Setup{Specimen: []string{"SAC-3.1", "SPM-2.1.1"}, Patient: "PV1-3"}, received)
	if err != nil {
		t.Fatal(err)
	}
	if p := report.Parts[1]; p.Specimen != "700002" || p.Patient != "W1" {
		t.Errorf("the container of the first specimen reached the second: %q %q", p.Specimen, p.Patient)
	}
}

func TestWrongPathIsAnError(t *testing.T) {
	for _, setup := range []Setup{{Specimen: []string{"3.1"}}, {Patient: "P"}, {QC: []Rule{{Field: "x", Equals: "Q"}}}} {
		for protocol, text := range map[string]string{"astm": astmText, "hl7": hl7Text} {
			if _, err := Dialects[protocol].Report([]byte(text), setup, received); err == nil {
				t.Errorf("%s took %+v", protocol, setup)
			}
		}
	}
}

// TestSpecimenOfAPiece: what was refused is told by specimen, from whatever was received of it.
func TestSpecimenOfAPiece(t *testing.T) {
	for _, test := range []struct{ protocol, text, want string }{
		{"astm", "O|1|700001||^^^GLU\r", "700001"},
		{"astm", "P|1\rO|1|700001||^^^GLU", "700001"},
		{"astm", "R|1|^^^GLU|5.5\r", ""},
		{"astm", "H|\\!~\rP|1\rO|1|700001!4|", "700001"},
		{"astm", "O|1|7000", ""}, // the rest of the id did not come
		{"astm", "", ""},
		{"hl7", "MSH|^~\\&|An\rSPM|1|700001&X\rOBR|1", "700001"},
		{"hl7", "MSH|^~\\&|An\rOBR|1||7000", ""},
		{"hl7", "OBR|1|700001", ""},
		{"hl7", "", ""},
	} {
		if got := Dialects[test.protocol].Specimen([]byte(test.text), Setup{}); got != test.want {
			t.Errorf("%s %q: %q, want %q", test.protocol, test.text, got, test.want)
		}
	}
}

func TestQualityControl(t *testing.T) {
	astm := func(old, new string) string { return strings.Replace(astmText, old, new, 1) }
	hl7 := func(old, new string) string { return strings.Replace(hl7Text, old, new, 1) }
	own := Setup{
		QC:         []Rule{{Field: "O.3", Prefix: "QC-"}, {Field: "O.16.1", Equals: "CTRL"}, {Field: "R.3.4", Regexp: regexp.MustCompile(`^QC[0-9]`)}},
		SpecimenQC: []*regexp.Regexp{regexp.MustCompile(`^C[0-9]+$`)},
	}
	ownHL7 := Setup{QC: []Rule{{Field: "MSH-16", Equals: "2"}, {Field: "INV-3.1", Equals: "CO"}}}
	for _, test := range []struct {
		name, protocol, text string
		setup                Setup
		rule                 string
		training             bool
	}{
		{"a patient", "astm", astmText, own, "", false},
		{"the message is quality control", "astm", astm("||P\n", "||Q\n"), Setup{}, "H.12=Q", false},
		{"an unknown processing id", "astm", astm("||P\n", "||X^Y\n"), Setup{}, "H.12=X", false},
		{"training", "astm", astm("||P\n", "||T\n"), Setup{}, "H.12=T", true},
		{"no processing id", "astm", astm("||P\n", "||\n"), Setup{}, "", false},
		{"a small one", "astm", astm("||P\n", "||p\n"), Setup{}, "", false},
		{"the order is quality control", "astm", astm("|N||", "|Q||"), Setup{}, "O.12=Q", false},
		{"the order is added quality control", "astm", astm("|N||", `|A\Q||`), Setup{}, "O.12=Q", false},
		{"a prefix", "astm", astm(" 700001 ", "QC-1"), own, "O.3=QC-*", false},
		{"a word", "astm", astm("S^arm", "CTRL^^"), own, "O.16.1=CTRL", false},
		{"a result's code", "astm", astm("^^^K|", "^^^QC7|"), own, "R.3.4~^QC[0-9]", false},
		{"a specimen", "astm", astm(" 700001 ", " C17 "), own, "specimen.qc~^C[0-9]+$", false},
		{"a patient", "hl7", hl7Text, ownHL7, "", false},
		{"the message is quality control", "hl7", hl7("|P|2.5", "|Q|2.5"), Setup{}, "MSH-11=Q", false},
		{"debugging", "hl7", hl7("|P|2.5", "|D^A|2.5"), Setup{}, "MSH-11=D", true},
		{"the specimen's role", "hl7", hl7("|||P\r", "|||Q^Control^HL70369\r"), Setup{}, "SPM-11=Q", false},
		{"the specimen source", "hl7", hl7("|F1|GLU\r", "|F1|GLU|||||||||||ORH^^^^^^Q\r"), Setup{}, "OBR-15.7=Q", false},
		{"a maker's own field", "hl7", hl7("|P|2.5\r", "|P|2.5||||2\r"), ownHL7, "MSH-16=2", false},
		{"a reagent's kind", "hl7", hl7("SAC|||C1\r", "SAC|||C1\rINV|x|OK|CO\r"), ownHL7, "INV-3.1=CO", false},
	} {
		report, err := Dialects[test.protocol].Report([]byte(test.text), test.setup, received)
		if err != nil {
			t.Fatal(err)
		}
		if part := report.Parts[0]; part.QC != test.rule || part.Training != test.training {
			t.Errorf("%s, %s: %q training %v, want %q %v", test.protocol, test.name, part.QC, part.Training, test.rule, test.training)
		}
	}
	// Of two specimens the one that is quality control does not make the other so.
	report, err := Dialects["hl7"].Report([]byte(hl7("|||P\r", "|||Q\r")), Setup{}, received)
	if err != nil || report.Parts[0].QC == "" || report.Parts[1].QC != "" {
		t.Errorf("%v %+v", err, report)
	}
}
