package filing

import (
	"regexp"
	"strings"

	"labagent/lab"
)

// dilution is how the Roche e411 writes a dilution behind the code: 5/10/not. A bare slash is part of a name (A/G, HPV/16).
var dilution = regexp.MustCompile(`^([^/]+)/[0-9]*/[A-Za-z]*$`)

// bare is the test code without dilution (rules 7).
func bare(code string) string {
	if found := dilution.FindStringSubmatch(code); found != nil {
		return found[1]
	}
	return code
}

// severalAspects tells of which codes the lines hold several aspects.
func severalAspects(results []lab.Result) map[string]bool {
	first := map[string]string{}
	several := map[string]bool{}
	for _, r := range results {
		code := bare(r.Test.Code)
		if aspect, seen := first[code]; !seen {
			first[code] = r.Aspect
		} else if aspect != r.Aspect {
			several[code] = true
		}
	}
	return several
}

// read finds the entry of the code list for a line and takes from it what the line is filed as; without one, or with one in
// another unit, the line is held unless a person lifted the hold. Lifted, it goes out under its raw code alone: a LOINC
// stands for one unit.
func (r *Rules) read(line *Result, several bool, lifted func(hold string) bool) {
	line.As = AsResult
	line.UCUM = ucum(line.Result)
	if line.Value.Kind == lab.Bulk {
		line.As = AsIgnore // rules 7: bulk data stays raw until it is asked for
		return
	}
	hold := func(reason string) {
		if !lifted(reason) {
			line.Hold = reason
		}
	}
	entries := r.entries(line.Result, several)
	if len(entries) == 0 {
		listed := len(r.listed(line.Test.Code)) > 0
		if several || listed {
			line.Distinct = line.Aspect
		}
		if !r.Deliver || several && listed {
			hold(Unmapped)
		}
		return
	}
	for _, c := range entries {
		if c.As == AsIgnore || c.As == AsNote || c.fits(line.Result) {
			line.take(c)
			return
		}
	}
	line.As = role(entries[0])
	line.Distinct = entries[0].Aspect
	hold(Unit)
}

func (line *Result) take(c Code) {
	line.As = role(c)
	line.Distinct = c.Aspect
	line.LOINC, line.Display = c.LOINC, c.Display
	if c.Trust && loincSystem(line.Test.System) && LOINC(line.Test.Code) {
		line.LOINC, line.Display = line.Test.Code, line.Test.Text
	}
	if c.UCUM != "" {
		line.UCUM = c.UCUM
	}
}

func role(c Code) string {
	if c.As == "" {
		return AsResult
	}
	return c.As
}

func loincSystem(name string) bool {
	return name == "LN" || name == "LOINC" || name == "http://loinc.org"
}

// entries are those for the code of a result, exactly or without its dilution, and its aspect: those that name it, else those
// that name none, unless the part holds the code in several.
func (r *Rules) entries(result lab.Result, several bool) []Code {
	var named, open []Code
	for _, c := range r.listed(result.Test.Code) {
		switch {
		case c.Aspect != "" && (result.Aspect == c.Aspect || strings.HasSuffix(result.Aspect, "^"+c.Aspect)):
			named = append(named, c)
		case c.Aspect == "" && !several:
			open = append(open, c)
		}
	}
	if len(named) > 0 {
		return named
	}
	return open
}

func (r *Rules) listed(code string) []Code {
	find := func(code string) (found []Code) {
		for _, c := range r.Codes {
			if c.Code == code {
				found = append(found, c)
			}
		}
		return found
	}
	if found := find(code); len(found) > 0 {
		return found
	}
	return find(bare(code))
}

// fits tells whether a result is in the unit of the entry. An entry that names none but gives UCUM means a unit all the
// same: one that is known to be another does not fit, and one that is not known might be any.
func (c Code) fits(r lab.Result) bool {
	sent := spelling(r.Unit)
	switch {
	case sent == "" && !numeric(r.Value):
		return true // a word has no unit
	case c.Unit != "":
		return sent == spelling(c.Unit)
	case c.UCUM != "":
		return sent == "" || sent == c.UCUM || ucum(r) == c.UCUM
	}
	return true
}

func numeric(v lab.Value) bool {
	return v.Kind == lab.Number || v.Kind == lab.Interval || v.Kind == lab.Ratio
}
