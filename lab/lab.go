// Package lab holds the nouns the rooms of labagent share: what one message of an analyzer says, before any rule of
// filing or FHIR touches it. It has no verbs and knows no protocol.
//
// Text is decoded (UTF-8); values are as sent, digit for digit. Only Result.Slot, Result.Version and Part.Slot hold raw
// bytes, because an identity must not change when a decoder does.
package lab

import "time"

// Mark says what a piece is to the message it belongs to. The bytes are those of the .talk files.
type Mark byte

// The marks of a piece.
const (
	Open    Mark = '?' // no bytes yet: the analyzer asks whether a message may begin
	More    Mark = '=' // a part of a message, more follows
	Whole   Mark = '.' // the last (or only) part of a message
	Broken  Mark = '!' // the open message is torn off; Text may hold what was left of it
	Refused Mark = 'x' // turned away by the protocol and not offered again; listed, never stored as a message
)

// Piece is what one answer to the analyzer answers for: the text of an ASTM frame or a whole HL7 message.
type Piece struct {
	Text     []byte    // as received, without framing
	Mark     Mark      // its place in the message
	Received time.Time // when its last byte came
	Quirks   []string  // tolerances used while receiving it, in the words of the protocol package
}

// Report is what one message says.
type Report struct {
	Type       string   // "ASTM", or MSH-9 as sent ("OUL^R22^OUL_R22")
	Sender     string   // H.5 or MSH-3, first component
	Control    string   // H.3 or MSH-10; never unique enough to identify anything
	Sent       Time     // H.14 or MSH-7
	Processing string   // H.12 or MSH-11: P, T training, D debug, Q quality control, or empty
	Parts      []Part   // one specimen and order each, in the order of the message
	Queries    []Query  // questions of the analyzer
	Ended      string   // L.3: N, F, or T, R, E, Q when the sender gave up; empty for HL7
	Unused     []string // types of records or segments that stay in the raw message only, each once
}

// Part is one specimen and its order within a message.
type Part struct {
	Specimen     string   // the specimen's id by the configured path; empty: none was sent
	SpecimenType Code     // O.16 or SPM-4
	Patient      string   // the patient's id by the configured path; empty unless configured
	QC           string   // the rule that marks this part as quality control ("O.12=Q"); empty: a patient's
	Training     bool     // processing id T or D: never filed
	Placer       string   // OBR-2 or ORC-2: the order's id at the placer
	Filler       string   // OBR-3
	Panel        Code     // O.5 or OBR-4
	Status       string   // O.26 or OBR-25 as sent
	Collected    Time     // O.8 or SPM-17, OBR-7
	Reported     Time     // O.23 or OBR-22
	Results      []Result // R or OBX lines that stand for a result
	Notes        []string // comments that belong to the part and not to one result
}

// Result is one measured or stated value.
type Result struct {
	Test     Code     // the analyzer's own code, always first
	Aspect   string   // what of the test: the components after the code, joined by ^ ("1^RLU"); HL7: a lettered OBX-4
	Run      string   // OBX-4 when it only numbers runs or replicates
	Value    Value    // R.4 or OBX-5
	Unit     string   // R.5 or OBX-6, as sent
	UnitCode Code     // OBX-6 when it is coded; System tells by whom
	Range    string   // R.6 or OBX-7, as sent
	Flags    []string // R.7 or OBX-8, each repetition as sent; empty ones left out
	Nature   string   // R.8 or OBX-10
	Status   string   // R.9 or OBX-11, as sent
	Observed Time     // OBX-14 or R.12
	Analyzed Time     // OBX-19 or R.13
	Device   string   // R.14 or OBX-18
	Operator string   // R.11 or OBX-16
	Method   string   // OBX-17
	Notes    []string // C, NTE and supplemental lines under the result

	Slot    [][]byte // raw fields that name the place of this result, filing rules 2
	Version [][]byte // raw fields that tell one version in that place from another, filing rules 2
}

// Query is a question of the analyzer about a specimen.
type Query struct {
	Specimens []string // ids asked for; one entry "ALL" when it asks for everything
	Cancel    bool     // it takes an earlier question back
}

// Code is a code as sent, with its text and its system when the sender named one.
type Code struct {
	Code, Text, System string
}

// Time is a moment as sent and as understood in the analyzer's zone.
type Time struct {
	Raw       string    // as sent
	At        time.Time // zero: not sent, or not understood
	Precision Precision // how much of At was sent
	Zoned     bool      // the sender gave the offset itself
	Doubled   bool      // the local hour occurs twice that day (autumn); the offset was chosen
}

// Precision is how far a time was given.
type Precision uint8

// The precisions of a time.
const (
	Second Precision = iota // to the second, or to the minute with :00
	Day
	Month
	Year
)

// Kind is the kind of a value.
type Kind uint8

// The kinds of a value.
const (
	None      Kind = iota // no value; Absent says why when it is known
	Number                // Number, perhaps with Comparator
	Text                  // Text
	Coded                 // Codes
	Interval              // Low to High, either may be empty
	Ratio                 // Low : High
	Moment                // Time
	TimeOfDay             // Text as hh:mm:ss
	Period                // Time to End
	Bulk                  // images and other data that stay in the raw message
)

// Value is a result's value, digit for digit.
type Value struct {
	Kind       Kind
	Raw        string // the whole field, decoded
	Number     string // a decimal legal in FHIR, same digits as sent
	Comparator string // <, <=, >=, > or empty
	Text       string
	Codes      []Code
	Low, High  string // decimals legal in FHIR
	Time, End  Time
	Absent     string // code of FHIR data-absent-reason: unknown, error, masked, not-performed ...
}
