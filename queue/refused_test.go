package queue

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRefusalsOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	q := start(t, dir, Options{})
	put(t, q.Line("xn", "astm"), "a.")
	q.Refuse(Refusal{Analyzer: "xn", Line: "/dev/ttyS0", Specimen: "S1", Reason: "full", At: at})
	q.Refuse(Refusal{Analyzer: "xn", Line: "/dev/ttyS0", Specimen: "S2", Reason: "full", At: at.Add(time.Minute)})
	q.Refuse(Refusal{Analyzer: "xn", Line: "/dev/ttyS0", Reason: "full", At: at.Add(time.Minute)})
	q.Refuse(Refusal{Analyzer: "xn", Line: "/dev/ttyS0", Specimen: "S1", Reason: "full", At: at.Add(time.Hour)})
	closeQueue(t, q)

	q = start(t, dir, Options{})
	want := []Refusal{
		{"xn", "/dev/ttyS0", "S2", "full", at.Add(time.Minute), at.Add(time.Minute), 1},
		{"xn", "/dev/ttyS0", "", "full", at.Add(time.Minute), at.Add(time.Minute), 1},
		{"xn", "/dev/ttyS0", "S1", "full", at.Add(time.Hour), at, 2},
	}
	if got := q.Refusals(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if n := q.ClearRefusal("e411", "S1", at.Add(time.Hour)) + q.ClearRefusal("xn", "S1", at.Add(59*time.Minute)); n != 0 {
		t.Errorf("cleared %d", n)
	}
	if n := q.ClearRefusal("xn", "S1", at.Add(time.Hour)); n != 1 {
		t.Errorf("cleared %d", n)
	}
	put(t, q.Line("xn", "astm"), "a.")
	closeQueue(t, q)
	q = start(t, dir, Options{})
	if got := q.Refusals(); !reflect.DeepEqual(got, want[:2]) {
		t.Errorf("after one was cleared: %+v\nwant %+v", got, want[:2])
	}
}

func TestTheOldestRefusalGivesWay(t *testing.T) {
	dir := t.TempDir()
	q := start(t, dir, Options{})
	put(t, q.Line("xn", "astm"), "a.")
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	for i := range slots + 3 {
		q.Refuse(Refusal{Analyzer: "xn", Specimen: time.Duration(i).String(), Reason: "full", At: at.Add(time.Duration(i) * time.Second)})
	}
	closeQueue(t, q)
	q = start(t, dir, Options{})
	got := q.Refusals()
	if len(got) != slots || got[0].Specimen != "3ns" {
		t.Errorf("%d refusals, the oldest %+v", len(got), got[0])
	}
}

func TestATornSlotIsAFreeOne(t *testing.T) {
	dir := t.TempDir()
	q := start(t, dir, Options{})
	put(t, q.Line("xn", "astm"), "a.")
	q.Refuse(Refusal{Analyzer: "xn", Specimen: "S1", Reason: "full"})
	q.Refuse(Refusal{Analyzer: "xn", Specimen: strings.Repeat("ü", 300), Reason: strings.Repeat("long", 300), Line: strings.Repeat("x", 99)})
	closeQueue(t, q)
	path := filepath.Join(dir, refusedName)
	all, err := os.ReadFile(path)
	must(t, err)
	all[slotSize+30] ^= 1
	must(t, os.WriteFile(path, all, 0o600))
	q = start(t, dir, Options{})
	got := q.Refusals()
	if len(got) != 1 || got[0].Specimen != strings.Repeat("ü", slotText/2) {
		t.Errorf("got %+v", got)
	}
}
