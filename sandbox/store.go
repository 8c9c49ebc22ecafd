package sandbox

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// record is one resource in the store.
type record struct {
	typ, id string
	version string
	updated time.Time
	body    map[string]any
	deleted bool
	made    int // its place in the order of creation
}

// store holds the resources; the server's lock guards it.
type store struct {
	records map[string]*record   // by Type/id
	order   []*record            // as created
	known   map[string][]*record // by Type and identifier; what once carried it stays listed
	undo    []func()             // how to take back what a transaction did; nil outside of one
	within  bool                 // a transaction is under way
}

func (s *store) get(typ, id string) *record {
	return s.records[typ+"/"+id]
}

func (s *store) add(rec *record) {
	key := rec.typ + "/" + rec.id
	s.records[key] = rec
	rec.made = len(s.order)
	s.order = append(s.order, rec)
	s.index(rec)
	s.onRollback(func() {
		rec.deleted = true
		delete(s.records, key)
		s.order = s.order[:len(s.order)-1]
	})
}

// change alters a record by f.
func (s *store) change(rec *record, f func()) {
	before := *rec
	f()
	s.index(rec)
	s.onRollback(func() { *rec = before })
}

func (s *store) onRollback(f func()) {
	if s.within {
		s.undo = append(s.undo, f)
	}
}

func (s *store) begin() {
	s.within = true
}

func (s *store) end(commit bool) {
	for i := len(s.undo) - 1; i >= 0 && !commit; i-- {
		s.undo[i]()
	}
	s.within, s.undo = false, nil
}

// ofType lists the living resources of a type.
func (s *store) ofType(typ string) []*record {
	var list []*record
	for _, rec := range s.order {
		if rec.typ == typ && !rec.deleted {
			list = append(list, rec)
		}
	}
	return list
}

// index lists a record under its identifiers: every conditional create looks for one, and a list of all grows long.
func (s *store) index(rec *record) {
	for _, id := range readers["identifier"](rec.body) {
		key := rec.typ + " " + id
		if !slices.Contains(s.known[key], rec) {
			s.known[key] = append(s.known[key], rec)
		}
	}
}

// candidates lists the living resources of a type that a query may find, as they were created.
func (s *store) candidates(typ string, q query) []*record {
	for _, f := range q.filters {
		if f.name != "identifier" || len(f.values) != 1 {
			continue
		}
		if system, value, _ := strings.Cut(f.values[0], "|"); system == "" || value == "" {
			continue
		}
		list := slices.DeleteFunc(slices.Clone(s.known[typ+" "+f.values[0]]), func(rec *record) bool { return rec.deleted })
		slices.SortFunc(list, func(a, b *record) int { return a.made - b.made })
		return list
	}
	return s.ofType(typ)
}

func (s *store) size() int {
	n := 0
	for _, rec := range s.order {
		if !rec.deleted {
			n++
		}
	}
	return n
}

// stamp gives a record a new version, now; the lock must be held.
func (s *Server) stamp(rec *record) {
	rec.version = s.uuid()
	rec.updated = s.o.Clock().UTC()
	meta := map[string]any{}
	if given, ok := rec.body["meta"].(map[string]any); ok {
		for _, kept := range []string{"tag", "security", "profile"} {
			if v, ok := given[kept]; ok {
				meta[kept] = v
			}
		}
	}
	meta["versionId"] = rec.version
	meta["lastUpdated"] = rec.updated.Format("2006-01-02T15:04:05.000Z")
	rec.body = maps.Clone(rec.body)
	rec.body["id"] = rec.id
	rec.body["meta"] = meta
}

func (rec *record) json() json.RawMessage {
	data, err := json.Marshal(rec.body)
	if err != nil {
		panic(err) // it came from JSON
	}
	return data
}

// headers tells the version of a resource.
func (rec *record) headers(h http.Header) {
	h.Set("ETag", `W/"`+rec.version+`"`)
	h.Set("Last-Modified", rec.updated.Format(http.TimeFormat))
}
