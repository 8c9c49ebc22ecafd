package fhir

import (
	"regexp"
	"strconv"
	"strings"

	"labagent/filing"
)

const number = `([-+]?(?:[0-9][0-9,]*\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)`

var (
	fromTo = regexp.MustCompile(`^` + number + `\s*(?:-|–|_|~|\.\.|\bto\b)\s*` + number + `$`)
	oneEnd = regexp.MustCompile(`^(<=|>=|<|>|≤|≥)\s*` + number + `$`)
)

// ranges renders the range as sent, always as its text, and with its ends where they can be read without guessing.
func ranges(r filing.Result) []referenceRange {
	said := text(r.Range)
	if said == "" || said == `""` {
		return nil
	}
	low, high := bounds(said)
	return []referenceRange{{span{measure(low, r), measure(high, r)}, said}}
}

// bounds reads 4.00-10.00, -5 - 5, 70_105, 20 to 10,000,000, < 4.5. A bound may be negative, so the text is not cut at the
// first dash. What it does not know, and a range that ends before it begins, has no bounds.
func bounds(said string) (low, high string) {
	if found := oneEnd.FindStringSubmatch(said); found != nil {
		bound := bound(found[2], false)
		if strings.ContainsAny(found[1], "<≤") {
			return "", bound
		}
		return bound, ""
	}
	found := fromTo.FindStringSubmatch(said)
	if found == nil {
		return "", ""
	}
	thousands := grouped(found[1]) || grouped(found[2])
	low, high = bound(found[1], thousands), bound(found[2], thousands)
	from, errLow := strconv.ParseFloat(low, 64)
	to, errHigh := strconv.ParseFloat(high, 64)
	if errLow != nil || errHigh != nil || from > to {
		return "", ""
	}
	return low, high
}

var (
	groups = regexp.MustCompile(`^[-+]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?$`)
	sure   = regexp.MustCompile(`,[0-9]{3},|,[0-9]{3}\.`)
)

// grouped tells whether the commas in a number can only part thousands: there are two, or a point stands behind one. A
// single comma may be that of a decimal.
func grouped(s string) bool { return groups.MatchString(s) && sure.MatchString(s) }

// bound makes a number of a range a decimal of FHIR, empty when it is none.
func bound(s string, thousands bool) string {
	if strings.Contains(s, ",") {
		if !groups.MatchString(s) || !thousands && !grouped(s) {
			return ""
		}
		s = strings.ReplaceAll(s, ",", "")
	}
	sign := ""
	if s[0] == '-' {
		sign = "-"
	}
	s = strings.TrimLeft(s, "+-")
	digits, exponent := s, ""
	if at := strings.IndexAny(s, "eE"); at >= 0 {
		digits, exponent = s[:at], s[at:]
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if fraction != "" {
		fraction = "." + fraction
	}
	return sign + whole + fraction + exponent
}
