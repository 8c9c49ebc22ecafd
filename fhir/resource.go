// Package fhir says in FHIR R4 what filing decided, and makes the HTTP calls of a delivery. It renders one Observation a
// result and one DiagnosticReport, the sheet, a part (reference/hl7.md 3, filing rules 2, 3, 5 to 8); the structs are the
// small subset of R4 that laboratory results need, written by hand so that every digit of a value stays as it was sent.
package fhir

import "encoding/json"

// Resource is one FHIR resource ready to be created.
type Resource struct {
	Type        string          // "Observation", "DiagnosticReport"
	IfNoneExist string          // the search of the conditional create, escaped: "identifier=system|value"
	Body        json.RawMessage // the resource as JSON
}
