// Package filing is the law of what may be said about a patient, as code: the identity of results (rules 2), their standing
// (3), what is held and why (1, 6, 7), and how codes and units are read (7). It takes a lab.Report and the rules of one
// analyzer and decides part by part, result by result; it never drops a result, and knows no protocol, disk or FHIR.
//
// Left to later: corrections, patients in conflict, clocks, and the days within which a specimen's id is not used again.
package filing

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Rules say how the results of one analyzer are filed.
type Rules struct {
	Analyzer string         // the name of the analyzer: part of every identity
	Pattern  *regexp.Regexp // what a patient's specimen id looks like; nil: anything
	AsSent   bool           // the analyzer's own status counts (release: as_sent); else nothing is said to be released
	Deliver  bool           // a result without an entry in Codes goes out under its raw code (unmapped: deliver); else it is held
	Codes    []Code         // the code list
	Zone     *time.Location // the zone of the analyzer; nil is UTC
}

// Code is an entry of the code list: how one code, perhaps in one aspect and one unit, is filed.
type Code struct {
	Code    string // as the analyzer sends it, without dilution
	Aspect  string // what of the test (RLU, DOSE); needed by every entry of a code that has several
	Unit    string // as the analyzer sends it; a result in another unit is held
	LOINC   string // empty: the raw code alone
	Display string // LOINC's name for people
	UCUM    string // the unit in UCUM; empty: by the table of this package
	As      string // result (or empty), component, note, ignore
	Trust   bool   // a LOINC the analyzer sends itself is believed
}

// What an entry makes of a line.
const (
	AsResult    = "result"
	AsComponent = "component" // of the Observation of the result it belongs to
	AsNote      = "note"      // on the Observation of the result it belongs to
	AsIgnore    = "ignore"    // stays in the raw message, counted
)

// Why a part or a result is held. The words are interface: they stand in the queue, in alarms and on the status page.
const (
	NoSpecimen = "no-specimen" // the part has no specimen id; it can never be filed
	SpecimenID = "specimen-id" // the id does not look like a patient's
	QC         = "qc"          // quality control, training or debugging; it can never be filed under a patient
	Unmapped   = "unmapped"    // no entry of the code list is for this result
	Unit       = "unit"        // the code list has the code in another unit
)

// Check tells all that is wrong with the rules, in words for the person who wrote the config.
func (r *Rules) Check() []error {
	var errs []error
	if r.Analyzer == "" {
		errs = append(errs, fmt.Errorf("name is missing: the identity of every result hangs on it"))
	}
	for i, c := range r.Codes {
		complain := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("codes[%d] (%s): %w", i, c.Code, fmt.Errorf(format, args...)))
		}
		c.check(complain)
		for j, other := range r.Codes[:i] {
			if c.LOINC != "" && other.LOINC == c.LOINC && (c.As == AsComponent) != (other.As == AsComponent) {
				complain("it has the LOINC of codes[%d], and one of both is a component; they must differ", j) // R4 obs-7
			}
			switch {
			case other.Code != c.Code:
			case (other.Aspect == "") != (c.Aspect == ""):
				complain("codes[%d] is the same code, and only one of both names an aspect; a code with several aspects needs the aspect in every entry", j)
			case other.Aspect != c.Aspect:
			case other.Unit == c.Unit:
				complain("codes[%d] is the same code%s again", j, aside(c))
			case other.Unit == "" || c.Unit == "":
				complain("codes[%d] is the same code%s, and only one of both names a unit; name it in both", j, aside(Code{Aspect: c.Aspect}))
			}
		}
	}
	return errs
}

// aside names aspect and unit of an entry.
func aside(c Code) string {
	var words []string
	if c.Aspect != "" {
		words = append(words, "aspect "+c.Aspect)
	}
	if c.Unit != "" {
		words = append(words, "unit "+c.Unit)
	}
	if len(words) == 0 {
		return ""
	}
	return " (" + strings.Join(words, ", ") + ")"
}

var loincShape = regexp.MustCompile(`^[0-9]{1,7}-[0-9]$`)

func (c Code) check(complain func(format string, args ...any)) {
	if strings.TrimSpace(c.Code) == "" {
		complain("code is missing")
	}
	for key, text := range map[string]string{"code": c.Code, "aspect": c.Aspect, "unit": c.Unit} {
		if strings.TrimSpace(text) != text {
			complain("%s has a space in front or behind", key)
		}
	}
	switch c.As {
	case "", AsResult, AsComponent:
	case AsNote, AsIgnore:
		if c.LOINC != "" || c.UCUM != "" || c.Trust {
			complain("as: %s leaves no place for loinc, ucum or trust", c.As)
		}
	default:
		complain("as: %q is not one of result, component, note, ignore", c.As)
	}
	if c.LOINC != "" && !LOINC(c.LOINC) {
		complain("loinc %q is not a LOINC code: its check digit or its form is wrong", c.LOINC)
	}
	if c.LOINC != "" && c.Trust {
		complain("loinc and trust exclude each other: which of both should count?")
	}
	if strings.ContainsFunc(c.UCUM, func(r rune) bool { return r <= ' ' || r > '~' }) {
		complain("ucum %q has a space or a character outside ASCII", c.UCUM)
	}
}

// LOINC tells whether code is formed like a LOINC code and its check digit (Luhn, as LOINC Users' Guide appendix C has it)
// is right.
func LOINC(code string) bool {
	if !loincShape.MatchString(code) {
		return false
	}
	digits, check := code[:len(code)-2], code[len(code)-1]
	sum := 0
	for i := range digits {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return int(check-'0') == (10-sum%10)%10
}
