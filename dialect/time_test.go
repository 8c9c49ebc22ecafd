package dialect

import (
	"testing"
	"time"

	"labagent/lab"
)

func zurich(t *testing.T) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestTimes(t *testing.T) {
	c := clock{zurich(t), received}
	for _, test := range []struct {
		raw, at   string
		precision lab.Precision
		zoned     bool
	}{
		{"2026", "2026-01-01T00:00:00+01:00", lab.Year, false},
		{"202602", "2026-02-01T00:00:00+01:00", lab.Month, false},
		{"20260705", "2026-07-05T00:00:00+02:00", lab.Day, false},
		{"2026070509", "2026-07-05T09:00:00+02:00", lab.Second, false},
		{"202607050930", "2026-07-05T09:30:00+02:00", lab.Second, false},
		{" 20260705093015 ", "2026-07-05T09:30:15+02:00", lab.Second, false},
		{"20260705093015.0000", "2026-07-05T09:30:15+02:00", lab.Second, false},
		{"20260705093015.12345678901", "2026-07-05T09:30:15.123456789+02:00", lab.Second, false},
		{"202607050930+0900", "2026-07-05T09:30:00+09:00", lab.Second, true},
		{"20260705093015.5-0330", "2026-07-05T09:30:15.5-03:30", lab.Second, true},
		{"20260705093015+02:00", "2026-07-05T09:30:15+02:00", lab.Second, true},
		// The clock goes forward: what was never shown is read all the same.
		{"20260329023000", "2026-03-29T03:30:00+02:00", lab.Second, false},
	} {
		got := c.stamp(test.raw)
		if got.At.Format(time.RFC3339Nano) != test.at || got.Precision != test.precision || got.Zoned != test.zoned || got.Doubled {
			t.Errorf("%q: %+v, want %s", test.raw, got, test.at)
		}
	}
	for _, raw := range []string{"", `""`, "18991230", "18991230000000", "00000000", "19700101000000", "20260230", "20261301", "20260705240000", "20260705093060",
		"2026070", "2026-07-05", "05.07.2026", "20260705093015.", "202607050930.5", "20260705093015+2500", "SYSTEM", "2026070509301", "20260705+01"} {
		if got := c.stamp(raw); !got.At.IsZero() {
			t.Errorf("%q was understood as %v", raw, got.At)
		}
	}
	if got := c.moment("18991230"); got.At.IsZero() {
		t.Error("a value may be of 1899")
	}
	if got := c.stamp("18991230"); got.Raw != "18991230" {
		t.Error("the time as sent is lost")
	}
}

// TestDoubledHour: on 25 October 2026 the clocks of Zurich show 02:00 to 03:00 twice, until 01:00 UTC and after it.
func TestDoubledHour(t *testing.T) {
	for _, test := range []struct {
		name, raw, received, at string
		doubled                 bool
	}{
		{"the first time", "20261025023000", "2026-10-25T00:31:00Z", "2026-10-25T00:30:00Z", true},
		{"the second time", "20261025023000", "2026-10-25T01:31:00Z", "2026-10-25T01:30:00Z", true},
		{"days later", "20261025023000", "2026-10-28T09:00:00Z", "2026-10-25T01:30:00Z", true},
		{"the analyzer's clock is ahead", "20261025023000", "2026-10-25T00:29:00Z", "2026-10-25T00:30:00Z", true},
		{"the offset was sent", "20261025023000+0200", "2026-10-25T01:31:00Z", "2026-10-25T00:30:00Z", false},
		{"the hour before", "20261025013000", "2026-10-25T01:31:00Z", "2026-10-24T23:30:00Z", false},
		{"the hour after", "20261025030000", "2026-10-25T02:31:00Z", "2026-10-25T02:00:00Z", false},
		{"the day", "20261025", "2026-10-25T02:31:00Z", "2026-10-24T22:00:00Z", false},
	} {
		at, err := time.Parse(time.RFC3339, test.received)
		if err != nil {
			t.Fatal(err)
		}
		got := clock{zurich(t), at}.stamp(test.raw)
		if s := got.At.UTC().Format(time.RFC3339); s != test.at || got.Doubled != test.doubled {
			t.Errorf("%s: %s doubled %v, want %s %v", test.name, s, got.Doubled, test.at, test.doubled)
		}
	}
}

func TestHalfHourZone(t *testing.T) {
	zone, err := time.LoadLocation("Australia/Lord_Howe") // goes back by half an hour
	if err != nil {
		t.Fatal(err)
	}
	c := clock{zone, time.Date(2026, 4, 4, 15, 5, 0, 0, time.UTC)}
	got := c.stamp("20260405014500")
	if want := "2026-04-04T14:45:00Z"; got.At.UTC().Format(time.RFC3339) != want || !got.Doubled {
		t.Errorf("%v doubled %v, want %s", got.At.UTC(), got.Doubled, want)
	}
}

func TestValuedTimes(t *testing.T) {
	for raw, want := range map[string]bool{
		"20260705": true, "20260705093015+0100": true, "05.07.2026": true, "2026-07-05": true, "Mon 5 Jul": true,
		"": false, " ": false, `""`: false, "18991230": false, "18991230000000": false, "00000000000000": false, "0000-00-00": false,
		"093015": false, "SYSTEM": false, "19700101000000": false, "^^^": false,
	} {
		if got := valued([]byte(raw)); got != want {
			t.Errorf("%q: %v", raw, got)
		}
	}
}
