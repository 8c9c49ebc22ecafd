package sandbox

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"
)

// maxBody is the most a JSON body may measure, inflated; over it the answer is 400, not 413.
const maxBody = 1 << 20

// reply is a success on the way out.
type reply struct {
	status  int
	record  *record        // the resource, a copy of our own
	bundle  map[string]any // or a bundle
	outcome *outcome       // or an outcome
}

// fhir answers everything below /fhir/R4.
func (c *call) fhir() {
	body, ok := c.body()
	if !ok {
		return
	}
	if f := c.authenticate(); f != nil {
		c.refuse(f)
		return
	}
	path := strings.Split(strings.Trim(strings.TrimPrefix(c.r.URL.Path, "/fhir/R4"), "/"), "/")
	sw, _ := c.s.switched()
	if c.conditional(path, body) {
		defer c.s.enter()()
	}
	c.wait(sw.Delay)
	c.awaitRedis()
	if f := c.stillKnown(); f != nil {
		c.refuse(f)
		return
	}
	rep, f := c.route(path, body)
	if c.r.Method != http.MethodGet && c.s.spend(func(w *Switches) *int { return &w.LoseAnswers }) {
		c.drop()
	}
	if f != nil {
		c.refuse(f)
		return
	}
	c.reply(rep)
}

// stillKnown asks again after a wait whether the caller's token lives: Redis may have lost it meanwhile.
func (c *call) stillKnown() *fault {
	value, bearer := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if _, known := c.s.tokens[value]; bearer && !known {
		return unauthorized()
	}
	return nil
}

// route finds the interaction and carries it out, one at a time.
func (c *call) route(path []string, body map[string]any) (reply, *fault) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	typ := path[0]
	switch method := c.r.Method; {
	case method == http.MethodPost && typ == "":
		return c.bundle(body)
	case method == http.MethodPost && len(path) == 1:
		return c.create(creation{typ: typ, body: body, ifNoneExist: c.r.Header.Get("If-None-Exist")})
	case method == http.MethodPut && len(path) == 1 && c.r.URL.RawQuery != "":
		return c.conditionalUpdate(typ, c.r.URL.RawQuery, body, "")
	case method == http.MethodPut && len(path) == 2:
		return c.update(typ, path[1], body, c.r.Header.Get("If-Match"))
	case method == http.MethodGet && len(path) == 2:
		return c.read(typ, path[1])
	case method == http.MethodGet && len(path) == 1 && typ != "":
		bundle, f := c.search(typ, c.r.URL.RawQuery)
		return reply{status: http.StatusOK, bundle: bundle}, f
	case method == http.MethodDelete && len(path) == 2:
		return c.delete(typ, path[1])
	}
	return reply{}, notFound()
}

// reply sends a success. With return=minimal the body stays away, and with it all that a bundle's entries came to.
func (c *call) reply(rep reply) {
	var body any = rep.bundle
	switch {
	case rep.outcome != nil:
		rep.outcome.Extension = c.tracing()
		body = rep.outcome
	case rep.record != nil:
		body = rep.record.body
		rep.record.headers(c.w.Header())
		if rep.status == http.StatusCreated {
			c.w.Header().Set("Location", c.base()+"fhir/R4/"+rep.record.typ+"/"+rep.record.id)
		}
	}
	if c.r.Header.Get("Prefer") == "return=minimal" {
		c.text(rep.status, fhirJSON, "")
		return
	}
	c.answer(rep.status, fhirJSON, body)
}

// body reads the request's JSON; ok is false when it was refused already. A body of another kind is as good as none.
func (c *call) body() (body map[string]any, ok bool) {
	kind, params, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if kind != "application/json" && kind != "application/fhir+json" {
		return nil, true
	}
	if set := strings.ToLower(params["charset"]); set != "" && set != "utf-8" {
		c.refuse(unsupportedMedia())
		return nil, false
	}
	var in io.Reader = c.r.Body
	var err error
	plain := false
	switch c.r.Header.Get("Content-Encoding") {
	case "", "identity":
		plain = true
	case "gzip":
		in, err = gzip.NewReader(in)
	case "deflate":
		in, err = zlib.NewReader(in)
	default:
		c.refuse(unsupportedMedia())
		return nil, false
	}
	var data []byte
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(in, maxBody+1))
	}
	switch {
	case err != nil && plain: // the caller went away in the middle
		c.drop()
	case err != nil:
		c.broken() // a corrupt gzip stream is what no handler expects
		return nil, false
	case len(data) > maxBody:
		c.refuse(badRequest("File too large", ""))
		return nil, false
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, true
	}
	// Numbers pass through a double, as in the real server: 5.40 comes back as 5.4.
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		c.refuse(badRequest("Content could not be parsed", ""))
		return nil, false
	}
	return object(value), true
}
