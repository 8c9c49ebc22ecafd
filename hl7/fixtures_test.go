package hl7

import (
	"testing"

	"labagent/talktest"
)

// Where the analyzers of our fixtures put what matters.
func TestFixtures(t *testing.T) {
	type want struct {
		segment string // name
		nth     int    // among those of the name, from 1
		field   int
		comp    int // 0: the whole field
		sub     int // 0: the whole component
		text    string
	}
	for file, wants := range map[string][]want{
		"cobas_oul_r22": {
			{"MSH", 1, 21, 0, 0, "LAB-29^IHE"}, {"SPM", 1, 2, 1, 1, "900000022"}, {"SPM", 1, 2, 1, 2, "BARCODE"}, {"SPM", 1, 11, 1, 0, "P"},
			{"SAC", 1, 3, 1, 0, "900000022"}, {"OBR", 1, 2, 0, 0, `""`}, {"OBX", 1, 5, 0, 0, "32.2"}, {"OBX", 1, 6, 1, 0, "mg/L"},
			{"OBX", 1, 19, 0, 0, "20260301081442"}, {"OBX", 1, 29, 0, 0, "RSLT"}, {"OBX", 2, 5, 1, 0, ""}, {"OBX", 4, 3, 5, 0, "Other Supplemental"},
		},
		"mindray_oru_r01": {
			{"MSH", 1, 10, 0, 0, "1"}, {"OBR", 1, 3, 0, 0, "90000733"}, {"OBX", 3, 5, 0, 0, "9.81"}, {"OBX", 3, 6, 0, 0, "10*9/L"},
			{"OBX", 4, 5, 0, 0, ""}, {"OBX", 5, 5, 0, 0, "***.**"}, {"OBX", 6, 8, 0, 0, "L"}, {"OBX", 8, 5, 5, 0, "Qk0eAAAA"},
		},
		"mindray_qc": {{"MSH", 1, 11, 0, 0, "Q"}, {"OBR", 3, 4, 1, 0, "00008"}, {"PID", 3, 3, 0, 0, "7700001"}, {"OBX", 6, 5, 0, 0, "7.04"}},
		"genexpert_oru_r32": {
			{"MSH", 1, 3, 2, 0, "GeneXpert"}, {"OBR", 1, 4, 1, 2, "SARS-CoV-2&Flu"}, {"OBX", 1, 5, 1, 0, "POSITIVE"}, {"OBX", 1, 5, 2, 0, ""},
			{"OBX", 2, 5, 2, 0, "24.7"}, {"OBX", 2, 3, 2, 3, "Ct"}, {"SPM", 1, 2, 0, 0, "900000456"}, {"OBX", 2, 18, 1, 0, "20270630"},
		},
		"citm_oul_r21": {
			{"SAC", 1, 3, 0, 0, "AA9OEB0WYN"}, {"OBX", 1, 2, 0, 0, ""}, {"OBX", 1, 5, 0, 0, "34^"}, {"OBX", 2, 5, 1, 0, "1^2.14"},
			{"OBX", 3, 5, 0, 0, "???^???"}, {"OBX", 3, 16, 1, 0, "muster^SYSTEM"}, {"ZRI", 1, 1, 0, 0, "ASY"},
		},
		"clinitek_qc": {{"OBR", 1, 15, 7, 0, "Q"}, {"NTE", 3, 3, 0, 0, "QCLot:NO900078N"}, {"OBX", 2, 5, 0, 0, "3.2"}, {"NTE", 6, 3, 0, 0, "QCRResult:P"}},
		"iso2022":     {{"MSH", 1, 4, 0, 0, "除殉"}, {"MSH", 1, 10, 0, 0, "M1"}, {"PID", 1, 5, 2, 0, "太郎"}},
		"gb18030":     {{"MSH", 1, 4, 0, 0, "銃弢"}, {"MSH", 1, 10, 0, 0, "中7"}},
	} {
		t.Run(file, func(t *testing.T) {
			m := parse(t, string(handedUp(t, file)))
			for _, w := range wants {
				var found []Segment
				for _, s := range m.Segments {
					if s.Is(w.segment) {
						found = append(found, s)
					}
				}
				if len(found) < w.nth {
					t.Fatalf("%d %s", len(found), w.segment)
				}
				s := found[w.nth-1]
				raw := s.Field(w.field)
				if w.comp > 0 {
					raw = s.Component(w.field, 1, w.comp)
				}
				if w.sub > 0 {
					raw = s.Sub(w.field, 1, w.comp, w.sub)
				}
				if got, certain := m.Text(raw); raw == nil || got != w.text || !certain {
					t.Errorf("%s(%d)-%d.%d.%d: got %q (certain %v), want %q", w.segment, w.nth, w.field, w.comp, w.sub, got, certain, w.text)
				}
			}
		})
	}
}

// handedUp gives the first message of a conversation.
func handedUp(t *testing.T, file string) []byte {
	t.Helper()
	steps, err := talktest.Read("../testdata/hl7/" + file + ".talk")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if s.Op == '=' {
			return s.Data
		}
	}
	t.Fatal("nothing is handed up")
	return nil
}
