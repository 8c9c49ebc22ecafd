package queue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"labagent/lab"
)

// modelItem is an item as the model knows it.
type modelItem struct {
	analyzer string
	text     string
	state    State
	at       time.Time // of delivery
}

// model is the queue as one would write it without a disk.
type model struct {
	items []*modelItem // in the order they became items
	open  map[*Line]string
	owner map[*Line]string
	short bool // the reserve is out
}

func (m *model) feed(l *Line, pieces []lab.Piece) {
	for _, p := range pieces {
		text := m.open[l] + string(p.Text)
		switch {
		case p.Mark == lab.Open:
			continue
		case p.Mark == lab.More:
			m.open[l] = text
			continue
		case p.Mark == lab.Whole:
			m.items = append(m.items, &modelItem{analyzer: m.owner[l], text: text, state: Waiting})
		case text != "":
			m.items = append(m.items, &modelItem{analyzer: m.owner[l], text: text, state: Incomplete})
		}
		delete(m.open, l)
	}
}

func (m *model) expire(before time.Time) {
	m.items = slices.DeleteFunc(m.items, func(i *modelItem) bool { return i.state == Delivered && !i.at.After(before) })
}

// failed is what an append does that fails: so many commits fail, landing or not.
func (m *model) failed(failures int32, landing bool) {
	commits := int32(0)
	lands := func() bool { commits++; return landing || commits > failures }
	if lands() {
		m.short = false // it laid the reserve in
	}
	if !m.short && lands() {
		m.short = true
	}
	if lands() {
		m.giveWay()
	}
}

// giveWay is what delivered items do while the reserve is out; never more than a hundred are there.
func (m *model) giveWay() {
	if m.short {
		m.items = slices.DeleteFunc(m.items, func(i *modelItem) bool { return i.state == Delivered })
	}
}

func (m *model) of(analyzer string, state State) []string {
	all := []string{}
	for _, i := range m.items {
		if i.state == state && (analyzer == "" || i.analyzer == analyzer) {
			all = append(all, i.text)
		}
	}
	return all
}

// TestAgainstAModel does at random what may be done, with restarts, crashes and failing commits in between, and wants the
// queue to be what a simple model is.
func TestAgainstAModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { playModel(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func playModel(t *testing.T, random *rand.Rand) {
	const kept = time.Hour
	clock := newClock()
	d := &disk{}
	o := Options{KeepDelivered: kept, Now: clock.now}
	dir := t.TempDir()
	q := d.on(t, dir, o)
	m := &model{open: map[*Line]string{}, owner: map[*Line]string{}}
	analyzers := []string{"a", "b", "c"}
	var lines []*Line
	newLines := func() {
		lines = nil
		for _, analyzer := range append(analyzers, analyzers...) {
			l := q.Line(analyzer, "astm")
			lines, m.owner[l] = append(lines, l), analyzer
		}
	}
	newLines()
	count := 0
	marks := []lab.Mark{lab.More, lab.More, lab.Whole, lab.Whole, lab.Broken, lab.Open}
	pieces := func() (all []lab.Piece) {
		for range 1 + random.IntN(4) {
			count++
			p := lab.Piece{Mark: marks[random.IntN(len(marks))], Received: clock.now()}
			if p.Mark != lab.Broken || random.IntN(2) == 0 {
				p.Text = fmt.Appendf(nil, "<%d>", count)
			}
			if p.Mark == lab.Open {
				p.Text = nil
			}
			all = append(all, p)
		}
		return all
	}
	// restart puts a new queue in the place of the old; what is open tears.
	restart := func(next func() *Queue) {
		var torn []*Line
		for _, l := range lines {
			if m.open[l] != "" {
				torn = append(torn, l)
			}
		}
		q = next()
		q.Line("nobody", "").Close(t.Context())
		m.giveWay()
		// The order among the torn is that of their first pieces, which the texts tell.
		slices.SortFunc(torn, func(a, b *Line) int {
			var x, y int
			fmt.Sscanf(m.open[a], "<%d>", &x)
			fmt.Sscanf(m.open[b], "<%d>", &y)
			return x - y
		})
		for _, l := range torn {
			m.feed(l, []lab.Piece{{Mark: lab.Broken}})
		}
		newLines()
	}
	for range 200 {
		clock.forward(time.Duration(random.IntN(300)) * time.Second)
		switch random.IntN(12) {
		default:
			l, p := lines[random.IntN(len(lines))], pieces()
			must(t, l.Append(t.Context(), p))
			m.feed(l, p)
			m.short = false
		case 0: // an append that fails, with or without being on disk
			failures := int32(1 + random.IntN(3))
			d.fail.Store(failures)
			d.landing = random.IntN(2) == 0
			p := pieces()
			stores := slices.ContainsFunc(p, func(p lab.Piece) bool { return len(p.Text) > 0 })
			switch err := lines[0].Append(t.Context(), p); {
			case err != nil:
				m.failed(failures, d.landing)
			case stores:
				t.Fatal("stored by a failing commit")
			default:
				m.feed(lines[0], p)
			}
			q.Line("nobody", "").Close(t.Context()) // what follows the failure is over
			m.giveWay()
			d.fail.Store(0)
		case 1, 2, 3: // the oldest of an analyzer is delivered, parked or held
			analyzer := analyzers[random.IntN(3)]
			item, err := q.Next(analyzer, 0)
			must(t, err)
			if item == nil {
				continue
			}
			m.giveWay()
			i := slices.IndexFunc(m.items, func(i *modelItem) bool { return i.analyzer == analyzer && i.state == Waiting })
			switch random.IntN(4) {
			default:
				must(t, q.Done(item.ID, nil))
				m.items[i].state, m.items[i].at = Delivered, clock.now()
			case 0:
				must(t, q.Park(item.ID, "refused"))
				m.items[i].state = Parked
			case 1:
				must(t, q.Done(item.ID, []Exception{{Reason: "unit"}}))
				m.items[i].state = Held
			}
		case 4: // a person decides
			var ids []uint64
			must(t, q.List(func(i *Item) bool { ids = append(ids, i.ID); return true }, false, Held, Parked, Incomplete))
			if len(ids) == 0 {
				continue
			}
			item, err := q.Get(ids[random.IntN(len(ids))])
			must(t, err)
			if item.State == Parked {
				must(t, q.Retry(item.ID))
			} else {
				must(t, q.Release(item.ID, "anna", "seen", nil))
			}
			m.giveWay()
			i := slices.IndexFunc(m.items, func(i *modelItem) bool { return i.text == string(item.Text) })
			m.items[i].state = Waiting
		case 5:
			if random.IntN(4) == 0 {
				closeQueue(t, q)
				restart(func() *Queue { return d.on(t, dir, o) })
			}
		case 6:
			if random.IntN(4) == 0 {
				restart(func() *Queue {
					crashed := copyFiles(t, dir)
					closeQueue(t, q)
					dir = crashed
					return d.on(t, dir, o)
				})
			}
		}
		for _, analyzer := range analyzers {
			same(t, "waiting of "+analyzer, texts(t, q, analyzer), m.of(analyzer, Waiting))
		}
		if t.Failed() {
			return
		}
	}
	for range 2 { // one commit removes what was old before it
		must(t, lines[0].Append(t.Context(), parse("end.")))
		m.feed(lines[0], parse("end."))
	}
	m.expire(clock.now().Add(-kept))
	for _, state := range []State{Waiting, Held, Parked, Incomplete, Delivered} {
		got := []string{}
		must(t, q.List(func(i *Item) bool { got = append(got, string(i.Text)); return true }, true, state))
		if state == Delivered {
			slices.Reverse(got)
		}
		same(t, string(state), got, m.of("", state))
	}
}
