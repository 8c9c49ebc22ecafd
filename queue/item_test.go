package queue

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"labagent/lab"
)

func TestStatesAndWhatMayFollow(t *testing.T) {
	all := func(Exception) bool { return true }
	left := []Exception{{Part: 0, Result: 2, Reason: "unmapped"}}
	steps := map[string]func(*Queue, uint64) error{
		"done":    func(q *Queue, id uint64) error { return q.Done(id, nil) },
		"partly":  func(q *Queue, id uint64) error { return q.Done(id, left) },
		"park":    func(q *Queue, id uint64) error { return q.Park(id, "refused-unclear") },
		"retry":   func(q *Queue, id uint64) error { return q.Retry(id) },
		"release": func(q *Queue, id uint64) error { return q.Release(id, "anna", "seen", all) },
	}
	type outcome struct {
		state State
		err   error
	}
	for _, c := range []struct {
		from  State
		begin []string
		after map[string]outcome
	}{
		{Waiting, nil, map[string]outcome{
			"done": {Delivered, nil}, "partly": {Held, nil}, "park": {Parked, nil}, "retry": {Waiting, nil},
			"release": {Waiting, ErrNothing}}},
		{Held, []string{"partly"}, map[string]outcome{
			"done": {Delivered, nil}, "partly": {Held, nil}, "park": {Parked, nil}, "retry": {Waiting, nil},
			"release": {Waiting, nil}}},
		{Parked, []string{"park"}, map[string]outcome{
			"done": {Delivered, nil}, "partly": {Held, nil}, "park": {Parked, nil}, "retry": {Waiting, nil},
			"release": {Parked, ErrNothing}}},
		{Incomplete, nil, map[string]outcome{
			"done": {Incomplete, ErrIncomplete}, "partly": {Incomplete, ErrIncomplete}, "park": {Incomplete, ErrIncomplete},
			"retry": {Incomplete, ErrIncomplete}, "release": {Waiting, nil}}},
		{Delivered, []string{"done"}, map[string]outcome{
			"done": {Delivered, nil}, "partly": {Delivered, nil}, "park": {Delivered, ErrDelivered}, "retry": {Delivered, ErrDelivered},
			"release": {Delivered, ErrDelivered}}},
	} {
		for step, want := range c.after {
			t.Run(fmt.Sprintf("%s %s", c.from, step), func(t *testing.T) {
				dir := t.TempDir()
				q := start(t, dir, Options{KeepDelivered: time.Hour})
				mark := lab.Whole
				if c.from == Incomplete {
					mark = lab.Broken
				}
				must(t, q.Line("xn", "astm").Append(t.Context(), []lab.Piece{piece("text", mark)}))
				const id = 1
				for _, s := range c.begin {
					must(t, steps[s](q, id))
				}
				if err := steps[step](q, id); !errors.Is(err, want.err) {
					t.Errorf("got %v, want %v", err, want.err)
				}
				item, err := q.Get(id)
				must(t, err)
				if item.State != want.state || string(item.Text) != "text" {
					t.Errorf("item is %+v, want %s", item, want.state)
				}
				closeQueue(t, q)
				q = start(t, dir, Options{KeepDelivered: time.Hour})
				again, err := q.Get(id)
				must(t, err)
				if !reflect.DeepEqual(again, item) {
					t.Errorf("after a restart\n %+v\nbefore\n %+v", again, item)
				}
			})
		}
	}
}

func TestUnknownItems(t *testing.T) {
	q := start(t, t.TempDir(), Options{})
	l := q.Line("xn", "astm")
	put(t, l, "a=")
	for _, id := range []uint64{0, 1, 2, 99} {
		_, err := q.Get(id)
		for what, err := range map[string]error{"get": err, "done": q.Done(id, nil), "park": q.Park(id, "x"),
			"retry": q.Retry(id), "release": q.Release(id, "", "", nil)} {
			if !errors.Is(err, ErrUnknown) {
				t.Errorf("%s of item %d: %v", what, id, err)
			}
		}
	}
}

func TestDecisionsStayWithTheItem(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	o := Options{KeepDelivered: time.Hour, Now: func() time.Time { return now }}
	q := start(t, dir, o)
	put(t, q.Line("xn", "astm"), "a.")
	const id = 1
	unmapped := Exception{Part: 0, Result: 1, Reason: "unmapped"}
	specimen := Exception{Part: 1, Result: -1, Reason: "specimen-id"}
	must(t, q.Done(id, []Exception{unmapped, specimen}))
	must(t, q.Release(id, "anna", "wrist band seen", func(e Exception) bool { return e.Reason == "specimen-id" }))
	decided := specimen
	decided.Decision, decided.By, decided.Why, decided.At = Release, "anna", "wrist band seen", now
	check := func(when string, state State, reason string, want ...Exception) {
		t.Helper()
		item, err := q.Get(id)
		must(t, err)
		if item.State != state || item.Reason != reason || !reflect.DeepEqual(item.Exceptions, want) {
			t.Errorf("%s: %s %s %+v\nwant %s %s %+v", when, item.State, item.Reason, item.Exceptions, state, reason, want)
		}
	}
	check("released", Waiting, ReasonReleased, unmapped, decided)

	must(t, q.Done(id, []Exception{unmapped}))
	check("the rest is held again", Held, "unmapped", decided, unmapped)
	closeQueue(t, q)
	q = start(t, dir, o)
	check("after a restart", Held, "unmapped", decided, unmapped)

	must(t, q.Retry(id))
	check("retried", Waiting, ReasonRetried, decided, unmapped)
	must(t, q.Park(id, "refused", specimen))
	check("refused in spite of the decision", Parked, "refused", specimen)
	must(t, q.Release(id, "anna", "again", nil))
	must(t, q.Done(id, nil))
	decided.Why = "again"
	check("delivered", Delivered, "", decided)
}

func TestAttempts(t *testing.T) {
	q := start(t, t.TempDir(), Options{KeepDelivered: time.Hour})
	put(t, q.Line("xn", "astm"), "a.")
	const id = 1
	q.Attempt(id, "timeout")
	if n := q.Attempt(id, "status-503"); n != 2 {
		t.Errorf("attempt %d", n)
	}
	if item := first(t, q, "xn"); item.Attempts != 2 || item.Reason != "status-503" {
		t.Errorf("item is %+v", item)
	}
	must(t, q.Park(id, "refused-unclear"))
	if item, _ := q.Get(id); item.Attempts != 2 || item.Reason != "refused-unclear" {
		t.Errorf("parked item is %+v", item)
	}
	must(t, q.Retry(id))
	if item := first(t, q, "xn"); item.Attempts != 0 || item.Reason != ReasonRetried {
		t.Errorf("retried item is %+v", item)
	}
}

func TestKeptAsLongAsAsked(t *testing.T) {
	clock := newClock()
	q := start(t, t.TempDir(), Options{KeepDelivered: 24 * time.Hour, Now: clock.now})
	l := q.Line("xn", "astm")
	put(t, l, "H|late\r=", "L|late\r.", "a.", "b.", "c.")
	late := first(t, q, "xn").ID
	deliver := func(id uint64) {
		t.Helper()
		must(t, q.Done(id, nil))
	}
	deliver(3)
	clock.forward(12 * time.Hour)
	deliver(late)
	deliver(4)
	same(t, "after 12 h", standing(t, q, Delivered), []string{"b delivered", "a delivered", "H|late\rL|late\r delivered"})
	clock.forward(12 * time.Hour)
	put(t, l, "d.")
	same(t, "after 24 h", standing(t, q, Delivered), []string{"b delivered", "H|late\rL|late\r delivered"})
	clock.forward(12 * time.Hour)
	put(t, l, "e.")
	same(t, "after 36 h", standing(t, q, Delivered), []string{})
	same(t, "waiting", texts(t, q, "xn"), []string{"c", "d", "e"})
	if s := q.Stats(); s.Delivered != 0 || s.Waiting != 3 {
		t.Errorf("stats: %+v", s)
	}
	if n := records(t, q); n != 3 {
		t.Errorf("%d records are left, want 3", n)
	}
}

func TestListOfMany(t *testing.T) {
	q := start(t, t.TempDir(), Options{KeepDelivered: time.Hour})
	l := q.Line("xn", "hl7")
	var waiting, delivered []string
	for i := range 200 {
		put(t, l, fmt.Sprintf("%d.", i))
		if i%2 == 0 {
			waiting = append(waiting, fmt.Sprintf("%d waiting", i))
			continue
		}
		must(t, q.Done(uint64(i+1), nil))
		delivered = append([]string{fmt.Sprintf("%d delivered", i)}, delivered...)
	}
	same(t, "all", standing(t, q, Waiting, Delivered), append(waiting, delivered...))
	seen := 0
	must(t, q.List(func(i *Item) bool {
		if i.Text != nil || i.Size == 0 {
			t.Errorf("item without its text is %+v", i)
		}
		seen++
		return seen < 150
	}, false, Delivered, Waiting))
	if seen != 150 {
		t.Errorf("f was called %d times after it had enough", seen)
	}
}

func TestStats(t *testing.T) {
	q := start(t, t.TempDir(), Options{KeepDelivered: time.Hour})
	a, b := q.Line("a", "astm"), q.Line("b", "astm")
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	for i, l := range []*Line{b, a, b, a, b, a} {
		must(t, l.Append(t.Context(), []lab.Piece{{Text: []byte("text"), Mark: lab.Whole, Received: at.Add(time.Duration(i) * time.Minute)}}))
	}
	put(t, a, "torn!")
	must(t, q.Done(1, nil))
	must(t, q.Park(2, "refused"))
	must(t, q.Done(4, []Exception{{Reason: "unit"}}))
	want := Stats{
		Counts:    Counts{Waiting: 3, Held: 1, Parked: 1, Incomplete: 1, Oldest: at.Add(2 * time.Minute)},
		Delivered: 1,
		Bytes:     5*(4+overhead) + 4 + overhead,
		Analyzers: map[string]Counts{
			"a": {Waiting: 1, Held: 1, Parked: 1, Incomplete: 1, Oldest: at.Add(5 * time.Minute)},
			"b": {Waiting: 2, Oldest: at.Add(2 * time.Minute)},
		},
	}
	if got := q.Stats(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}
