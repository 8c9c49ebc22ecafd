package sandbox

import (
	"maps"
	"net/http"
	"reflect"
	"strings"
)

// creation is one create, alone or in a bundle.
type creation struct {
	typ         string
	body        map[string]any
	ifNoneExist string
	id          string // handed out beforehand in a bundle; empty: a new one
}

// create stores a new resource, or finds the one that is already there. The lock must be held, as for all that follow.
func (c *call) create(in creation) (reply, *fault) {
	if f := checkType(in.typ, in.body); f != nil {
		return reply{}, f
	}
	conditional := in.ifNoneExist != ""
	if conditional {
		there, f := c.match(in.typ, in.ifNoneExist)
		if f != nil || there != nil {
			return found(there), f
		}
	}
	if f := c.cost(costWrite); f != nil {
		return reply{}, f
	}
	if conditional && c.s.collides() {
		return reply{}, conflict()
	}
	return c.insert(in)
}

func checkType(typ string, body map[string]any) *fault {
	got, _ := body["resourceType"].(string)
	if got == "" {
		got = "<EMPTY>"
	}
	if got != typ {
		return badRequest("Incorrect resource type: expected "+typ+", but found "+got, "")
	}
	return nil
}

// match finds the one resource a condition means; nil: none.
func (c *call) match(typ, condition string) (*record, *fault) {
	if c.s.switches.DatabaseDown {
		return nil, databaseDown()
	}
	q, wrong := parseQuery(condition)
	if wrong != nil {
		if f := c.cost(costSearch); f != nil {
			return nil, f
		}
		return nil, wrong
	}
	list, f := c.find(typ, q)
	switch {
	case f != nil || len(list) == 0:
		return nil, f
	case len(list) > 1:
		return nil, multipleMatches()
	}
	return list[0], nil
}

func found(rec *record) reply {
	return stored(http.StatusOK, rec)
}

// stored answers with a copy of a record, which stays as it is when the lock is let go.
func stored(status int, rec *record) reply {
	if rec == nil {
		return reply{}
	}
	own := *rec
	return reply{status: status, record: &own}
}

func (c *call) insert(in creation) (reply, *fault) {
	rec := &record{typ: in.typ, id: in.id}
	if f := c.prepare(rec, "create", in.body); f != nil {
		return reply{}, f
	}
	if limit := c.s.o.ResourceCap; limit > 0 && c.s.store.size() >= limit {
		return reply{}, &fault{status: http.StatusUnprocessableEntity, id: "business-rule", code: "business-rule", text: "Resource cap exceeded", detail: "resource-cap"}
	}
	if rec.id == "" {
		rec.id = c.s.uuid()
	}
	c.s.stamp(rec)
	c.s.store.add(rec)
	return stored(http.StatusCreated, rec), nil
}

// prepare puts a body into a record after all that may be said against it.
func (c *call) prepare(rec *record, interaction string, body map[string]any) *fault {
	if c.s.switches.DatabaseDown {
		return databaseDown()
	}
	if !knownType(rec.typ) {
		return badRequest("Unknown data type: "+rec.typ, "")
	}
	if !c.may(interaction, rec.typ) {
		return forbidden()
	}
	rec.body = withoutEmpty(body).(map[string]any)
	if fail := c.s.switches.Fail; fail != nil {
		if failure := fail(rec.typ, rec.json()); failure != nil {
			return failure.fault()
		}
	}
	if f := c.resolve(rec.typ, rec.body); f != nil {
		return f
	}
	if f := validate(rec.typ, rec.body); f != nil {
		return f
	}
	c.withoutProtected(rec.typ, rec.body)
	if !c.mayWith(interaction, rec) {
		return forbidden()
	}
	return nil
}

// resolve replaces conditional references ("Patient?identifier=...") at the top level by what they find, and, where the
// project wants it, checks literal ones.
func (c *call) resolve(typ string, body map[string]any) *fault {
	for name, value := range body {
		for _, one := range list(value) {
			ref, _ := object(one)["reference"].(string)
			target, condition, conditional := strings.Cut(ref, "?")
			switch {
			case conditional:
				there, f := c.match(target, condition)
				if f != nil {
					return f
				}
				if there == nil {
					return badRequest("Conditional reference '"+ref+"' did not match any resources", typ+"."+name)
				}
				object(one)["reference"] = target + "/" + there.id
			case c.s.o.CheckReferences && strings.Contains(ref, "/"):
				if rec := c.s.store.records[ref]; rec == nil || rec.deleted {
					f := structure("Invalid reference (Not found)", typ+"."+name)
					f.id = c.s.uuid()
					return f
				}
			}
		}
	}
	return nil
}

// withoutEmpty copies a value without its empty members: "", {} and [] are dropped on the way in, null is not.
func withoutEmpty(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			if kept := withoutEmpty(member); !isEmpty(kept) {
				out[name] = kept
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, member := range v {
			out[i] = withoutEmpty(member)
		}
		return out
	}
	return v
}

func isEmpty(v any) bool {
	switch v := v.(type) {
	case string:
		return v == ""
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// update replaces a resource by its id. An unknown id is 404: clients do not hand out ids.
func (c *call) update(typ, id string, body map[string]any, ifMatch string) (reply, *fault) {
	if f := checkType(typ, body); f != nil {
		return reply{}, f
	}
	if given, _ := body["id"].(string); given != id {
		return reply{}, badRequest("Incorrect ID", "")
	}
	if f := c.cost(costWrite); f != nil {
		return reply{}, f
	}
	return c.replace(c.s.store.get(typ, id), typ, body, ifMatch)
}

// conditionalUpdate replaces the one resource a condition finds, or creates it.
func (c *call) conditionalUpdate(typ, condition string, body map[string]any, id string) (reply, *fault) {
	if f := checkType(typ, body); f != nil {
		return reply{}, f
	}
	there, f := c.match(typ, condition)
	if f != nil {
		return reply{}, f
	}
	if f := c.cost(costWrite); f != nil {
		return reply{}, f
	}
	if c.s.collides() {
		return reply{}, conflict()
	}
	if there == nil {
		return c.insert(creation{typ: typ, body: body, id: id})
	}
	return c.replace(there, typ, body, "")
}

func (c *call) replace(there *record, typ string, body map[string]any, ifMatch string) (reply, *fault) {
	switch {
	case c.s.switches.DatabaseDown:
		return reply{}, databaseDown()
	case !c.may("update", typ) || !c.may("read", typ): // what cannot be read cannot be updated
		return reply{}, forbidden()
	case there == nil:
		return reply{}, notFound()
	case there.deleted:
		return reply{}, gone()
	case !c.mayWith("read", there) || !c.mayWith("update", there):
		return reply{}, forbidden()
	case ifMatch != "" && ifMatch != `W/"`+there.version+`"`:
		return reply{}, preconditionFailed()
	}
	next := *there
	if f := c.prepare(&next, "update", body); f != nil {
		return reply{}, f
	}
	if reflect.DeepEqual(content(next.body), content(there.body)) {
		return stored(http.StatusOK, there), nil
	}
	c.s.store.change(there, func() {
		there.body = next.body
		c.s.stamp(there)
	})
	return stored(http.StatusOK, there), nil
}

// content is a body without what the server adds.
func content(body map[string]any) map[string]any {
	out := maps.Clone(body)
	meta := maps.Clone(object(body["meta"]))
	delete(meta, "versionId")
	delete(meta, "lastUpdated")
	delete(out, "id")
	delete(out, "meta")
	if len(meta) > 0 {
		out["meta"] = meta
	}
	return out
}

func (c *call) read(typ, id string) (reply, *fault) {
	if f := c.cost(costRead); f != nil {
		return reply{}, f
	}
	rec := c.s.store.get(typ, id)
	switch {
	case c.s.switches.DatabaseDown:
		return reply{}, databaseDown()
	case !c.may("read", typ):
		return reply{}, forbidden()
	case rec == nil:
		return reply{}, notFound()
	case rec.deleted:
		return reply{}, gone()
	case !c.mayWith("read", rec):
		return reply{}, forbidden()
	}
	return stored(http.StatusOK, rec), nil
}

func (c *call) delete(typ, id string) (reply, *fault) {
	if f := c.cost(costWrite); f != nil {
		return reply{}, f
	}
	rec := c.s.store.get(typ, id)
	switch {
	case c.s.switches.DatabaseDown:
		return reply{}, databaseDown()
	case !c.may("delete", typ):
		return reply{}, forbidden()
	case rec == nil || rec.deleted:
		return reply{}, notFound()
	case !c.mayWith("delete", rec):
		return reply{}, forbidden()
	}
	c.s.store.change(rec, func() { rec.deleted = true })
	ok := allOK()
	return reply{status: http.StatusOK, outcome: &ok}, nil
}
