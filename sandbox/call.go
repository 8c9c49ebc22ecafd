package sandbox

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strings"
	"time"
)

const (
	fhirJSON  = "application/fhir+json; charset=utf-8"
	plainJSON = "application/json; charset=utf-8"
	plainHTML = "text/html; charset=utf-8"
)

// call is one request on its way through the server.
type call struct {
	s *Server
	r *http.Request
	w http.ResponseWriter

	client       Client // who asks, by value as it was when it was let in
	requests     string // RateLimit header of the address, empty: not yet counted
	interactions string // RateLimit header of the FHIR quota, empty: nothing spent
	over         *fault // the quota ran out in this request
	status       int
}

// serve is the way of every request: the door, the limits, the route.
func (c *call) serve() {
	if sw, _ := c.s.switched(); sw.Off {
		c.drop()
	}
	if c.r.URL.Path == "/healthcheck" {
		c.health()
		return
	}
	c.awaitRedis()
	if over := c.limitAddress(); over != nil {
		c.answer(over.status, plainJSON, over.outcome())
		return
	}
	switch path := c.r.URL.Path; {
	case path == "/" && c.r.Method == http.MethodGet:
		c.text(http.StatusOK, "text/plain; charset=utf-8", "OK")
	case path == "/oauth2/token" && c.r.Method == http.MethodPost:
		c.token()
	case path == "/oauth2/logout" && c.r.Method == http.MethodPost:
		c.logout()
	case path == "/auth/me" && c.r.Method == http.MethodGet:
		c.me()
	case path == "/fhir/R4" || strings.HasPrefix(path, "/fhir/R4/"):
		c.fhir()
	default:
		c.text(http.StatusNotFound, plainHTML, fmt.Sprintf("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"+
			"<title>Error</title>\n</head>\n<body>\n<pre>Cannot %s %s</pre>\n</body>\n</html>\n", c.r.Method, html.EscapeString(path)))
	}
}

// drop ends the connection without an answer.
func (c *call) drop() {
	c.status = 0
	panic(http.ErrAbortHandler)
}

// wait lets time pass, unless the caller gives up first.
func (c *call) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.r.Context().Done():
		c.drop()
	}
}

// awaitRedis hangs while Redis is down.
func (c *call) awaitRedis() {
	for {
		sw, turned := c.s.switched()
		if !sw.RedisDown {
			return
		}
		select {
		case <-turned:
		case <-c.r.Context().Done():
			c.drop()
		}
	}
}

// health answers /healthcheck; with Redis gone it takes its time to say so.
func (c *call) health() {
	sw, _ := c.s.switched()
	if sw.RedisDown {
		c.wait(2700 * time.Millisecond)
	} else {
		c.limitAddress()
	}
	if sw.RedisDown || sw.DatabaseDown {
		c.broken()
		return
	}
	c.answer(http.StatusOK, plainJSON, map[string]any{
		"ok": true, "version": "5.0.10-sandbox", "platform": "linux", "runtime": "v22.23.3", "postgres": true, "redis": true,
	})
}

// broken is the answer to what no handler expected; it is not FHIR.
func (c *call) broken() {
	c.answer(http.StatusInternalServerError, plainJSON, map[string]any{"msg": "Internal Server Error"})
}

// base is the server's public address, with a final slash.
func (c *call) base() string {
	if c.s.o.BaseURL != "" {
		return c.s.o.BaseURL
	}
	scheme := "http"
	if c.r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + c.r.Host + "/"
}

// refuse answers with a fault's OperationOutcome.
func (c *call) refuse(f *fault) {
	o := f.outcome()
	if f.untraced {
		c.requests, c.interactions = "", ""
	} else {
		o.Extension = c.tracing()
	}
	c.answer(f.status, fhirJSON, o)
}

// tracing is the extension that carries the ids of a request into the server's log.
func (c *call) tracing() []extension {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	trace := c.r.Header.Get("X-Trace-Id")
	if trace == "" {
		trace = c.s.uuid()
	}
	ids := []extension{{URL: "requestId", ValueID: c.s.uuid()}, {URL: "traceId", ValueID: trace}}
	return []extension{{URL: "https://medplum.com/fhir/StructureDefinition/tracing", Extension: ids}}
}

func (c *call) answer(status int, contentType string, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err) // all bodies are made here
	}
	c.text(status, contentType, string(data))
}

func (c *call) text(status int, contentType, body string) {
	h := c.w.Header()
	h.Set("Cache-Control", "no-store, no-cache, must-revalidate")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Vary", "Accept-Encoding")
	h.Set("Date", c.s.o.Clock().UTC().Format(http.TimeFormat))
	h.Set("Content-Type", contentType)
	for _, limit := range []string{c.requests, c.interactions} {
		if limit != "" {
			h.Add("RateLimit", limit) // two header lines, never joined
		}
	}
	c.status = status
	c.w.WriteHeader(status)
	_, _ = c.w.Write([]byte(body)) // a caller that went away hears nothing
}
