package fhir

import (
	"fmt"

	"labagent/filing"
)

// Sheet renders the delivery sheet of a part: the results that are stored, by their ids on the server (keyed by
// Result.Version), and how many are held back. A part of which nothing is stored has no sheet.
func Sheet(p filing.Part, ids map[string]string, held int, s Setting) Resource {
	var listed []filing.Result
	var versions []string
	for _, r := range p.Results {
		if ids[r.Version] != "" {
			listed = append(listed, r)
			versions = append(versions, r.Version)
		}
	}
	id := filing.Sheet(versions)
	d := diagnosticReport{
		ResourceType: "DiagnosticReport",
		Meta:         tags(p, s),
		Identifier:   []identifier{{System: sheetSystem, Value: id}, {System: accessionSystem, Value: p.Accession}},
		BasedOn:      basedOn(p, s),
		Status:       p.Standing(listed, held),
		Category:     []codeableConcept{{Coding: []coding{{sectionSystem, "LAB", "Laboratory"}}}},
		Code:         panel(p, s),
		Subject:      subject(p, s),
		Issued:       issued(p),
	}
	effective := p.Collected
	for _, r := range listed {
		if effective.At.IsZero() {
			effective = first(r.Observed, r.Analyzed)
		}
		d.Result = append(d.Result, reference{Reference: "Observation/" + ids[r.Version]})
	}
	d.EffectiveDateTime = dateTime(effective)
	if tube := specimen(p); tube != nil {
		d.Specimen = []reference{*tube}
	}
	if status := text(p.Status); status != "" {
		d.Extension = append(d.Extension, extension{URL: statusExtension, ValueString: status})
	}
	notes := annotations(p.Notes)
	if held > 0 {
		d.Extension = append(d.Extension, extension{URL: heldExtension, ValueInteger: held})
		notes = append(notes, annotation{fmt.Sprintf("Results held back by labagent: %d.", held)})
	}
	for _, n := range notes {
		d.Extension = append(d.Extension, extension{URL: noteExtension, ValueAnnotation: &n})
	}
	return Resource{"DiagnosticReport", token(sheetSystem, id), body(d)}
}

// panel is what was ordered, else LOINC's word for any laboratory report.
func panel(p filing.Part, s Setting) codeableConcept {
	sent, name := compact(p.Panel.Code), text(p.Panel.Text)
	if sent == "" && name == "" {
		return codeableConcept{Coding: []coding{{loincSystem, "11502-2", "Laboratory report"}}, Text: "Laboratory report"}
	}
	c := codeableConcept{Text: name}
	if sent != "" {
		c.Coding = []coding{{codeSystem + urn(s.Analyzer), sent, name}}
	}
	if name == "" {
		c.Text = sent
	}
	return c
}
