package dialect

import (
	"regexp"
	"slices"
	"strings"
)

// Rule marks a part as quality control by what stands in a field. One of Equals, Prefix and Regexp is set.
type Rule struct {
	Field  string // a path; without a component the whole field is looked at, components joined by ^
	Equals string
	Prefix string
	Regexp *regexp.Regexp
}

// String is the rule in the words shown when it fires.
func (r Rule) String() string {
	switch {
	case r.Equals != "":
		return r.Field + "=" + r.Equals
	case r.Prefix != "":
		return r.Field + "=" + r.Prefix + "*"
	case r.Regexp != nil:
		return r.Field + "~" + r.Regexp.String()
	}
	return r.Field
}

func (r Rule) match(s string) bool {
	s = sent(s)
	switch {
	case r.Equals != "":
		return s == r.Equals
	case r.Prefix != "":
		return strings.HasPrefix(s, r.Prefix)
	case r.Regexp != nil:
		return r.Regexp.MatchString(s)
	}
	return false
}

// standard are the marks of quality control a standard defines for every analyzer (filing rules 6), beside the processing
// id of the message, with the words shown when they fire.
var standard = map[string][]struct {
	word string
	rule Rule
}{
	"astm": {{"O.12=Q", Rule{Field: "O.12.1", Equals: "Q"}}}, // LIS02-A2, action code
	"hl7": {
		{"SPM-11=Q", Rule{Field: "SPM-11.1", Equals: "Q"}},     // table 0369
		{"OBR-15.7=Q", Rule{Field: "OBR-15.7.1", Equals: "Q"}}, // the same before HL7 2.5
	},
}

// judge finds the rule that makes a part quality control, empty for a patient's, and whether it is training or debugging.
// Training is quality control by rule, too: whoever asks only one of both never takes it for a patient's.
func (s Setup) judge(protocol, processing, specimen string, look lookup) (rule string, training bool, err error) {
	if processing != "" && processing != "P" {
		rule = map[string]string{"astm": "H.12=", "hl7": "MSH-11="}[protocol] + processing
		training = processing == "T" || processing == "D"
		return rule, training, nil
	}
	fires := func(r Rule) bool {
		p, wrong := parsePath(protocol, r.Field)
		if wrong != nil {
			err = wrong
			return false
		}
		return slices.ContainsFunc(look(p), r.match)
	}
	for _, mark := range standard[protocol] {
		if fires(mark.rule) {
			return mark.word, false, nil
		}
	}
	for _, r := range s.QC {
		if fires(r) {
			return r.String(), false, nil
		}
	}
	for _, control := range s.SpecimenQC {
		if specimen != "" && control.MatchString(specimen) {
			return "specimen.qc~" + control.String(), false, nil
		}
	}
	return "", false, err
}
