package fhir

import "strings"

// flags are the codes of v2-0078 and R.7 that v3-ObservationInterpretation has, with its words for them.
var flags = map[string]string{
	"<": "Off scale low", ">": "Off scale high", "A": "Abnormal", "AA": "Critical abnormal", "B": "Better", "CAR": "Carrier",
	"D": "Significant change down", "DET": "Detected", "E": "Equivocal", "EX": "outside threshold", "EXP": "Expected",
	"H": "High", "HH": "Critical high", "HU": "Significantly high", "I": "Intermediate", "IE": "Insufficient evidence",
	"IND": "Indeterminate", "L": "Low", "LL": "Critical low", "LU": "Significantly low", "N": "Normal",
	"NCL": "No CLSI defined breakpoint", "ND": "Not detected", "NEG": "Negative", "NR": "Non-reactive", "NS": "Non-susceptible",
	"POS": "Positive", "R": "Resistant", "RR": "Reactive", "S": "Susceptible", "SDD": "Susceptible-dose dependent",
	"SYN-R": "Synergy - resistant", "SYN-S": "Synergy - susceptible", "U": "Significant change up", "UNE": "Unexpected",
	"W": "Worse", "WR": "Weakly reactive",
}

// interpretation renders a flag as sent. A word the standard does not have, or that its sender says is of another system,
// stays the analyzer's own: it is never dropped and never taken for another.
func interpretation(flag string, s Setting) codeableConcept {
	parts := strings.Split(flag, "^")
	code := compact(parts[0])
	own := len(parts) > 2 && parts[2] != "" && parts[2] != "HL70078"
	if display, known := flags[code]; known && !own {
		c := codeableConcept{Coding: []coding{{flagsSystem, code, display}}}
		if text(flag) != code {
			c.Text = text(flag)
		}
		return c
	}
	if code == "" {
		code = compact(flag)
	}
	return codeableConcept{Coding: []coding{{System: flagSystem + urn(s.Analyzer), Code: code}}, Text: text(flag)}
}
