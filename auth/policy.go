package auth

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// Need is what an agent does on the server, and so what it must be allowed.
type Need struct {
	Tag    string // system|code, on everything it creates (deliver.tag)
	Report bool   // it creates a DiagnosticReport for each specimen, beside the Observations
}

// AccessPolicy is a Medplum AccessPolicy as far as it concerns us.
type AccessPolicy struct {
	ResourceType string `json:"resourceType"`
	Name         string `json:"name"`
	Resource     []Rule `json:"resource"`
}

// Rule is one entry of an AccessPolicy. Without Interaction it allows all, or all reading when it is Readonly.
type Rule struct {
	ResourceType   string   `json:"resourceType"`
	Readonly       bool     `json:"readonly,omitempty"`
	Interaction    []string `json:"interaction,omitempty"`
	Criteria       string   `json:"criteria,omitempty"`
	HiddenFields   []string `json:"hiddenFields,omitempty"`
	ReadonlyFields []string `json:"readonlyFields,omitempty"`
}

// A conditional create searches first: create alone is refused (medplum.md 4).
var needed = []string{"create", "search"}

// Policy is the smallest AccessPolicy that does: one entry a type, since a second one opens the search of all (medplum.md
// 0.8), limited to what carries the tag.
func Policy(n Need) AccessPolicy {
	_, code, _ := strings.Cut(n.Tag, "|")
	p := AccessPolicy{ResourceType: "AccessPolicy", Name: "labagent " + code}
	for _, typ := range n.types() {
		p.Resource = append(p.Resource, Rule{ResourceType: typ, Interaction: slices.Clone(needed), Criteria: n.criteria(typ)})
	}
	return p
}

// JSON is the policy as text, to be stored on the server.
func (p AccessPolicy) JSON() []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(p); err != nil {
		panic(err) // strings alone
	}
	return out.Bytes()
}

func (n Need) types() []string {
	if n.Report {
		return []string{"Observation", "DiagnosticReport"}
	}
	return []string{"Observation"}
}

// escaper writes what would end or change a value in a query; the rest stays legible.
var escaper = strings.NewReplacer("%", "%25", "&", "%26", "+", "%2B", "#", "%23", ";", "%3B")

func (n Need) criteria(typ string) string { return typ + "?_tag=" + escaper.Replace(n.Tag) }
