package fhir

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// The systems of what we name ourselves; those of an analyzer's own words end in its name.
const (
	slotSystem      = "urn:labagent:slot"
	versionSystem   = "urn:labagent:observation"
	sheetSystem     = "urn:labagent:sheet"
	accessionSystem = "urn:labagent:accession"
	specimenSystem  = "urn:labagent:specimen"
	placerSystem    = "urn:labagent:order"
	analyzerSystem  = "urn:labagent:analyzer"
	stateSystem     = "urn:labagent:state"
	fillerSystem    = "urn:labagent:filler:"
	codeSystem      = "urn:labagent:code:" // codes of tests, of panels, and of coded values
	flagSystem      = "urn:labagent:flag:"

	statusExtension = "urn:labagent:status" // the analyzer's own status, as sent
	valueExtension  = "urn:labagent:value"  // the value as sent, where the element does not show it digit for digit
	heldExtension   = "urn:labagent:held"   // how many results of the part are held back
)

// Systems and extensions of others.
const (
	loincSystem    = "http://loinc.org"
	ucumSystem     = "http://unitsofmeasure.org"
	snomedSystem   = "http://snomed.info/sct"
	categorySystem = "http://terminology.hl7.org/CodeSystem/observation-category"
	sectionSystem  = "http://terminology.hl7.org/CodeSystem/v2-0074"
	kindOfIDSystem = "http://terminology.hl7.org/CodeSystem/v2-0203"
	flagsSystem    = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
	absentSystem   = "http://terminology.hl7.org/CodeSystem/data-absent-reason"

	subIDExtension    = "http://hl7.org/fhir/StructureDefinition/observation-v2-subid"
	analyzedExtension = "http://hl7.org/fhir/StructureDefinition/observation-analysis-date-time"
	natureExtension   = "http://hl7.org/fhir/StructureDefinition/observation-nature-of-abnormal-test"
	noteExtension     = "http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport.note" // R5 has the element
)

type observation struct {
	ResourceType      string            `json:"resourceType"`
	Meta              meta              `json:"meta"`
	Extension         []extension       `json:"extension,omitempty"`
	Identifier        []identifier      `json:"identifier,omitempty"`
	BasedOn           []reference       `json:"basedOn,omitempty"`
	Status            string            `json:"status"`
	Category          []codeableConcept `json:"category,omitempty"`
	Code              codeableConcept   `json:"code"`
	Subject           *reference        `json:"subject,omitempty"`
	EffectiveDateTime string            `json:"effectiveDateTime,omitempty"`
	Issued            string            `json:"issued,omitempty"`
	Performer         []reference       `json:"performer,omitempty"`
	answer
	Note      []annotation     `json:"note,omitempty"`
	Method    *codeableConcept `json:"method,omitempty"`
	Specimen  *reference       `json:"specimen,omitempty"`
	Device    *reference       `json:"device,omitempty"`
	Component []component      `json:"component,omitempty"`
}

type component struct {
	Extension []extension     `json:"extension,omitempty"`
	Code      codeableConcept `json:"code"`
	answer
}

// answer is what an Observation and its components have in common.
type answer struct {
	ValueQuantity        *quantity         `json:"valueQuantity,omitempty"`
	ValueCodeableConcept *codeableConcept  `json:"valueCodeableConcept,omitempty"`
	ValueString          string            `json:"valueString,omitempty"`
	ValueRange           *span             `json:"valueRange,omitempty"`
	ValueRatio           *ratio            `json:"valueRatio,omitempty"`
	ValueTime            string            `json:"valueTime,omitempty"`
	ValueDateTime        string            `json:"valueDateTime,omitempty"`
	ValuePeriod          *period           `json:"valuePeriod,omitempty"`
	DataAbsentReason     *codeableConcept  `json:"dataAbsentReason,omitempty"`
	Interpretation       []codeableConcept `json:"interpretation,omitempty"`
	ReferenceRange       []referenceRange  `json:"referenceRange,omitempty"`
}

type diagnosticReport struct {
	ResourceType      string            `json:"resourceType"`
	Meta              meta              `json:"meta"`
	Extension         []extension       `json:"extension,omitempty"`
	Identifier        []identifier      `json:"identifier,omitempty"`
	BasedOn           []reference       `json:"basedOn,omitempty"`
	Status            string            `json:"status"`
	Category          []codeableConcept `json:"category,omitempty"`
	Code              codeableConcept   `json:"code"`
	Subject           *reference        `json:"subject,omitempty"`
	EffectiveDateTime string            `json:"effectiveDateTime,omitempty"`
	Issued            string            `json:"issued,omitempty"`
	Specimen          []reference       `json:"specimen,omitempty"`
	Result            []reference       `json:"result,omitempty"`
}

type meta struct {
	Tag []coding `json:"tag,omitempty"`
}

type coding struct {
	System  string `json:"system,omitempty"`
	Code    string `json:"code,omitempty"`
	Display string `json:"display,omitempty"`
}

type codeableConcept struct {
	Coding []coding `json:"coding,omitempty"`
	Text   string   `json:"text,omitempty"`
}

type identifier struct {
	Type   *codeableConcept `json:"type,omitempty"`
	System string           `json:"system,omitempty"`
	Value  string           `json:"value,omitempty"`
}

type reference struct {
	Reference  string      `json:"reference,omitempty"`
	Type       string      `json:"type,omitempty"`
	Identifier *identifier `json:"identifier,omitempty"`
	Display    string      `json:"display,omitempty"`
}

// quantity holds its value as the text it was sent in: a float64 would change digits.
type quantity struct {
	Value      json.Number `json:"value"`
	Comparator string      `json:"comparator,omitempty"`
	Unit       string      `json:"unit,omitempty"`
	System     string      `json:"system,omitempty"`
	Code       string      `json:"code,omitempty"`
}

type span struct {
	Low  *quantity `json:"low,omitempty"`
	High *quantity `json:"high,omitempty"`
}

type ratio struct {
	Numerator   *quantity `json:"numerator,omitempty"`
	Denominator *quantity `json:"denominator,omitempty"`
}

type period struct {
	Start string `json:"start,omitempty"`
	End   string `json:"end,omitempty"`
}

type referenceRange struct {
	span
	Text string `json:"text,omitempty"`
}

type annotation struct {
	Text string `json:"text"`
}

type extension struct {
	URL                  string           `json:"url"`
	Extension            []extension      `json:"extension,omitempty"`
	ValueString          string           `json:"valueString,omitempty"`
	ValueInteger         int              `json:"valueInteger,omitempty"`
	ValueDateTime        string           `json:"valueDateTime,omitempty"`
	ValueCodeableConcept *codeableConcept `json:"valueCodeableConcept,omitempty"`
	ValueAnnotation      *annotation      `json:"valueAnnotation,omitempty"`
}

// body writes a resource. It cannot fail: every number has been looked at before.
func body(resource any) json.RawMessage {
	var out bytes.Buffer
	out.Grow(2048)
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(resource); err != nil {
		panic(fmt.Sprintf("encode a FHIR resource: %v", err))
	}
	return bytes.TrimSpace(out.Bytes())
}

// text makes s a string of FHIR (R4 2.24.0.1): trimmed, a space for the spaces it does not know, U+FFFD for the control
// characters it forbids. A server on PostgreSQL cannot keep a NUL at all.
func text(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\r' || r == '\n':
			return r
		case unicode.IsControl(r):
			return unicode.ReplacementChar
		case unicode.IsSpace(r) || r == '\uFEFF':
			return ' '
		}
		return r
	}, s))
}

// compact makes s a code of FHIR: no spaces but single ones inside.
func compact(s string) string { return strings.Join(strings.Fields(text(s)), " ") }
