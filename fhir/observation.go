package fhir

import (
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"labagent/filing"
	"labagent/lab"
)

// Setting is what is said on every resource of one analyzer.
type Setting struct {
	Analyzer      string // name: in the systems of the analyzer's own words
	Label         string // for people; empty: the name
	TagSystem     string // deliver.tag, the part before the bar
	TagCode       string // deliver.tag, the part behind it
	PatientSystem string // of patient ids; empty: no subject is said
	NoSheet       bool   // deliver.report: none; what belongs to the part is then said on each Observation
}

// Observation renders one result of a part. The caller has looked at the holds of both.
func Observation(p filing.Part, r filing.Result, s Setting) Resource {
	o := observation{
		ResourceType: "Observation",
		Meta:         tags(p, s),
		Identifier:   []identifier{{System: slotSystem, Value: r.Slot}, {System: versionSystem, Value: r.Version}},
		BasedOn:      basedOn(p, s),
		Status:       r.Standing,
		Category:     []codeableConcept{{Coding: []coding{{categorySystem, "laboratory", "Laboratory"}}}},
		Code:         code(r, s),
		Subject:      subject(p, s),
		Issued:       issued(p),
		Specimen:     specimen(p),
		Device:       device(r, s),
	}
	var same []extension
	o.answer, same = answerOf(r, s)
	o.Extension = append(marks(r), same...)
	effective := first(p.Collected, r.Observed, r.Analyzed)
	o.EffectiveDateTime = dateTime(effective)
	if at := dateTime(r.Analyzed); at != "" && at != o.EffectiveDateTime {
		o.Extension = append(o.Extension, extension{URL: analyzedExtension, ValueDateTime: at})
	}
	if operator := text(r.Operator); operator != "" {
		o.Performer = []reference{{Display: operator}}
	}
	if method := text(r.Method); method != "" {
		o.Method = &codeableConcept{Text: method}
	}
	notes := slices.Concat(r.Notes, r.Remarks)
	if s.NoSheet {
		notes = slices.Concat(notes, p.Notes)
	}
	if effective.Doubled {
		notes = append(notes, "The hour of "+effective.Raw+" came twice that day; its offset was chosen.")
	}
	o.Note = annotations(notes)
	for _, part := range r.Components {
		c := component{Code: code(part, s), Extension: marks(part)}
		c.answer, same = answerOf(part, s)
		c.Extension = append(c.Extension, same...)
		o.Component = append(o.Component, c)
		o.Note = append(o.Note, annotations(slices.Concat(part.Notes, part.Remarks))...)
	}
	return Resource{"Observation", token(versionSystem, r.Version), body(o)}
}

// token is the search for an identifier, escaped for If-None-Exist: a comma would make it an OR (reference/medplum.md 3).
func token(system, value string) string {
	return "identifier=" + escaped(system) + "|" + escaped(value)
}

var (
	searchEscapes = strings.NewReplacer(`\`, `\\`, `,`, `\,`, `|`, `\|`, `$`, `\$`)
	urlEscapes    = strings.NewReplacer("+", "%20", "%3A", ":")
)

func escaped(s string) string { return urlEscapes.Replace(url.QueryEscape(searchEscapes.Replace(s))) }

// urn writes a name so that it can stand in a URN.
func urn(name string) string { return url.PathEscape(name) }

// tags are the tag all our resources bear, and that of results nobody is named for.
func tags(p filing.Part, s Setting) meta {
	m := meta{Tag: []coding{{System: s.TagSystem, Code: s.TagCode}}}
	if subject(p, s) == nil {
		m.Tag = append(m.Tag, coding{System: stateSystem, Code: "unmatched"})
	}
	return m
}

// code renders what was measured: the analyzer's own code always first, LOINC behind it. Of a code with several aspects the
// aspect stands in a code of its own, so that RLU and DOSE of one test are never taken for each other; a component bears
// that alone, since it must not share a code with its Observation (R4 obs-7).
func code(r filing.Result, s Setting) codeableConcept {
	own := codeSystem + urn(s.Analyzer)
	sent := compact(r.Test.Code)
	name := text(r.Test.Text)
	var c codeableConcept
	if sent != "" && (r.As != filing.AsComponent || r.Distinct == "") {
		c.Coding = append(c.Coding, coding{own, sent, name})
	}
	if sent != "" && r.Distinct != "" {
		c.Coding = append(c.Coding, coding{own, sent + "^" + compact(r.Distinct), ""})
	}
	if r.LOINC != "" {
		c.Coding = append(c.Coding, coding{loincSystem, r.LOINC, text(r.Display)})
	}
	if c.Text = name; name == "" {
		c.Text = sent
	}
	if c.Text == "" {
		c.Text = "Test without a code"
	}
	switch {
	case r.Distinct != "":
		c.Text += " (" + text(r.Distinct) + ")"
	case strings.ContainsFunc(r.Aspect, unicode.IsLetter):
		c.Text += " (" + text(r.Aspect) + ")"
	}
	return c
}

// marks are the extensions of a result: the analyzer's own status, its aspect or run, the nature of an abnormality.
func marks(r filing.Result) []extension {
	var list []extension
	if status := text(r.Status); status != "" {
		list = append(list, extension{URL: statusExtension, ValueString: status})
	}
	for _, id := range []string{text(r.Aspect), text(r.Run)} {
		if id != "" {
			list = append(list, extension{URL: subIDExtension, Extension: []extension{{URL: "original-sub-identifier", ValueString: id}}})
		}
	}
	if nature := text(r.Nature); nature != "" {
		list = append(list, extension{URL: natureExtension, ValueCodeableConcept: &codeableConcept{Text: nature}})
	}
	return list
}

// subject is the patient by the id the analyzer sent, where the config says whose ids these are (rules 6). Nothing held as
// quality control has one, whoever asks.
func subject(p filing.Part, s Setting) *reference {
	if text(p.Patient) == "" || s.PatientSystem == "" || p.QC != "" || p.Training {
		return nil
	}
	return &reference{Type: "Patient", Identifier: &identifier{System: s.PatientSystem, Value: text(p.Patient)}}
}

func specimen(p filing.Part) *reference {
	id := text(p.Specimen)
	if id == "" {
		return nil
	}
	kind := text(p.SpecimenType.Text)
	if kind == "" {
		kind = text(p.SpecimenType.Code)
	}
	return &reference{Type: "Specimen", Identifier: &identifier{System: specimenSystem, Value: id}, Display: kind}
}

// basedOn is the order by the placer's id, else by the filler's, which one analyzer alone gives out. Many analyzers write the
// specimen's id there; that is no order.
func basedOn(p filing.Part, s Setting) []reference {
	for _, id := range []struct{ value, system, kind, display string }{
		{text(p.Placer), placerSystem, "PLAC", "Placer Identifier"},
		{text(p.Filler), fillerSystem + urn(s.Analyzer), "FILL", "Filler Identifier"},
	} {
		if id.value != "" && id.value != text(p.Specimen) {
			kind := codeableConcept{Coding: []coding{{kindOfIDSystem, id.kind, id.display}}}
			return []reference{{Type: "ServiceRequest", Identifier: &identifier{Type: &kind, System: id.system, Value: id.value}}}
		}
	}
	return nil
}

func device(r filing.Result, s Setting) *reference {
	display := s.Label
	if display == "" {
		display = s.Analyzer
	}
	if sent := text(r.Device); sent != "" {
		display += ", " + sent
	}
	return &reference{Type: "Device", Identifier: &identifier{System: analyzerSystem, Value: text(s.Analyzer)}, Display: text(display)}
}

func annotations(notes []string) []annotation {
	var list []annotation
	for _, n := range notes {
		if n = text(n); n != "" {
			list = append(list, annotation{n})
		}
	}
	return list
}

// first is the first time that was sent and understood.
func first(times ...lab.Time) lab.Time {
	for _, t := range times {
		if !t.At.IsZero() {
			return t
		}
	}
	return lab.Time{}
}

// dateTime writes a time to the precision it was sent in, empty for none.
func dateTime(t lab.Time) string {
	if t.At.IsZero() {
		return ""
	}
	switch t.Precision {
	case lab.Day:
		return t.At.Format("2006-01-02")
	case lab.Month:
		return t.At.Format("2006-01")
	case lab.Year:
		return t.At.Format("2006")
	}
	return t.At.Format("2006-01-02T15:04:05.999Z07:00")
}

// issued is when the part was made available: as its order says, else as the message says, else when it was received. A day
// is no instant.
func issued(p filing.Part) string {
	at := p.Received
	for _, t := range []lab.Time{p.Sent, p.Reported} {
		if !t.At.IsZero() && t.Precision == lab.Second {
			at = t.At
		}
	}
	if at.IsZero() {
		return ""
	}
	return at.Truncate(time.Millisecond).Format("2006-01-02T15:04:05.999Z07:00")
}
