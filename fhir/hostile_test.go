package fhir

import (
	"encoding/json"
	"testing"
)

// TestFalseSuccess: an answer that claims success for what it cannot show is no success.
func TestFalseSuccess(t *testing.T) {
	sent := []Resource{{"Observation", "identifier=a", json.RawMessage("{}")}, {"Observation", "identifier=b", json.RawMessage("{}")}}
	bundle := func(first, second string) string {
		return `{"resourceType":"Bundle","entry":[` + first + `,` + second + `]}`
	}
	good := `{"response":{"status":"201","location":"Observation/1"}}`
	for name, second := range map[string]string{
		"there, and not shown":       `{"response":{"status":"200","location":"Observation/2"}}`,
		"there as null":              `{"response":{"status":"200","location":"Observation/2"},"resource":null}`,
		"there as something else":    `{"response":{"status":"200","location":"Observation/2"},"resource":{"resourceType":"Patient","id":"2"}}`,
		"there under another id":     `{"response":{"status":"200","location":"Observation/2"},"resource":{"resourceType":"Observation","id":"3"}}`,
		"the id of the first":        good,
		"the id of the first, there": `{"response":{"status":"200","location":"Observation/1"},"resource":{"resourceType":"Observation","id":"1"}}`,
		"another type":               `{"response":{"status":"201","location":"Patient/2"}}`,
	} {
		if reply, err := answering(said(200, bundle(good, second)), nil).Create(t.Context(), sent); err == nil {
			t.Errorf("%s: taken for %v", name, reply.Outcomes)
		}
	}
	for name, second := range map[string]string{
		"made":  `{"response":{"status":"201","location":"Observation/2"}}`,
		"there": `{"response":{"status":"200","location":"https://x/fhir/R4/Observation/2/_history/1"},"resource":{"resourceType":"Observation","id":"2"}}`,
	} {
		if reply, err := answering(said(200, bundle(good, second)), nil).Create(t.Context(), sent); err != nil || !reply.Outcomes[1].Done() {
			t.Errorf("%s: %v, %v", name, reply.Outcomes, err)
		}
	}
}
