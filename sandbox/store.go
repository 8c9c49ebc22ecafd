package sandbox

import (
	"encoding/json"
	"maps"
	"net/http"
	"time"
)

// record is one resource in the store.
type record struct {
	typ, id string
	version string
	updated time.Time
	body    map[string]any
	deleted bool
}

// store holds the resources; the server's lock guards it.
type store struct {
	records map[string]*record // by Type/id
	order   []*record          // as created
	undo    []func()           // how to take back what a transaction did; nil outside of one
	within  bool               // a transaction is under way
}

func (s *store) get(typ, id string) *record {
	return s.records[typ+"/"+id]
}

func (s *store) add(rec *record) {
	key := rec.typ + "/" + rec.id
	s.records[key] = rec
	s.order = append(s.order, rec)
	s.onRollback(func() {
		delete(s.records, key)
		s.order = s.order[:len(s.order)-1]
	})
}

// change alters a record by f.
func (s *store) change(rec *record, f func()) {
	before := *rec
	f()
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
