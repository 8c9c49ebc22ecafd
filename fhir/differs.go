package fhir

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// Differs compares a resource of ours with what a server already has under the same identifier, in what a reader goes by:
// value and unit, code, specimen, status (filing rules 2). It names the first element that differs; empty: none does, or
// the laboratory has since verified, amended or withdrawn the resource, which explains any difference.
func Differs(ours, theirs json.RawMessage) string {
	a, b := object(ours), object(theirs)
	if a == nil || b == nil {
		return ""
	}
	if a["status"] != b["status"] {
		if status, _ := b["status"].(string); slices.Contains(later, status) {
			return ""
		}
		return "status"
	}
	return differs(a, b)
}

// later are the statuses that only somebody after us gives.
var later = []string{"final", "amended", "corrected", "appended", "cancelled", "entered-in-error"}

func differs(a, b map[string]any) string {
	for _, m := range []map[string]any{a, b} {
		for name := range m {
			if (name == "dataAbsentReason" || strings.HasPrefix(name, "value")) && !same(a[name], b[name]) {
				return name
			}
		}
	}
	if !within(meaning(a["code"]), meaning(b["code"])) {
		return "code"
	}
	if !within(a["specimen"], b["specimen"]) {
		return "specimen"
	}
	ours, _ := a["component"].([]any)
	theirs, _ := b["component"].([]any)
	if len(ours) != len(theirs) {
		return "component"
	}
	for i := range ours {
		x, _ := ours[i].(map[string]any)
		y, _ := theirs[i].(map[string]any)
		if name := differs(x, y); name != "" {
			return "component." + name
		}
	}
	return ""
}

// meaning is the codings of a code, or its text where it has none.
func meaning(code any) any {
	m, _ := code.(map[string]any)
	if codings, ok := m["coding"]; ok {
		return codings
	}
	return m["text"]
}

// same compares two JSON values as a server written in JavaScript keeps them: 5.40 has become 5.4.
func same(a, b any) bool { return within(a, b) && within(b, a) }

// within tells whether all of a is in b, which may hold more, a coding added by the laboratory; what codes are called does
// not count.
func within(a, b any) bool {
	switch a := a.(type) {
	case nil:
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		for name, v := range a {
			ok = ok && (name == "display" || within(v, b[name]))
		}
		return ok
	case []any:
		b, ok := b.([]any)
		for _, v := range a {
			ok = ok && slices.ContainsFunc(b, func(w any) bool { return within(v, w) })
		}
		return ok
	case json.Number:
		b, ok := b.(json.Number)
		x, err := a.Float64()
		y, err2 := b.Float64()
		return ok && err == nil && err2 == nil && x == y
	}
	return a == b
}

func object(text json.RawMessage) map[string]any {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var m map[string]any
	if d.Decode(&m) != nil {
		return nil
	}
	return m
}
