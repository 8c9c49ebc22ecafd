package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Kind says what is wrong with a right.
type Kind string

// The kinds of findings. The words are interface.
const (
	Missing Kind = "missing" // without it the server refuses what we do
	Wide    Kind = "wide"    // allows what we never do
	Drops   Kind = "drops"   // the server takes what we send and silently leaves data out
)

// Finding is one thing that is wrong with our rights. It holds nothing of the server's answer but names of types and
// interactions.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Type   string `json:"type,omitempty"` // the resource type; empty: all
	Reason string `json:"reason"`         // a word: "interaction", "criteria"
	Text   string `json:"text"`           // what it means
}

// maxMe is more than an answer of /auth/me has; Medplum's is 2 kB.
const maxMe = 1 << 20

// me is what we read of the answer of /auth/me. The client's own secret, which stands in it too, is not among it.
type me struct {
	Project struct {
		SuperAdmin bool `json:"superAdmin"`
	} `json:"project"`
	Membership struct {
		Admin bool `json:"admin"`
	} `json:"membership"`
	AccessPolicy *AccessPolicy `json:"accessPolicy"`
}

// Check asks the server what we may do there, and compares that with what we need; no findings: it is just that. The answer
// of the server holds our secret (medplum.md 0.9): it is wiped after reading, and an error tells nothing of it. An error is
// an *Error.
func Check(ctx context.Context, client *http.Client, server string, n Need) ([]Finding, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(server, "/")+"/auth/me", nil)
	if err != nil {
		return nil, &Error{Ours: true, Text: "server.url is no URL"}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, explain(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxMe))
	defer clear(body)
	if err != nil {
		return nil, explain(err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, &Error{Ours: true, Text: "the server does not tell what we may do (it has no /auth/me), so rights cannot be checked"}
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusGone:
		return nil, &Error{Ours: true, Text: fmt.Sprintf("the server answers %d when asked what we may do", resp.StatusCode)}
	default:
		ours := resp.StatusCode == http.StatusBadRequest && strings.Contains(string(body), "Cannot authenticate")
		return nil, &Error{Ours: ours, Text: fmt.Sprintf("the server answers %d when asked what we may do", resp.StatusCode)}
	}
	var m me
	if json.Unmarshal(body, &m) != nil {
		return nil, &Error{Ours: true, Text: "the server's answer about what we may do cannot be read"}
	}
	return n.review(m), nil
}

// everything is what a rule without interactions allows (medplum.md 4), reading what one that is readonly does.
var (
	everything = []string{"create", "read", "vread", "update", "delete", "history", "search"}
	reading    = []string{"read", "vread", "history", "search"}
)

func (r Rule) allows() []string {
	switch {
	case len(r.Interaction) > 0:
		return r.Interaction
	case r.Readonly:
		return reading
	}
	return everything
}

// powerful are types by which a client gives itself more rights, or reads the secrets of others.
var powerful = []string{"AccessPolicy", "ClientApplication", "Bot", "Agent", "Project", "ProjectMembership", "User", "UserSecurityRequest", "Login"}

// added are types that Medplum lets everybody read.
var added = []string{"SearchParameter", "StructureDefinition"}

// review compares the rights with the need.
func (n Need) review(m me) []Finding {
	var list []Finding
	add := func(k Kind, typ, reason, format string, args ...any) {
		list = append(list, Finding{k, typ, reason, fmt.Sprintf(format, args...)})
	}
	if m.Project.SuperAdmin {
		add(Wide, "", "super-admin", "the project is the super administrator's: its members may do everything on the server")
	}
	if m.Membership.Admin {
		add(Wide, "", "admin", "the membership is an administrator's")
	}
	if m.AccessPolicy == nil {
		m.AccessPolicy = &AccessPolicy{Resource: []Rule{{ResourceType: "*"}}}
	}
	granted, entries := map[string][]string{}, map[string]int{}
	for _, r := range m.AccessPolicy.Resource {
		typ := name(r.ResourceType)
		granted[typ] = append(granted[typ], r.allows()...)
		entries[typ]++
		switch {
		case r.ResourceType == "*":
			add(Wide, "*", "any-type", "every type is allowed, as without a policy: the secrets of other clients too")
		case slices.Contains(n.types(), r.ResourceType):
			n.reviewRule(r, add)
			if entries[typ] == 2 {
				add(Wide, typ, "second-entry", "a second entry for %s: a search finds what any of them covers, whatever its interactions", typ)
			}
		case slices.Contains(added, r.ResourceType):
			if !slices.ContainsFunc(r.allows(), func(word string) bool { return !slices.Contains(reading, word) }) {
				continue
			}
			add(Wide, typ, "type", "%s may be changed, which the agent never does", typ)
		case slices.Contains(powerful, r.ResourceType):
			add(Wide, typ, "powerful-type", "%s is allowed: by it a client gains rights or reads secrets", typ)
		default:
			add(Wide, typ, "type", "%s is allowed, which the agent never touches", typ)
		}
	}
	for _, typ := range n.types() {
		for _, word := range needed {
			if !slices.Contains(granted[typ], word) && !slices.Contains(granted["*"], word) {
				add(Missing, typ, word, "%s must be allowed to %s", typ, word)
			}
		}
	}
	return list
}

// reviewRule looks at a rule for a type that we create.
func (n Need) reviewRule(r Rule, add func(k Kind, typ, reason, format string, args ...any)) {
	typ := r.ResourceType
	if len(r.Interaction) == 0 && !r.Readonly {
		add(Wide, typ, "no-interaction", "%s has no interaction list, which allows everything", typ)
	}
	if len(r.Interaction) > 0 || r.Readonly {
		for _, word := range r.allows() {
			if !slices.Contains(needed, word) {
				add(Wide, typ, "interaction", "%s allows %s, which the agent never does", typ, name(word))
			}
		}
	}
	if r.Criteria == "" {
		add(Wide, typ, "no-criteria", "%s is not limited to the tag of this agent", typ)
	} else if ours, more := n.limited(r); !ours || more {
		if !ours {
			add(Wide, typ, "criteria", "%s is limited otherwise than to the tag of this agent", typ)
		}
		add(Missing, typ, "criteria", "the criteria of %s must ask for the tag of this agent and nothing else: %s", typ, n.criteria(typ))
	}
	if len(r.HiddenFields) > 0 {
		add(Drops, typ, "hidden-fields", "%s has hiddenFields: the server silently drops them from what we create", typ)
	}
	if len(r.ReadonlyFields) > 0 {
		add(Drops, typ, "readonly-fields", "%s has readonlyFields: the server silently drops them from what we create", typ)
	}
}

// limited tells whether the criteria let through nothing but our tag, and whether they ask for more than it.
func (n Need) limited(r Rule) (ours, more bool) {
	typ, raw, _ := strings.Cut(r.Criteria, "?")
	query, err := url.ParseQuery(raw)
	if err != nil || typ != r.ResourceType {
		return false, true
	}
	for parameter, values := range query {
		for _, value := range values {
			if parameter == "_tag" && value == n.Tag {
				ours = true
			} else {
				more = true
			}
		}
	}
	return ours, more
}

var plain = regexp.MustCompile(`^(\*|[A-Za-z]{1,40})$`)

// name lets through what looks like a type or an interaction: anything else may be anything.
func name(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return "something unknown"
}
