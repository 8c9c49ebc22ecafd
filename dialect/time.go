package dialect

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"labagent/lab"
)

// firstYear is the first year believed of an event on an analyzer. Earlier is a clock that was never set: 18991230 is the
// zero of Delphi, 1970 and 1980 are what a dead battery leaves.
const firstYear = 1990

// stamp reads the time of an event: YYYY[MM[DD[HH[MM[SS[.S...]]]]]][+-ZZZZ], in the analyzer's zone where no offset is
// given (LIS02-A2, HL7 v2.5.1 chapter 2A). A time of before firstYear counts as not sent; Raw keeps it.
func (c clock) stamp(raw string) lab.Time {
	t := c.moment(raw)
	if !t.At.IsZero() && t.At.Year() < firstYear {
		return lab.Time{Raw: t.Raw}
	}
	return t
}

// moment reads a time as stamp does, of any year: it may be a value.
func (c clock) moment(raw string) lab.Time {
	raw = sent(raw)
	t := lab.Time{Raw: raw}
	digits, zone, zoned := c.offset(raw)
	digits, fraction, fractional := strings.Cut(digits, ".")
	if fractional && (len(digits) != 14 || !allDigits(fraction)) {
		return t
	}
	if !allDigits(digits) {
		return t
	}
	at := [6]int{0, 1, 1, 0, 0, 0}
	switch len(digits) {
	case 4:
		t.Precision = lab.Year
	case 6:
		t.Precision = lab.Month
	case 8:
		t.Precision = lab.Day
	case 10, 12, 14:
	default:
		return t
	}
	at[0], _ = strconv.Atoi(digits[:4])
	for i := 1; 2*i+2 < len(digits); i++ {
		at[i], _ = strconv.Atoi(digits[2*i+2 : 2*i+4])
	}
	// time.Date would turn 30 February into 2 March.
	if day := time.Date(at[0], time.Month(at[1]), at[2], 0, 0, 0, 0, time.UTC); at[0] == 0 || at[1] < 1 || at[1] > 12 ||
		day.Day() != at[2] || at[3] > 23 || at[4] > 59 || at[5] > 59 {
		return lab.Time{Raw: raw}
	}
	nanos, _ := strconv.Atoi((fraction + "000000000")[:9])
	local := time.Date(at[0], time.Month(at[1]), at[2], at[3], at[4], at[5], nanos, zone)
	t.Zoned = zoned
	t.At = local
	if !zoned && t.Precision == lab.Second {
		t.At, t.Doubled = c.choose(local)
	}
	return t
}

// offset splits the offset off a time.
func (c clock) offset(raw string) (digits string, zone *time.Location, zoned bool) {
	at := strings.LastIndexAny(raw, "+-")
	if at < 4 {
		return raw, c.zone, false
	}
	hhmm := strings.Replace(raw[at+1:], ":", "", 1)
	if len(hhmm) != 4 || !allDigits(hhmm) {
		return raw, c.zone, false
	}
	hours, _ := strconv.Atoi(hhmm[:2])
	minutes, _ := strconv.Atoi(hhmm[2:])
	if hours > 14 || minutes > 59 {
		return raw, c.zone, false
	}
	seconds := (hours*60 + minutes) * 60
	if raw[at] == '-' {
		seconds = -seconds
	}
	return raw[:at], time.FixedZone("", seconds), true
}

// choose finds whether the wall clock showed this time twice (the hour set back in autumn), and takes the latest of both
// that is not after receipt; the earlier one when both are (filing rules 8).
func (c clock) choose(t time.Time) (at time.Time, doubled bool) {
	start, end := t.ZoneBounds()
	_, own := t.Zone()
	other := func(at time.Time) (time.Time, bool) {
		_, offset := at.Zone()
		twin := t.Add(time.Duration(own-offset) * time.Second)
		_, is := twin.Zone()
		return twin, is == offset && !twin.Equal(t)
	}
	first, second := t, t
	for _, beside := range []time.Time{start.Add(-time.Second), end} {
		if twin, ok := other(beside); ok && !start.IsZero() && twin.Before(t) {
			first, doubled = twin, true
		} else if ok && !end.IsZero() && twin.After(t) {
			second, doubled = twin, true
		}
	}
	if second.After(c.received) {
		return first, doubled
	}
	return second, doubled
}

// day is the local day of receipt as YYYYMMDD.
func (c clock) day() string { return c.received.In(c.zone).Format("20060102") }

// valued tells whether a raw time field says when. It looks at the bytes alone, because identity hangs on it: a compact
// time needs a date no clock that was never set shows, any other writing counts when it holds more than zeros.
func valued(raw []byte) bool {
	text := string(bytes.TrimSpace(raw))
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	if digits == len(text) || digits >= 8 {
		return digits >= 8 && text[:4] >= strconv.Itoa(firstYear)
	}
	return strings.ContainsAny(text, "123456789")
}

// dateOf is the date of a raw time field as YYYYMMDD, nil where it has none.
func dateOf(raw []byte) []byte {
	raw = bytes.TrimSpace(raw)
	if len(raw) < 8 || !allDigits(string(raw[:8])) || !valued(raw) {
		return nil
	}
	return raw[:8]
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func valuedAny(raw [][]byte) bool {
	for _, r := range raw {
		if valued(r) {
			return true
		}
	}
	return false
}

// date is what takes the place of a time in identity: the date the message was sent, else the local day of receipt.
func (c clock) date(sent []byte) []byte {
	if date := dateOf(sent); date != nil {
		return date
	}
	return []byte(c.day())
}
