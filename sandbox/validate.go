package sandbox

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// validate checks the structure of a resource as the real server does: elements, cardinality, primitive forms and a few
// invariants, but no code values. Only types in the table are looked into. The first issue is the answer.
func validate(typ string, body map[string]any) *fault {
	if _, checked := schema()[typ]; !checked {
		return nil
	}
	return validateObject(typ, typ, body)
}

func validateObject(typ, path string, body map[string]any) *fault {
	known := map[string]bool{}
	for _, e := range schema()[typ] {
		if f := e.validate(path, body, known); f != nil {
			return f
		}
	}
	for _, name := range slices.Sorted(maps.Keys(body)) {
		if !known[strings.TrimPrefix(name, "_")] {
			return structure(fmt.Sprintf("Invalid additional property %q", name), path+"."+name)
		}
	}
	return invariants(typ, path, body)
}

// validate checks one element in its parent, and notes its names as known.
func (e element) validate(parent string, body map[string]any, known map[string]bool) *fault {
	path := parent + "." + e.name
	var value any
	var typ string
	present := false
	for _, t := range e.types {
		name := e.name
		if e.choice {
			name += strings.ToUpper(t[:1]) + t[1:]
		}
		if v, ok := body[name]; ok && !present {
			value, typ, present = v, t, true
			known[name] = true // a second one of a choice is one too many
		}
		if !e.choice {
			known[name] = true
		}
	}
	if e.choice {
		path += "[x]"
	}
	switch {
	case !present && e.required:
		return structure("Missing required property", path)
	case !present:
		return nil
	case value == nil:
		return structure("Invalid null value", path)
	}
	values, repeated := value.([]any)
	switch {
	case e.many && !repeated:
		return structure("Expected array of values for property", path)
	case !e.many && repeated:
		return structure("Expected single value for property", path)
	case !repeated:
		return validateValue(typ, path, value)
	}
	for i, one := range values {
		if f := validateValue(typ, fmt.Sprintf("%s[%d]", path, i), one); f != nil {
			return f
		}
	}
	return nil
}

func validateValue(typ, path string, value any) *fault {
	if value == nil {
		return structure("Invalid null value", path)
	}
	if typ == "any" {
		return nil
	}
	if typ[0] >= 'a' && typ[0] <= 'z' {
		return validatePrimitive(typ, path, value)
	}
	body, ok := value.(map[string]any)
	if !ok {
		return structure("Expected object", path)
	}
	if _, checked := schema()[typ]; !checked {
		return nil
	}
	return validateObject(typ, path, body)
}

const (
	dayForm  = `[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])`
	timeForm = `([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?`
	zoneForm = `(Z|[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00))`
)

// forms are the shapes of the primitives that are strings; the ones left out take any text.
var forms = map[string]*regexp.Regexp{
	"code":         regexp.MustCompile(`^[^\s]+( [^\s]+)*$`),
	"id":           regexp.MustCompile(`^[A-Za-z0-9\-.]{1,64}$`),
	"uri":          regexp.MustCompile(`^\S*$`),
	"url":          regexp.MustCompile(`^\S*$`),
	"date":         regexp.MustCompile(`^(` + dayForm + `|[0-9]{4}(-(0[1-9]|1[0-2]))?)$`),
	"dateTime":     regexp.MustCompile(`^([0-9]{4}(-(0[1-9]|1[0-2]))?|` + dayForm + `(T` + timeForm + zoneForm + `)?)$`),
	"instant":      regexp.MustCompile(`^` + dayForm + `T` + timeForm + zoneForm + `$`),
	"time":         regexp.MustCompile(`^` + timeForm + `$`),
	"base64Binary": regexp.MustCompile(`^[A-Za-z0-9+/=\s]*$`),
	"string":       regexp.MustCompile(`(?s)\S`),
	"markdown":     regexp.MustCompile(`(?s)\S`),
}

func validatePrimitive(typ, path string, value any) *fault {
	want := "string"
	switch typ {
	case "boolean":
		want = "boolean"
	case "decimal", "integer", "positiveInt", "unsignedInt":
		want = "number"
	}
	got := "object"
	switch value.(type) {
	case string:
		got = "string"
	case bool:
		got = "boolean"
	case float64:
		got = "number"
	}
	if got != want {
		return structure(fmt.Sprintf("Invalid JSON type: expected %s, but got %s", want, got), path)
	}
	if text, ok := value.(string); ok {
		if form := forms[typ]; form != nil && !form.MatchString(text) {
			return structure("Invalid "+typ+" format", path)
		}
	}
	if number, ok := value.(float64); ok && typ != "decimal" && number != float64(int64(number)) {
		return structure("Number is not an integer", path)
	}
	return nil
}

// invariants are the constraints of FHIR that results run into.
func invariants(typ, path string, body map[string]any) *fault {
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { _, ok := body[n]; return ok })
	}
	valued := func() bool {
		for name := range body {
			if strings.HasPrefix(name, "value") {
				return true
			}
		}
		return false
	}
	broken := func(key, human string) *fault {
		return &fault{status: 400, code: "invariant", text: "Constraint " + key + " not met: " + human, expression: path}
	}
	switch {
	case (typ == "Observation") && has("dataAbsentReason") && valued():
		return broken("obs-6", "dataAbsentReason SHALL only be present if Observation.value[x] is not present")
	case typ == "ObservationReferenceRange" && !has("low", "high", "text"):
		return broken("obs-3", "Must have at least a low or a high or text")
	case typ == "Extension" && has("extension") == valued():
		return broken("ext-1", "Must have either extensions or value[x], not both")
	case typ == "Quantity" && has("code") && !has("system"):
		return broken("qty-3", "If a code for the unit is present, the system SHALL also be present")
	}
	return nil
}
