package sandbox

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Limits of a real transaction.
const (
	strictEntries = 8  // with any conditional write in it
	maxUpdates    = 50 // updates in one transaction
)

// entry is one entry of a bundle, and what has become of it.
type entry struct {
	method, url, ifNoneExist, ifMatch string
	fullURL                           string
	resource                          map[string]any

	id    string // handed out before anything is carried out, so that others can refer to it
	reply reply
	fault *fault
}

func entryOf(v any) *entry {
	e, request := object(v), object(object(v)["request"])
	text := func(m map[string]any, name string) string { s, _ := m[name].(string); return s }
	return &entry{
		method: text(request, "method"), url: strings.TrimPrefix(text(request, "url"), "/"),
		ifNoneExist: text(request, "ifNoneExist"), ifMatch: text(request, "ifMatch"),
		fullURL: text(e, "fullUrl"), resource: object(e["resource"]),
	}
}

func (e *entry) conditional() bool {
	return e.ifNoneExist != "" || e.method == http.MethodPut && strings.Contains(e.url, "?")
}

// bundle carries out a batch or a transaction. Without the project feature transaction-bundles a transaction is a batch,
// and only the type of the answer differs.
func (c *call) bundle(body map[string]any) (reply, *fault) {
	typ, _ := body["type"].(string)
	switch {
	case body["resourceType"] != "Bundle":
		return reply{}, badRequest("Not a bundle", "")
	case typ != "batch" && typ != "transaction":
		return reply{}, badRequest("Unrecognized bundle type: "+typ, "")
	case len(list(body["entry"])) == 0:
		return reply{}, badRequest("Missing bundle entries", "")
	}
	atomic := typ == "transaction" && c.s.o.Transactions
	if c.r.Header.Get("Prefer") == "respond-async" {
		return reply{}, c.async(atomic)
	}
	var entries []*entry
	for _, e := range list(body["entry"]) {
		entries = append(entries, entryOf(e))
	}
	c.handOut(entries)
	if atomic {
		if f := c.transaction(entries); f != nil {
			return reply{}, f
		}
	} else {
		for _, e := range inOrder(entries) {
			c.carryOut(e)
		}
	}
	var answers []any
	for _, e := range entries {
		answers = append(answers, e.answer())
	}
	return reply{status: http.StatusOK, bundle: map[string]any{"resourceType": "Bundle", "type": typ + "-response", "entry": answers}}, nil
}

// async refuses; asynchronous batches are imitated no further than their refusals.
func (c *call) async(atomic bool) *fault {
	switch {
	case atomic:
		return badRequest("Transaction batches cannot be executed asynchronously", "Bundle.type")
	case !c.may("create", "AsyncJob"):
		return forbidden()
	}
	return badRequest("the sandbox has no asynchronous batches", "")
}

// handOut gives every entry to be created its id and puts the ids in place of the urn:uuid references, before it is known
// whether the entry will succeed: in a batch a reference to one that fails dangles for ever.
func (c *call) handOut(entries []*entry) {
	ids := map[string]string{}
	for i, e := range entries {
		typ, condition, _ := strings.Cut(e.url, "?")
		var there *record
		switch {
		case e.method == "":
			e.fault = badRequest("Missing Bundle entry request method", fmt.Sprintf("Bundle.entry[%d].request.method", i))
		case e.url == "":
			e.fault = badRequest("Missing Bundle entry request URL", fmt.Sprintf("Bundle.entry[%d].request.url", i))
		case e.ifNoneExist != "":
			there, e.fault = c.match(typ, e.ifNoneExist)
		case e.conditional():
			there, e.fault = c.match(typ, condition)
		}
		switch {
		case there != nil:
			ids[e.fullURL] = typ + "/" + there.id
		case e.method == http.MethodPost || e.conditional():
			e.id = c.s.uuid()
			ids[e.fullURL] = typ + "/" + e.id
		}
	}
	for _, e := range entries {
		e.resource = object(replaced(e.resource, ids))
	}
}

// replaced copies a value with every string that is a fullUrl replaced by what it stands for.
func replaced(v any, ids map[string]string) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			out[name] = replaced(member, ids)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, member := range v {
			out[i] = replaced(member, ids)
		}
		return out
	case string:
		if to, ok := ids[v]; ok && strings.HasPrefix(v, "urn:uuid:") {
			return to
		}
	}
	return v
}

// inOrder sorts entries as they are carried out: deletions, creates, updates, the rest; answers keep the request's order.
func inOrder(entries []*entry) []*entry {
	rank := map[string]int{http.MethodDelete: 0, http.MethodPost: 1, http.MethodPut: 2}
	at := func(e *entry) int {
		if r, ok := rank[e.method]; ok {
			return r
		}
		return len(rank)
	}
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b *entry) int { return at(a) - at(b) })
	return sorted
}

// transaction carries out all entries or none; the answer to a failure is the first failed entry's. What was spent of the
// quota stays spent.
func (c *call) transaction(entries []*entry) *fault {
	updates := 0
	for _, e := range entries {
		if e.method == http.MethodPut {
			updates++
		}
	}
	switch {
	case slices.ContainsFunc(entries, (*entry).conditional) && len(entries) > strictEntries:
		return badRequest("Transaction requires strict isolation but has too many entries", "")
	case updates > maxUpdates:
		return badRequest("Transaction contains more update operations than allowed ("+strconv.Itoa(updates)+" > "+strconv.Itoa(maxUpdates)+")", "")
	}
	for _, e := range entries {
		if e.fault != nil {
			return e.fault
		}
	}
	c.s.store.begin()
	for _, e := range inOrder(entries) {
		c.carryOut(e)
		if e.fault != nil {
			c.s.store.end(false)
			return e.fault
		}
	}
	c.s.store.end(true)
	return nil
}

func (c *call) carryOut(e *entry) {
	if e.fault != nil {
		return
	}
	path, raw, _ := strings.Cut(e.url, "?")
	typ, id, hasID := strings.Cut(path, "/")
	switch {
	case e.method == http.MethodPost:
		e.reply, e.fault = c.create(creation{typ: typ, body: e.resource, ifNoneExist: e.ifNoneExist, id: e.id})
	case e.method == http.MethodPut && hasID:
		e.reply, e.fault = c.update(typ, id, e.resource, e.ifMatch)
	case e.method == http.MethodPut:
		e.reply, e.fault = c.conditionalUpdate(typ, raw, e.resource, e.id)
	case e.method == http.MethodDelete && hasID:
		e.reply, e.fault = c.delete(typ, id)
	case e.method == http.MethodGet && hasID:
		e.reply, e.fault = c.read(typ, id)
	case e.method == http.MethodGet:
		e.reply.status = http.StatusOK
		e.reply.bundle, e.fault = c.search(typ, raw)
	default:
		e.fault = notFound()
	}
}

// answer is the entry of the response.
func (e *entry) answer() map[string]any {
	if e.fault != nil {
		return map[string]any{"response": map[string]any{"outcome": e.fault.outcome(), "status": strconv.Itoa(e.fault.status)}}
	}
	response := map[string]any{"status": strconv.Itoa(e.reply.status), "outcome": allOK()}
	answer := map[string]any{"response": response}
	switch {
	case e.reply.record != nil:
		if e.reply.status == http.StatusCreated {
			response["outcome"] = created()
		}
		response["location"] = e.reply.record.typ + "/" + e.reply.record.id
		answer["resource"] = e.reply.record.body
	case e.reply.bundle != nil:
		answer["resource"] = e.reply.bundle
	}
	return answer
}
