package simulate

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// Test is something the analyzer measures.
type Test struct {
	Code      string
	Unit      string
	Low, High float64  // the usual range; results stray beyond it
	Decimals  int      // digits behind the point, kept even where they are zeros
	Words     []string // a test that answers in words instead
}

// Hematology is a small blood count.
var Hematology = []Test{
	{Code: "WBC", Unit: "10*9/L", Low: 4, High: 10, Decimals: 2},
	{Code: "RBC", Unit: "10*12/L", Low: 4.2, High: 5.9, Decimals: 2},
	{Code: "HGB", Unit: "g/L", Low: 120, High: 175, Decimals: 0},
	{Code: "HCT", Unit: "%", Low: 36, High: 50, Decimals: 1},
	{Code: "MCV", Unit: "fL", Low: 80, High: 98, Decimals: 1},
	{Code: "PLT", Unit: "10*9/L", Low: 150, High: 400, Decimals: 0},
}

// Chemistry is a small serum panel with one test that answers in words.
var Chemistry = []Test{
	{Code: "GLU", Unit: "mmol/L", Low: 3.9, High: 5.6, Decimals: 1},
	{Code: "CREA", Unit: "umol/L", Low: 60, High: 110, Decimals: 0},
	{Code: "K", Unit: "mmol/L", Low: 3.5, High: 5.1, Decimals: 2},
	{Code: "CRP", Unit: "mg/L", Low: 0, High: 5, Decimals: 2},
	{Code: "HBSAG", Words: []string{"NEGATIVE", "NEGATIVE", "POSITIVE", "EQUIVOCAL"}},
}

// message is what one specimen gave; everything but its time of sending stays as it is when it is sent again.
type message struct {
	number       int
	specimen     string
	measured     time.Time
	results      []result
	acknowledged bool
}

type result struct {
	test  Test
	value string
	flag  string
	entry *Entry
}

// invent makes message number n, the same for the same seed whenever it is asked.
func (r *run) invent(n int) *message {
	chance := rand.New(rand.NewPCG(r.a.Seed, uint64(n)))
	m := &message{number: n, specimen: Specimen(r.a.Seed, n), measured: time.Now()}
	for _, test := range r.panel {
		value, flag := test.measure(chance)
		entry := r.ledger.add(r.a.Name, m.specimen, test, value)
		m.results = append(m.results, result{test: test, value: value, flag: flag, entry: entry})
	}
	return m
}

// Specimen is the id of the specimen in message n of the analyzer with this seed: ten digits, another for every n, and for
// every seed within ninety.
func Specimen(seed uint64, n int) string {
	return fmt.Sprintf("%02d%08d", 10+seed%90, n%1e8)
}

func (t Test) measure(chance *rand.Rand) (value, flag string) {
	if len(t.Words) > 0 {
		return t.Words[chance.IntN(len(t.Words))], ""
	}
	span := t.High - t.Low
	x := max(0, t.Low-0.2*span+1.4*span*chance.Float64())
	switch {
	case x < t.Low:
		flag = "L"
	case x > t.High:
		flag = "H"
	default:
		flag = "N"
	}
	return strconv.FormatFloat(x, 'f', t.Decimals, 64), flag
}

// bounds writes the usual range, empty for a test in words.
func (t Test) bounds(between string) string {
	if len(t.Words) > 0 {
		return ""
	}
	return strconv.FormatFloat(t.Low, 'f', t.Decimals, 64) + between + strconv.FormatFloat(t.High, 'f', t.Decimals, 64)
}
