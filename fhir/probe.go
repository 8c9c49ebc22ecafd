package fhir

import (
	"context"
	"encoding/json"
	"net/http"
)

// Transactions tells whether the server carries a transaction out as one, or silently as a batch, as Medplum does unless the
// project has the feature transaction-bundles (medplum.md 0.4). It sends a transaction with an Observation that no server
// takes, and so changes nothing. Known is false when the answer does not show it.
func (c *Client) Transactions(ctx context.Context, s Setting) (transactions, known bool, err error) {
	type resource struct {
		ResourceType string `json:"resourceType"`
		Meta         meta   `json:"meta"`
	}
	bundle, err := encode(map[string]any{
		"resourceType": "Bundle", "type": "transaction",
		"entry": []any{map[string]any{
			"request":  map[string]string{"method": "POST", "url": "Observation"},
			"resource": resource{"Observation", meta{Tag: []coding{{System: s.TagSystem, Code: s.TagCode}}}}, // no code, no status
		}},
	})
	if err != nil {
		return false, false, err
	}
	req, err := c.request(ctx, "", bundle)
	if err != nil {
		return false, false, err
	}
	_, status, _, body, err := c.do(req)
	if err != nil {
		return false, false, err
	}
	switch status {
	case http.StatusBadRequest:
		var oo operationOutcome
		known = json.Unmarshal(body, &oo) == nil && classify(status, oo).Class == ItemFault
		return known, known, nil
	case http.StatusOK:
		var answer struct {
			Entry []struct {
				Response struct{ Status string }
			}
		}
		known = json.Unmarshal(body, &answer) == nil && len(answer.Entry) == 1 && answer.Entry[0].Response.Status == "400"
		return false, known, nil
	}
	return false, false, nil
}
