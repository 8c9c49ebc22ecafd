package filing

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"testing"

	"labagent/lab"
)

// random makes reports out of few words, so that codes, aspects, units and places meet often.
func random(rnd *rand.Rand) lab.Report {
	pick := func(words ...string) string { return words[rnd.IntN(len(words))] }
	report := lab.Report{Type: pick("ASTM", "ORU^R01")}
	for range 1 + rnd.IntN(3) {
		part := lab.Part{Specimen: pick("", "123456789", "987654321", "QC1"), Patient: pick("", "P1"), QC: pick("", "", "O.12=Q"), Training: rnd.IntN(9) == 0}
		for range rnd.IntN(8) {
			r := lab.Result{
				Test: lab.Code{Code: pick("A", "B", "A/10/not", "C", "")}, Aspect: pick("", "", "F", "1^P"), Run: pick("", "1", "2"),
				Unit: pick("", "g/L", "mmol/L", "furlong"), Status: pick("", "F", "P", "C", "X", "W"), Flags: []string{pick("H", "strange")},
				Value: lab.Value{Kind: lab.Kind(rnd.IntN(10)), Raw: pick("1", "2"), Number: pick("1", "2")},
			}
			r.Slot = [][]byte{[]byte(part.Specimen), []byte(r.Test.Code), []byte(r.Aspect), []byte(r.Unit)}
			r.Version = [][]byte{[]byte(r.Value.Raw), []byte(r.Status)}
			part.Results = append(part.Results, r)
		}
		report.Parts = append(report.Parts, part)
	}
	return report
}

// randomRules are any rules, good or bad, but for the name.
func randomRules(rnd *rand.Rand) *Rules {
	pick := func(words ...string) string { return words[rnd.IntN(len(words))] }
	r := &Rules{Analyzer: "a", AsSent: rnd.IntN(2) == 0, Deliver: rnd.IntN(2) == 0}
	if rnd.IntN(2) == 0 {
		r.Pattern = regexp.MustCompile(`^123`)
	}
	for range rnd.IntN(8) {
		r.Codes = append(r.Codes, Code{
			Code: pick("A", "B", "C"), Aspect: pick("", "F", "P"), Unit: pick("", "g/L"), LOINC: pick("", "2345-7"), UCUM: pick("", "g/L"),
			As: pick("", AsResult, AsComponent, AsNote, AsIgnore), Trust: rnd.IntN(4) == 0,
		})
	}
	return r
}

func TestProperties(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		report := random(rnd)
		identities := [2]map[string]string{{}, {}}
		for run := range 2 {
			var decisions []Decision
			for range rnd.IntN(20) {
				reason := []string{NoSpecimen, SpecimenID, QC, Unmapped, Unit}[rnd.IntN(5)]
				decisions = append(decisions, Decision{rnd.IntN(3), rnd.IntN(9) - 1, reason})
			}
			for i, p := range randomRules(rnd).File(report, Item{Received: noon, Decisions: decisions}) {
				sent := report.Parts[i]
				if (sent.QC != "" || sent.Training) != (p.Hold == QC) {
					t.Fatalf("seed %d, part %d: QC %q, training %v, held %q", seed, i, sent.QC, sent.Training, p.Hold)
				}
				if sent.Specimen == "" && p.Hold != QC && p.Hold != NoSpecimen {
					t.Fatalf("seed %d, part %d: no specimen, held %q", seed, i, p.Hold)
				}
				found := p.Ignored
				for _, r := range p.Results {
					found += 1 + len(r.Components)
					for _, remark := range r.Remarks {
						if remark != "The analyzer doubts this result (status W)." {
							found++
						}
					}
					identities[run][fmt.Sprint(i, " ", r.Index)] = r.Slot + r.Version
					if r.Hold == Unmapped && r.LOINC != "" {
						t.Fatalf("seed %d: an unmapped result has a LOINC", seed)
					}
				}
				if found != len(sent.Results) {
					t.Fatalf("seed %d, part %d: %d of %d lines are there", seed, i, found, len(sent.Results))
				}
			}
		}
		for place, identity := range identities[0] {
			if other, there := identities[1][place]; there && other != identity {
				t.Fatalf("seed %d: the config changed the identity of result %s", seed, place)
			}
		}
	}
}
