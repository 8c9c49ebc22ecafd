package dialect

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// path names a place in a message as the config writes it: O.3.1 in ASTM (record, field, component), SPM-2.1.1 in HL7
// (segment, field, component, subcomponent). What is left out at the end is 0: the whole field, the whole component.
type path struct {
	record                string
	field, component, sub int
}

var places = map[string]struct {
	form    *regexp.Regexp
	example string
}{
	"astm": {regexp.MustCompile(`^([A-Z])\.([0-9]{1,3})(?:\.([0-9]{1,3}))?()$`), "O.3.1"},
	"hl7":  {regexp.MustCompile(`^([A-Z][A-Z0-9]{2})-([0-9]{1,3})(?:\.([0-9]{1,3})(?:\.([0-9]{1,3}))?)?$`), "SPM-2.1"},
}

// CheckPath tells what is wrong with a path of the config in the given protocol, nil for nothing.
func CheckPath(protocol, path string) error {
	_, err := parsePath(protocol, path)
	return err
}

func parsePath(protocol, text string) (path, error) {
	known, ok := places[protocol]
	if !ok {
		return path{}, fmt.Errorf("no protocol %q", protocol)
	}
	m := known.form.FindStringSubmatch(text)
	if m == nil {
		return path{}, fmt.Errorf("%q is not a place in a message, it is written like %s", text, known.example)
	}
	p := path{record: m[1]}
	for i, n := range []*int{&p.field, &p.component, &p.sub} {
		if m[i+2] == "" {
			break
		}
		*n, _ = strconv.Atoi(m[i+2])
		if *n == 0 {
			return path{}, fmt.Errorf("%q: fields and components are counted from 1", text)
		}
	}
	return p, nil
}

// lookup gives what stands at a path, each repetition of each record once, in the order of the message.
type lookup func(p path) []string

// id is the first id at the first of the paths that holds one.
func (look lookup) id(protocol string, paths []string) (string, error) {
	for _, text := range paths {
		p, err := parsePath(protocol, text)
		if err != nil {
			return "", err
		}
		for _, s := range look(p) {
			if s = identifier(s); s != "" {
				return s, nil
			}
		}
	}
	return "", nil
}

// identifier is s where it names something. A word for nothing (BioSystems writes NULL and NONE) and signs alone (?) are no
// ids: taken for one they would bring strangers together.
func identifier(s string) string {
	s = sent(s)
	named := strings.ContainsFunc(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
	if !named || s == "NULL" || s == "NONE" {
		return ""
	}
	return s
}
