package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"labagent/filing"
	"labagent/queue"
)

// row is a line of queue ls: a part of an item, or what is held of it.
type row struct {
	ID       uint64      `json:"id"`
	Analyzer string      `json:"analyzer"`
	State    queue.State `json:"state"`
	Reason   string      `json:"reason,omitempty"`
	Specimen string      `json:"specimen,omitempty"`
	Test     string      `json:"test,omitempty"`    // of what is held
	Results  int         `json:"results,omitempty"` // of a part
	Received time.Time   `json:"received"`
	Do       string      `json:"do,omitempty"`
}

// itemView is an item as queue show has it.
type itemView struct {
	Schema     string            `json:"schema"` // "labagent.item/1"
	ID         uint64            `json:"id"`
	Analyzer   string            `json:"analyzer"`
	Protocol   string            `json:"protocol"`
	State      queue.State       `json:"state"`
	Reason     string            `json:"reason,omitempty"`
	Received   time.Time         `json:"received"`
	Changed    time.Time         `json:"changed"`
	Attempts   int               `json:"attempts"`
	Quirks     []string          `json:"quirks,omitempty"`
	Exceptions []queue.Exception `json:"exceptions,omitempty"`
	Problem    string            `json:"problem,omitempty"` // why it cannot be read
	Rows       []row             `json:"rows,omitempty"`
	Raw        []byte            `json:"raw"` // as received
}

// releasing is what a person decided.
type releasing struct {
	By     string `json:"by"`
	Why    string `json:"why"`
	Part   *int   `json:"part,omitempty"`
	Reason string `json:"reason,omitempty"` // empty: all
}

// control is what the control door opens to.
func (p *plant) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, p.board.Snapshot(version)) })
	mux.HandleFunc("GET /queue", p.listItems)
	mux.HandleFunc("GET /queue/{id}", p.showItem)
	mux.HandleFunc("POST /queue/{id}/retry", p.retryItem)
	mux.HandleFunc("POST /queue/{id}/release", p.releaseItem)
	mux.HandleFunc("GET /refused", func(w http.ResponseWriter, _ *http.Request) { answer(w, p.queue.Refusals()) })
	mux.HandleFunc("POST /refused/clear", p.clearRefusals)
	mux.HandleFunc("POST /ack/{id}", func(w http.ResponseWriter, r *http.Request) {
		if !p.board.Ack(r.PathValue("id")) {
			http.Error(w, "no attention line has that id; labagent status lists them", http.StatusNotFound)
		}
	})
	return mux
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// rows shows an item part by part; what is held stands alone.
func (p *plant) rows(item *queue.Item) []row {
	base := row{ID: item.ID, Analyzer: item.Analyzer, State: item.State, Reason: item.Reason, Received: item.Received, Do: do[item.Reason]}
	a := p.analyzers[item.Analyzer]
	if a == nil || item.Text == nil {
		return []row{base}
	}
	parts, err := a.parts(item)
	if err != nil || len(parts) == 0 {
		base.Specimen = a.dialect.Specimen(item.Text, a.setup)
		return []row{base}
	}
	whole := slices.ContainsFunc(item.Exceptions, func(e queue.Exception) bool { return e.Part < 0 && e.Decision == "" })
	var rows []row
	for i, part := range parts {
		held := heldRows(base, part, item.Exceptions, i)
		if len(held) > 0 {
			rows = append(rows, held...)
			continue
		}
		one := base
		one.Specimen, one.Results = part.Specimen, len(part.Results)
		if item.State == queue.Held && !whole {
			one.State, one.Reason, one.Do = queue.Delivered, "", "" // this part went out
		}
		rows = append(rows, one)
	}
	return rows
}

func heldRows(base row, part filing.Part, exceptions []queue.Exception, index int) []row {
	var rows []row
	for _, e := range exceptions {
		if e.Part != index || e.Decision != "" {
			continue
		}
		one := base
		one.Specimen, one.Reason, one.Do = part.Specimen, e.Reason, do[e.Reason]
		if at := slices.IndexFunc(part.Results, func(r filing.Result) bool { return r.Index == e.Result }); at >= 0 {
			one.Test = part.Results[at].Test.Code
		}
		rows = append(rows, one)
	}
	return rows
}

// listLimit is how many items one look at the queue shows.
const listLimit = 1000

func (p *plant) listItems(w http.ResponseWriter, r *http.Request) {
	states := queue.Undelivered
	if s := r.FormValue("state"); s == "all" {
		states = append(slices.Clone(states), queue.Delivered)
	} else if s != "" {
		states = []queue.State{queue.State(s)}
		if states[0] != queue.Delivered && !slices.Contains(queue.Undelivered, states[0]) {
			http.Error(w, fmt.Sprintf("no state %q; there are waiting, held, parked, incomplete, delivered, and all", s), http.StatusBadRequest)
			return
		}
	}
	specimen, analyzer := r.FormValue("specimen"), r.FormValue("analyzer")
	if _, waits := p.queue.Stats().Analyzers[analyzer]; analyzer != "" && p.analyzers[analyzer] == nil && !waits {
		http.Error(w, fmt.Sprintf("no analyzer %q; labagent status lists them", analyzer), http.StatusBadRequest)
		return
	}
	rows, items := []row{}, 0
	err := p.queue.List(func(item *queue.Item) bool {
		if analyzer != "" && item.Analyzer != analyzer {
			return true
		}
		found := false
		for _, one := range p.rows(item) {
			if specimen == "" || one.Specimen == specimen {
				rows, found = append(rows, one), true
			}
		}
		if found {
			items++
		}
		return items < listLimit
	}, true, states...)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, rows)
}

// item finds the item a call names, or answers why not.
func (p *plant) item(w http.ResponseWriter, r *http.Request) *queue.Item {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		http.Error(w, fmt.Sprintf("%q is no number of an item", r.PathValue("id")), http.StatusBadRequest)
		return nil
	}
	item, err := p.queue.Get(id)
	if refuse(w, err) {
		return nil
	}
	return item
}

// refuse answers with the error, if there is one.
func refuse(w http.ResponseWriter, err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, queue.ErrUnknown):
		http.Error(w, err.Error(), http.StatusNotFound)
	default:
		http.Error(w, err.Error(), http.StatusConflict)
	}
	return true
}

func (p *plant) showItem(w http.ResponseWriter, r *http.Request) {
	item := p.item(w, r)
	if item == nil {
		return
	}
	view := itemView{
		Schema: "labagent.item/1", ID: item.ID, Analyzer: item.Analyzer, Protocol: item.Protocol, State: item.State, Reason: item.Reason,
		Received: item.Received, Changed: item.Changed, Attempts: item.Attempts, Quirks: item.Quirks, Exceptions: item.Exceptions,
		Rows: p.rows(item), Raw: item.Text,
	}
	if a := p.analyzers[item.Analyzer]; a != nil {
		if _, err := a.read(item); err != nil {
			view.Problem = err.Error()
		}
	}
	answer(w, view)
}

func (p *plant) retryItem(w http.ResponseWriter, r *http.Request) {
	item := p.item(w, r)
	if item == nil || refuse(w, p.queue.Retry(item.ID)) {
		return
	}
	p.log.Info("item retried", "analyzer", item.Analyzer, "item", item.ID)
}

func (p *plant) releaseItem(w http.ResponseWriter, r *http.Request) {
	var d releasing
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&d); err != nil || d.Why == "" {
		http.Error(w, "a release needs a reason", http.StatusBadRequest)
		return
	}
	item := p.item(w, r)
	if item == nil {
		return
	}
	never := 0
	err := p.queue.Release(item.ID, d.By, d.Why, func(e queue.Exception) bool {
		if d.Part != nil && e.Part != *d.Part || d.Reason != "" && e.Reason != d.Reason {
			return false
		}
		if e.Reason == filing.NoSpecimen || e.Reason == filing.QC {
			never++
			return false
		}
		return true
	})
	if errors.Is(err, queue.ErrNothing) && never > 0 {
		err = errors.New("nothing was released: what has no specimen or is quality control is never filed as a patient's result")
	}
	if refuse(w, err) {
		return
	}
	p.log.Info("item released", "analyzer", item.Analyzer, "item", item.ID, "by", d.By)
}

func (p *plant) clearRefusals(w http.ResponseWriter, r *http.Request) {
	n := p.queue.ClearRefusal(r.FormValue("analyzer"), r.FormValue("specimen"), time.Now())
	answer(w, map[string]int{"cleared": n})
}
