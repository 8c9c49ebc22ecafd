package fhir

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// Class says what became of a create, and who must act when it came to nothing.
type Class uint8

// The classes of an outcome.
const (
	Unclear   Class = iota // refused with words that tell nothing: the item's fault or the weather
	Stored                 // created now
	Exists                 // was there already
	ItemFault              // refused for its content: the same bytes will never be taken
	OurFault               // credentials, rights, policy, configuration: a person must act, nothing is wrong with the item
	Weather                // down, busy, over quota, in conflict: the same again later
)

var classes = [...]string{"unclear", "stored", "exists", "item-fault", "our-fault", "weather"}

// String is the class in a word.
func (c Class) String() string { return classes[c] }

// Outcome is what the server, or the way to it, said to one create or to a request as a whole. It holds nothing of the
// resource but Existing, and is safe to log without that.
type Outcome struct {
	Class    Class
	Status   int             // of HTTP or of the entry; 0: there was no answer
	ID       string          // id the resource has on the server; empty unless Done
	Existing json.RawMessage // Exists: the resource as the server has it, when it was given
	Code     string          // issue code ("structure", "throttled"), or a word of ours ("network")
	Path     string          // element at fault ("Observation.code"), if named
	Detail   string          // the server's words, with all that may be data cut out
	Trace    string          // the server's id of the request, for its operators
	Wait     time.Duration   // before that it is of no use to ask again; 0: not said
	cause    error
}

// Error lets an Outcome of a whole request be the error of a call.
func (o Outcome) Error() string {
	switch {
	case o.Status == 0:
		return o.Detail
	case o.Path != "":
		return fmt.Sprintf("the server answered %d %s at %s: %s", o.Status, o.Code, o.Path, o.Detail)
	}
	return fmt.Sprintf("the server answered %d %s: %s", o.Status, o.Code, o.Detail)
}

// Unwrap gives the error of the network, where there was one.
func (o Outcome) Unwrap() error { return o.cause }

// Done tells that the resource is on the server.
func (o Outcome) Done() bool { return o.Class == Stored || o.Class == Exists }

// Multiple tells that the server has the resource more than once, by a sender that goes past the conditional create.
func (o Outcome) Multiple() bool {
	return o.Class == Exists && o.Status == http.StatusPreconditionFailed
}

// operationOutcome is what Medplum says with a refusal.
type operationOutcome struct {
	ResourceType string `json:"resourceType"`
	ID           string `json:"id"`
	Issue        []struct {
		Code    string `json:"code"`
		Details struct {
			ID   string `json:"id"`
			Text string `json:"text"`
		} `json:"details"`
		Expression []string `json:"expression"`
	} `json:"issue"`
	Extension []struct {
		Extension []struct {
			URL     string `json:"url"`
			ValueID string `json:"valueId"`
		} `json:"extension"`
	} `json:"extension"`
}

// known are texts of refusals that code and expression do not tell apart (medplum.md 6).
var known = []struct {
	prefix string
	class  Class
}{
	{"Cannot authenticate", OurFault},
	{"File too large", ItemFault},
	{"Incorrect resource type", ItemFault},
	{"Content could not be parsed", ItemFault},
	{"connect E", Weather}, // any exception inside the server is a 400: Postgres gone
	{"read E", Weather},
	{"getaddrinfo E", Weather},
	{"Connection terminated", Weather},
	{"timeout exceeded when trying to connect", Weather},
	{"Timeout", Weather},
}

// classify says what an answer with this status and outcome means, whole answer or entry alike. Medplum's 400 says little:
// it normalises every unknown exception to 400 "invalid"; a resource at fault shows by the code structure, or by the
// element named (medplum.md 0.1).
func classify(status int, oo operationOutcome) Outcome {
	o := Outcome{Status: status}
	code := oo.ID
	var text string
	if len(oo.Issue) > 0 {
		issue := oo.Issue[0]
		code, text = issue.Code, issue.Details.Text
		if len(issue.Expression) > 0 && path.MatchString(issue.Expression[0]) {
			o.Path = issue.Expression[0]
		}
	}
	if issueCode.MatchString(code) {
		o.Code = code
	}
	o.Detail = scrub(text)
	if o.Detail == "" {
		o.Detail = http.StatusText(status)
	}
	for _, ext := range oo.Extension {
		for _, part := range ext.Extension {
			if part.URL == "requestId" && word.MatchString(part.ValueID) {
				o.Trace = part.ValueID
			}
		}
	}
	o.Class = class(status, code, text, len(oo.Issue) > 0 && len(oo.Issue[0].Expression) > 0)
	return o
}

func class(status int, code, text string, located bool) Class {
	switch status {
	case http.StatusCreated:
		return Stored
	case http.StatusOK:
		return Exists
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusGone, http.StatusProxyAuthRequired,
		http.StatusNotFound, http.StatusMethodNotAllowed: // 404, 405: there is no FHIR server where we were sent
		return OurFault
	case http.StatusPreconditionFailed:
		if code == "multiple-matches" {
			return Exists
		}
		return Weather
	case http.StatusConflict, http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusTooEarly:
		return Weather
	case http.StatusRequestEntityTooLarge:
		return ItemFault
	case http.StatusUnprocessableEntity:
		if code == "business-rule" {
			return OurFault // the project's cap on resources: an operator must raise it
		}
		return ItemFault
	case http.StatusBadRequest:
		for _, k := range known {
			if strings.HasPrefix(text, k.prefix) {
				return k.class
			}
		}
		if code == "structure" || located {
			return ItemFault
		}
		return Unclear
	}
	switch {
	case status >= 500:
		return Weather
	case status >= 300 && status < 400:
		return OurFault
	}
	return Unclear
}

var (
	// What a server puts in the place of an element or a code may be a value: only what looks like one of ours is passed on.
	path      = regexp.MustCompile(`^(Observation|DiagnosticReport|Bundle)(\.[A-Za-z][A-Za-z\[\]]{0,40}|\[[0-9]{1,4}\]){0,8}$`)
	issueCode = regexp.MustCompile(`^[a-z][a-z-]{0,30}$`)
	word      = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	element   = regexp.MustCompile(`^[^"'(]*"[A-Za-z][A-Za-z\[\]]{0,30}"[^"'(]*$`)
	inside    = regexp.MustCompile(`(?s)["'(].*["')]|["'(].*$`)
	digits    = regexp.MustCompile(`[0-9][0-9./:-]{5,}`)
)

// scrub cuts out of a server's sentence what may come from the resource: all from the first quotation mark or bracket to the
// last, but for the name of one element, and long numbers.
func scrub(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	if !element.MatchString(text) {
		text = inside.ReplaceAllString(text, "…")
	}
	text = digits.ReplaceAllString(text, "…")
	if runes := []rune(text); len(runes) > 160 {
		text = string(runes[:160]) + "…"
	}
	return text
}

// unreached is the outcome of a request that got no answer. Who let us in may say that the fault is ours, and how long to
// wait; auth.Error does. What was sent may have been carried out all the same: only a conditional create settles it.
func unreached(err error) Outcome {
	o := Outcome{Class: Weather, Code: "network", Detail: "no answer from the server", cause: err}
	var told interface {
		error
		OurFault() bool
		RetryAfter() time.Duration
	}
	if errors.As(err, &told) {
		o.Detail, o.Wait = told.Error(), told.RetryAfter()
		if told.OurFault() {
			o.Class, o.Code = OurFault, "access"
		}
	}
	return o
}
