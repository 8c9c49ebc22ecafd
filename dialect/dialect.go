// Package dialect says what the bytes of an analyzer's message mean: from a whole message, ASTM (LIS02-A2) or HL7 v2,
// to a lab.Report. It extracts and understands; what may be said about a patient is decided by the rules of filing, what
// is rendered by FHIR. What one analyzer does otherwise than its standard is said by Setup, as data.
//
// Left out on purpose: codes, units and decimal commas are not translated, a flag inside a value is not split (only a
// profile may know), and bulk data stays in the raw message.
package dialect

import (
	"bytes"
	"regexp"
	"strings"
	"time"

	"labagent/lab"
)

// Setup is what the config says about reading the messages of one analyzer. The zero value reads the standard, in UTC.
type Setup struct {
	Encoding   string           // of the text; empty or "from-message": as the message declares, Latin-1 for ASTM
	Zone       *time.Location   // the zone of times without an offset; nil is UTC
	Specimen   []string         // paths of the specimen's id, the first that holds one counts; empty: the dialect's own
	SpecimenQC []*regexp.Regexp // ids of controls
	Patient    string           // path of the patient's id; empty: none is taken from the wire
	QC         []Rule           // marks of quality control beside the standard ones
	Torn       bool             // the message was torn off: a last line that is not ended is not read
}

// Dialect is how one kind of analyzer speaks.
type Dialect struct {
	// Name is the word of the config for it.
	Name string
	// Report reads a whole message, and refers to its text. An error says why it cannot be read, without any of its data.
	Report func(text []byte, s Setup, received time.Time) (lab.Report, error)
	// Specimen is the first specimen's id found in a message or in a piece of one, empty where there is none to be read.
	// It is a best effort for telling people what was refused, never for filing.
	Specimen func(text []byte, s Setup) string
}

// Dialects are all dialects by name.
var Dialects = map[string]Dialect{
	"astm": {Name: "astm", Report: guarded(astmReport), Specimen: harmless(astmSpecimen)},
	"hl7":  {Name: "hl7", Report: guarded(hl7Report), Specimen: harmless(hl7Specimen)},
}

// clock is where the analyzer's times are read.
type clock struct {
	zone     *time.Location
	received time.Time
}

func (s Setup) clock(received time.Time) clock {
	if s.Zone == nil {
		return clock{time.UTC, received}
	}
	return clock{s.Zone, received}
}

// field is the text of one field: repetitions of components, decoded, without escapes.
type field [][]string

// part is component c of repetition r, counted from 1, trimmed; empty where there is none.
func (f field) part(r, c int) string {
	if r > len(f) || c > len(f[r-1]) {
		return ""
	}
	return sent(f[r-1][c-1])
}

// whole writes the field with ^ between components and ~ between repetitions, whatever the sender's delimiters are.
func (f field) whole() string {
	var reps []string
	for _, components := range f {
		reps = append(reps, joined(components))
	}
	return strings.TrimRight(strings.Join(reps, "~"), "~")
}

// sent trims s, and takes "" (the sender deletes what we hold, in both standards) for nothing.
func sent(s string) string {
	if s = strings.TrimSpace(s); s == `""` {
		return ""
	}
	return s
}

// joined writes components with ^ between them, without empty ones at the end.
func joined(components []string) string {
	return strings.TrimSpace(strings.TrimRight(strings.Join(components, "^"), "^ "))
}

// dense writes the components that hold something with ^ between them.
func dense(components []string) string {
	var valued []string
	for _, c := range components {
		if c = sent(c); c != "" {
			valued = append(valued, c)
		}
	}
	return strings.Join(valued, "^")
}

// once adds word to list unless it is there.
func once(list []string, word string) []string {
	for _, w := range list {
		if w == word {
			return list
		}
	}
	return append(list, word)
}

// empty tells whether no component holds anything.
func (f field) empty() bool {
	for r := range f {
		if dense(f[r]) != "" {
			return false
		}
	}
	return true
}

// split cuts raw at a delimiter; 0 is none.
func split(raw []byte, delimiter byte) [][]byte {
	if delimiter == 0 {
		return [][]byte{raw}
	}
	return bytes.Split(raw, []byte{delimiter})
}

// complete cuts the field off the end of a piece that may go on: half an id is none.
func complete(piece []byte, separator byte) []byte {
	if n := len(piece); n == 0 || piece[n-1] == '\r' || piece[n-1] == '\n' {
		return piece
	}
	return append(bytes.Clone(piece[:bytes.LastIndexByte(piece, separator)+1]), '\r')
}
