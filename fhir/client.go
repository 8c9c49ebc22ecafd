package fhir

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxBatch is how large we let a bundle become: Medplum refuses a body above 1 MiB (medplum.md 3).
const MaxBatch = 900 << 10

// Client makes conditional creates on a FHIR R4 server. It keeps nothing from call to call. Two clients, or two calls at a
// time, on one project spoil each other's conditional creates with 409 (medplum.md 0.7).
type Client struct {
	// HTTP carries the requests and lets us in; auth.Client makes one.
	HTTP *http.Client
	// Base is the server's base URL; FHIR is below it at fhir/R4.
	Base string
}

// Reply is what came back to a Create.
type Reply struct {
	Outcomes []Outcome // one a resource, in order
	Limits   Limits    // what is left of the quotas
	Date     time.Time // the server's clock; zero: not said
}

// Create creates resources that are not there yet: one alone by If-None-Exist, several as a batch, each entry for itself.
// An error is an Outcome and stands for the request as a whole: nothing of it was carried out, or nobody knows; then Reply
// has the limits alone.
func (c *Client) Create(ctx context.Context, resources []Resource) (Reply, error) {
	create := c.batch
	if len(resources) == 1 {
		create = c.single
	}
	reply, err := create(ctx, resources)
	for i, o := range reply.Outcomes {
		if o.Multiple() {
			reply.Outcomes[i] = c.lookUp(ctx, resources[i], o)
		}
	}
	return reply, err
}

// lookUp finds the id of a resource that the server has more than once and therefore did not tell.
func (c *Client) lookUp(ctx context.Context, r Resource, o Outcome) Outcome {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url("fhir/R4/"+r.Type+"?"+r.IfNoneExist+"&_count=1"), nil)
	if err != nil {
		return noURL(err)
	}
	reply, status, header, body, err := c.do(req)
	if err != nil {
		return unreached(err)
	}
	if status != http.StatusOK {
		return refusal(status, body, header, reply.Limits)
	}
	var found struct {
		Entry []struct {
			Resource struct {
				ID string `json:"id"`
			} `json:"resource"`
		} `json:"entry"`
	}
	if json.Unmarshal(body, &found) != nil || len(found.Entry) == 0 || !isID(found.Entry[0].Resource.ID) {
		return strange(status)
	}
	o.ID = found.Entry[0].Resource.ID
	return o
}

func (c *Client) single(ctx context.Context, resources []Resource) (Reply, error) {
	r := resources[0]
	req, err := c.request(ctx, "/"+r.Type, r.Body)
	if err != nil {
		return Reply{}, err
	}
	req.Header.Set("If-None-Exist", r.IfNoneExist)
	reply, status, header, body, err := c.do(req)
	if err != nil {
		return reply, err
	}
	if status != http.StatusOK && status != http.StatusCreated {
		reply.Outcomes = []Outcome{refusal(status, body, header, reply.Limits)}
		return reply, nil
	}
	var made struct {
		ResourceType string `json:"resourceType"`
		ID           string `json:"id"`
	}
	if err := json.Unmarshal(body, &made); err != nil || made.ResourceType != r.Type || !isID(made.ID) {
		return reply, strange(status)
	}
	o := classify(status, operationOutcome{})
	o.ID = made.ID
	if o.Class == Exists {
		o.Existing = body
	}
	reply.Outcomes = []Outcome{o}
	return reply, nil
}

// batchEntry and batch are a Bundle of type batch. It is never a transaction: without the feature transaction-bundles
// Medplum silently makes it a batch, and with it takes at most 8 conditional entries (medplum.md 0.4, 0.5).
type batchEntry struct {
	Request struct {
		Method      string `json:"method"`
		URL         string `json:"url"`
		IfNoneExist string `json:"ifNoneExist,omitempty"`
	} `json:"request"`
	Resource json.RawMessage `json:"resource"`
}

func (c *Client) batch(ctx context.Context, resources []Resource) (Reply, error) {
	bundle := struct {
		ResourceType string       `json:"resourceType"`
		Type         string       `json:"type"`
		Entry        []batchEntry `json:"entry"`
	}{"Bundle", "batch", make([]batchEntry, len(resources))}
	for i, r := range resources {
		e := &bundle.Entry[i]
		e.Request.Method, e.Request.URL, e.Request.IfNoneExist = "POST", r.Type, r.IfNoneExist
		e.Resource = r.Body
	}
	text, err := encode(bundle)
	if err != nil {
		return Reply{}, Outcome{Class: ItemFault, Code: "unreadable", Detail: "a resource is not JSON", cause: err}
	}
	req, err := c.request(ctx, "", text)
	if err != nil {
		return Reply{}, err
	}
	reply, status, header, body, err := c.do(req)
	if err != nil {
		return reply, err
	}
	if status != http.StatusOK {
		return reply, refusal(status, body, header, reply.Limits)
	}
	outcomes, err := entries(body, resources)
	if err != nil {
		return reply, err
	}
	wait := retryAfter(header, reply.Limits)
	for i := range outcomes {
		if outcomes[i].Status == http.StatusTooManyRequests {
			outcomes[i].Wait = wait
		}
	}
	reply.Outcomes = outcomes
	return reply, nil
}

// entries reads the answer to a batch: a 200 that may hold any mixture of outcomes.
func entries(body []byte, sent []Resource) ([]Outcome, error) {
	var bundle struct {
		ResourceType string `json:"resourceType"`
		Entry        []struct {
			Resource json.RawMessage `json:"resource"`
			Response struct {
				Status   string           `json:"status"`
				Location string           `json:"location"`
				Outcome  operationOutcome `json:"outcome"`
			} `json:"response"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(body, &bundle); err != nil || bundle.ResourceType != "Bundle" || len(bundle.Entry) != len(sent) {
		return nil, strange(http.StatusOK)
	}
	outcomes := make([]Outcome, len(sent))
	made := map[string]int{} // by id
	for i, e := range bundle.Entry {
		code, _, _ := strings.Cut(e.Response.Status, " ") // "201", or as FHIR's examples have it "201 Created"
		status, err := strconv.Atoi(code)
		if err != nil {
			return nil, strange(http.StatusOK)
		}
		o := classify(status, e.Response.Outcome)
		if o.Done() && !o.Multiple() {
			o.ID = locationID(e.Response.Location, sent[i].Type)
			if o.ID == "" {
				return nil, strange(status)
			}
			if o.Class == Exists {
				// What is there already is compared with ours; an answer that keeps it to itself could be of anything.
				var there struct {
					ResourceType string `json:"resourceType"`
					ID           string `json:"id"`
				}
				if json.Unmarshal(e.Resource, &there) != nil || there.ResourceType != sent[i].Type || there.ID != o.ID {
					return nil, strange(status)
				}
				o.Existing = e.Resource
			}
			if other, twice := made[o.ID]; twice && sent[other].IfNoneExist != sent[i].IfNoneExist {
				return nil, strange(status) // one id cannot be two resources
			}
			made[o.ID] = i
		}
		outcomes[i] = o
	}
	return outcomes, nil
}

// locationID is the id in "Observation/ID", also when a base stands before it or a history after it.
func locationID(location, resourceType string) string {
	parts := strings.Split(location, "/")
	for i := len(parts) - 2; i >= 0; i-- {
		if parts[i] == resourceType && isID(parts[i+1]) {
			return parts[i+1]
		}
	}
	return ""
}

// isID tells whether s can be a resource's id (FHIR R4, datatype id).
func isID(s string) bool {
	ok := len(s) > 0 && len(s) <= 64
	for _, r := range s {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.')
	}
	return ok
}

// refusal is the outcome of an answer that is no success.
func refusal(status int, body []byte, h http.Header, l Limits) Outcome {
	var oo operationOutcome
	if json.Unmarshal(body, &oo) != nil { // a page of some proxy; the status has to say enough
		oo = operationOutcome{}
	}
	o := classify(status, oo)
	o.Wait = retryAfter(h, l)
	if status >= 300 && status < 400 {
		o.Code, o.Detail = "redirect", "the server sends us elsewhere, and no redirect is followed: set server.url"
	}
	return o
}

// strange is an answer that is none of FHIR: a page of a proxy or a captive portal, half a body.
func strange(status int) Outcome {
	return Outcome{Class: Weather, Status: status, Code: "answer", Detail: "the answer is not what a FHIR server gives"}
}

func noURL(err error) Outcome {
	return Outcome{Class: OurFault, Code: "access", Detail: "server.url is no URL", cause: err}
}

// Health asks the server whether it and its databases are well; nil: they are. It needs no credentials and sends none.
func (c *Client) Health(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url("healthcheck"), nil)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	req.Header["Authorization"] = nil
	_, status, _, body, err := c.do(req)
	if err != nil {
		return err
	}
	var well struct {
		OK       bool  `json:"ok"`
		Postgres *bool `json:"postgres"`
		Redis    *bool `json:"redis"`
	}
	down := func(b *bool) bool { return b != nil && !*b }
	if status != http.StatusOK || json.Unmarshal(body, &well) != nil || !well.OK || down(well.Postgres) || down(well.Redis) {
		return Outcome{Class: Weather, Status: status, Code: "healthcheck", Detail: "the server says that it is not well"}
	}
	return nil
}

func (c *Client) url(path string) string { return strings.TrimRight(c.Base, "/") + "/" + path }

func (c *Client) request(ctx context.Context, path string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url("fhir/R4"+path), bytes.NewReader(body))
	if err != nil {
		return nil, noURL(err)
	}
	req.Header.Set("Content-Type", "application/fhir+json")
	return req, nil
}

func (c *Client) do(req *http.Request) (reply Reply, status int, h http.Header, body []byte, err error) {
	req.Header.Set("Accept", "application/fhir+json")
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return reply, 0, nil, nil, unreached(err)
	}
	defer resp.Body.Close()
	reply.Limits = limits(resp.Header)
	reply.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	if body, err = io.ReadAll(resp.Body); err != nil {
		return reply, 0, nil, nil, unreached(err)
	}
	return reply, resp.StatusCode, resp.Header, body, nil
}

// encode writes JSON without escaping <, > and &, so that the size is what the resources have.
func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return out.Bytes(), err
}
