package fhir

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"labagent/filing"
	"labagent/lab"
)

// No quality control sample ever makes a resource with a patient, whoever asks for one and whatever a person released.
func TestNoPatientOnQC(t *testing.T) {
	for _, part := range []lab.Part{{QC: "O.12=Q"}, {Training: true}} {
		part.Specimen, part.Patient = "123456789", "P-1"
		part.Results = []lab.Result{{Test: lab.Code{Code: "GLU"}, Value: numeric("5.0")}}
		rules := filing.Rules{Analyzer: "a", Deliver: true}
		set := Setting{Analyzer: "a", PatientSystem: "urn:oid:1.2.3"}
		p := rules.File(lab.Report{Type: "ASTM", Parts: []lab.Part{part}}, filing.Item{Decisions: []filing.Decision{{Part: 0, Result: -1, Reason: filing.QC}}})[0]
		if p.Hold != filing.QC {
			t.Fatalf("held %q", p.Hold)
		}
		ids := map[string]string{p.Results[0].Version: "1"}
		for _, r := range []Resource{Observation(p, p.Results[0], set), Sheet(p, ids, 0, set)} {
			if strings.Contains(string(r.Body), "subject") || strings.Contains(string(r.Body), "P-1") {
				t.Errorf("%s names a patient: %s", r.Type, r.Body)
			}
		}
	}
}

func TestSubject(t *testing.T) {
	for _, c := range []struct {
		name, patient, system string
		matched               bool
	}{
		{"configured", "P-1", "urn:oid:1.2.3", true},
		{"nobody says whose ids these are", "P-1", "", false},
		{"none sent", "", "urn:oid:1.2.3", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := filing.Part{Part: lab.Part{Patient: c.patient}}
			set := setting
			set.PatientSystem = c.system
			for _, r := range []Resource{Observation(p, filing.Result{}, set), Sheet(p, nil, 0, set)} {
				var got struct {
					Meta    meta
					Subject *reference
				}
				if err := json.Unmarshal(r.Body, &got); err != nil {
					t.Fatal(err)
				}
				unmatched := slices.Contains(got.Meta.Tag, coding{System: "urn:labagent:state", Code: "unmatched"})
				if (got.Subject != nil) != c.matched || unmatched == c.matched {
					t.Errorf("%s: subject %v, unmatched %v", r.Type, got.Subject, unmatched)
				}
				if !slices.Contains(got.Meta.Tag, coding{System: "urn:labagent", Code: "lab-7"}) {
					t.Errorf("%s: not tagged: %v", r.Type, got.Meta.Tag)
				}
			}
		})
	}
}

func TestTimes(t *testing.T) {
	day := lab.Time{Raw: "20260301", At: second(0, 0, 0).At, Precision: lab.Day}
	unknown := lab.Time{Raw: "18991230?"}
	for _, c := range []struct {
		name              string
		part              lab.Part
		result            lab.Result
		sent              lab.Time
		effective, issued string
	}{
		{"collected first", lab.Part{Collected: second(7, 0, 0)}, lab.Result{Observed: second(8, 0, 0), Analyzed: second(9, 0, 0)}, lab.Time{}, "2026-03-01T07:00:00+01:00", "2026-03-01T08:05:00Z"},
		{"then observed", lab.Part{Collected: unknown}, lab.Result{Observed: second(8, 0, 0), Analyzed: second(9, 0, 0)}, lab.Time{}, "2026-03-01T08:00:00+01:00", "2026-03-01T08:05:00Z"},
		{"then analyzed", lab.Part{}, lab.Result{Analyzed: second(9, 0, 0)}, lab.Time{}, "2026-03-01T09:00:00+01:00", "2026-03-01T08:05:00Z"},
		{"none is invented", lab.Part{}, lab.Result{}, second(9, 5, 0), "", "2026-03-01T09:05:00+01:00"},
		{"a day", lab.Part{Collected: day}, lab.Result{}, day, "2026-03-01", "2026-03-01T08:05:00Z"},
		{"issued as the order says", lab.Part{Reported: second(9, 6, 0)}, lab.Result{}, second(9, 5, 0), "", "2026-03-01T09:06:00+01:00"},
		{"fractions", lab.Part{Reported: lab.Time{At: second(9, 6, 0).At.Add(1234567 * time.Nanosecond)}}, lab.Result{}, lab.Time{}, "", "2026-03-01T09:06:00.001+01:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Observation(filing.Part{Part: c.part, Sent: c.sent, Received: received}, filing.Result{Result: c.result}, setting)
			var got observation
			if err := json.Unmarshal(r.Body, &got); err != nil {
				t.Fatal(err)
			}
			if got.EffectiveDateTime != c.effective || got.Issued != c.issued {
				t.Errorf("effective %q, issued %q; want %q, %q", got.EffectiveDateTime, got.Issued, c.effective, c.issued)
			}
		})
	}
}

func TestToken(t *testing.T) {
	for _, c := range []struct{ system, value, want, search string }{
		{"urn:labagent:slot", "ab12", "identifier=urn:labagent:slot|ab12", "urn:labagent:slot|ab12"},
		{"urn:a b", "1,2|3&x=y+%\\$ü", `identifier=urn:a%20b|1%5C%2C2%5C%7C3%26x%3Dy%2B%25%5C%5C%5C%24%C3%BC`, `urn:a b|1\,2\|3&x=y+%\\\$ü`},
	} {
		got := token(c.system, c.value)
		if got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
		if query, err := url.ParseQuery(got); err != nil || query.Get("identifier") != c.search {
			t.Errorf("a server reads %q, %v; want %q", query.Get("identifier"), err, c.search)
		}
	}
}

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name, placer, filler, system, value string
	}{
		{"placer", "ORD-1", "F-1", "urn:labagent:order", "ORD-1"},
		{"filler", "", "F-1", "urn:labagent:filler:hematology-1", "F-1"},
		{"the specimen's id is no order", "4711", "4711", "", ""},
		{"none", "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := basedOn(filing.Part{Part: lab.Part{Specimen: "4711", Placer: c.placer, Filler: c.filler}}, setting)
			if c.value == "" {
				if got != nil {
					t.Errorf("got %+v", got)
				}
				return
			}
			if id := got[0].Identifier; id.System != c.system || id.Value != c.value {
				t.Errorf("got %+v", id)
			}
		})
	}
}

// Comments on a part stand on its sheet, and where there is none, on each Observation.
func TestNotesWithoutSheet(t *testing.T) {
	p := filing.Part{Part: lab.Part{Notes: []string{"drawn twice"}}}
	set := setting
	if r := Observation(p, filing.Result{}, set); strings.Contains(string(r.Body), "drawn twice") {
		t.Errorf("beside a sheet: %s", r.Body)
	}
	set.NoSheet = true
	if r := Observation(p, filing.Result{}, set); !strings.Contains(string(r.Body), `"note":[{"text":"drawn twice"}]`) {
		t.Errorf("without a sheet: %s", r.Body)
	}
}

// A sheet lists what is stored by its ids, says what is held, and has another identity when more is stored.
func TestSheet(t *testing.T) {
	p := filing.Part{Part: lab.Part{Specimen: "4711"}, Accession: "4711.20260301", Results: []filing.Result{{Version: "a"}, {Version: "b"}, {Version: "c", Hold: filing.Unit}}}
	partly := Sheet(p, map[string]string{"a": "1", "b": "2"}, 1, setting)
	whole := Sheet(p, map[string]string{"a": "1", "b": "2", "c": "3"}, 0, setting)
	for _, want := range []string{
		`"result":[{"reference":"Observation/1"},{"reference":"Observation/2"}]`, `{"url":"urn:labagent:held","valueInteger":1}`,
		`Results held back by labagent: 1.`, `"status":"partial"`,
	} {
		if !strings.Contains(string(partly.Body), want) {
			t.Errorf("%s\nhas not %s", partly.Body, want)
		}
	}
	if strings.Contains(string(whole.Body), "held") {
		t.Errorf("nothing is held: %s", whole.Body)
	}
	if partly.IfNoneExist == whole.IfNoneExist || partly.IfNoneExist != "identifier=urn:labagent:sheet|"+filing.Sheet([]string{"b", "a"}) {
		t.Errorf("%s and %s", partly.IfNoneExist, whole.IfNoneExist)
	}
	for _, r := range []Resource{partly, whole} {
		if !strings.Contains(string(r.Body), `{"system":"urn:labagent:accession","value":"4711.20260301"}`) {
			t.Errorf("not bound to its specimen: %s", r.Body)
		}
	}
}

// The same message makes the same bytes.
func TestSameBytes(t *testing.T) {
	for _, c := range samples {
		first, again := render(c), render(c)
		for i := range first {
			if string(first[i].Body) != string(again[i].Body) || first[i].IfNoneExist != again[i].IfNoneExist {
				t.Errorf("%s, resource %d is another the second time", c.name, i)
			}
		}
	}
}
