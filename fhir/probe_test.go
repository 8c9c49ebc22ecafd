package fhir

import (
	"errors"
	"net/http"
	"testing"

	"labagent/sandbox"
)

// What a real server answered to the probe, and what tells nothing.
func TestTransactionsRecorded(t *testing.T) {
	for _, test := range []struct {
		name        string
		resp        *http.Response
		err         error
		real, known bool
	}{
		{"with the feature", recorded(t, "probe-transaction-support-on"), nil, true, true},
		{"without it", recorded(t, "probe-transaction-support-off"), nil, false, true},
		{"no rights", said(403, `{"resourceType":"OperationOutcome","issue":[{"code":"forbidden"}]}`), nil, false, false},
		{"database down", said(400, `{"issue":[{"code":"invalid","details":{"text":"connect ECONNREFUSED 127.0.0.1:5432"}}]}`), nil, false, false},
		{"no rights, entry by entry", said(200, `{"entry":[{"response":{"status":"403"}}]}`), nil, false, false},
		{"not JSON", said(200, `<html>`), nil, false, false},
		{"no answer", nil, errors.New("cut"), false, false},
	} {
		real, known, err := answering(test.resp, test.err).Transactions(t.Context(), Setting{TagSystem: "urn:labagent", TagCode: "lab-7"})
		if real != test.real || known != test.known || (err != nil) != (test.err != nil) {
			t.Errorf("%s: %t %t %v", test.name, real, known, err)
		}
	}
}

// The probe finds out on both kinds of server with no more than the minimal policy, and creates nothing.
func TestTransactionsChangeNothing(t *testing.T) {
	for _, feature := range []bool{true, false} {
		server := sandbox.New(sandbox.Options{Transactions: feature})
		client := server.AddClient(sandbox.Client{Policy: &sandbox.Policy{Resource: []sandbox.Rule{{
			ResourceType: "Observation", Interaction: []string{"create", "search"}, Criteria: "Observation?_tag=urn:labagent|lab-7",
		}}}})
		c := &Client{Base: "https://lab.example/", HTTP: &http.Client{Transport: network(func(r *http.Request) (*http.Response, error) {
			r.SetBasicAuth(client.ID, client.Secret)
			return server.RoundTrip(r)
		})}}
		real, known, err := c.Transactions(t.Context(), Setting{TagSystem: "urn:labagent", TagCode: "lab-7"})
		if err != nil || !known || real != feature {
			t.Errorf("feature %t: %t %t %v", feature, real, known, err)
		}
		if n := len(server.Resources("Observation")); n != 0 {
			t.Errorf("%d Observations were created", n)
		}
	}
}
