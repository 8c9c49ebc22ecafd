package sandbox

import "slices"

// Policy is an AccessPolicy; json.Unmarshal reads the resource of that name into it.
type Policy struct {
	ID       string `json:"id,omitempty"`
	Name     string `json:"name,omitempty"`
	Resource []Rule `json:"resource"`
}

// Rule is one entry of an AccessPolicy. A policy works by allowing: what no rule allows is forbidden.
type Rule struct {
	ResourceType string   `json:"resourceType"`          // a type or *
	Readonly     bool     `json:"readonly,omitempty"`    // the old way to say read, vread, history and search
	Interaction  []string `json:"interaction,omitempty"` // none: all; unknown words grant nothing
	Criteria     string   `json:"criteria,omitempty"`    // TYPE?query the resource must match
	// HiddenFields and ReadonlyFields are silently dropped from what is written.
	HiddenFields   []string `json:"hiddenFields,omitempty"`
	ReadonlyFields []string `json:"readonlyFields,omitempty"`
}

// unreachable are the types that no membership short of an administrator's reaches.
var unreachable = []string{"Project", "ProjectMembership", "User", "Login"}

var readInteractions = []string{"read", "vread", "history", "search"}

// rules are the client's for a type.
func (c *call) rules(typ string) []Rule {
	if slices.Contains(unreachable, typ) {
		return nil
	}
	if c.client.Policy == nil {
		return []Rule{{ResourceType: "*"}}
	}
	var rules []Rule
	for _, r := range c.client.Policy.Resource {
		if r.ResourceType == typ || r.ResourceType == "*" {
			rules = append(rules, r)
		}
	}
	return rules
}

func (r Rule) allows(interaction string) bool {
	switch {
	case len(r.Interaction) > 0:
		return slices.Contains(r.Interaction, interaction)
	case r.Readonly:
		return slices.Contains(readInteractions, interaction)
	default:
		return true
	}
}

// may tells whether any rule grants the interaction with the type at all.
func (c *call) may(interaction, typ string) bool {
	return slices.ContainsFunc(c.rules(typ), func(r Rule) bool { return r.allows(interaction) })
}

// mayWith tells whether a rule grants the interaction with this very resource.
func (c *call) mayWith(interaction string, rec *record) bool {
	return slices.ContainsFunc(c.rules(rec.typ), func(r Rule) bool {
		if !r.allows(interaction) {
			return false
		}
		matches, err := r.matches(rec)
		return err == nil && matches
	})
}

// visible is the filter on what a search finds: any rule of the type lets through what its criteria match, whatever its
// interactions say. That is a leak of the real server, kept here so that a client does not come to rely on its absence.
func (c *call) visible(rec *record) (bool, *fault) {
	for _, r := range c.rules(rec.typ) {
		if matches, f := r.matches(rec); f != nil || matches {
			return matches, f
		}
	}
	return false, nil
}

func (r Rule) matches(rec *record) (bool, *fault) {
	if r.Criteria == "" {
		return true, nil
	}
	q, f := parseCriteria(r.Criteria)
	if f != nil {
		return false, f
	}
	return q.matches(rec), nil
}

// withoutProtected removes what the policy hides or protects from a resource about to be written, and says nothing about it.
func (c *call) withoutProtected(typ string, body map[string]any) {
	for _, r := range c.rules(typ) {
		for _, field := range slices.Concat(r.HiddenFields, r.ReadonlyFields) {
			delete(body, field)
		}
	}
}
