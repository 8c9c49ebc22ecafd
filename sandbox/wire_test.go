package sandbox

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"labagent/talktest"
)

// exchange is one recorded request with its answer.
type exchange struct {
	method, url string
	header      http.Header
	body        string

	status       int
	answerHeader http.Header
	answer       string
}

var statusLine = regexp.MustCompile(`(?m)^HTTP/1\.1 (\d{3}) `)

func readExchange(t *testing.T, path string) exchange {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	at := statusLine.FindStringSubmatchIndex(text)
	if at == nil {
		t.Fatalf("%s: no answer in it", path)
	}
	var e exchange
	var line string
	line, e.header, e.body = readPart(text[:at[0]])
	e.method, line, _ = strings.Cut(line, " ")
	e.url, _, _ = strings.Cut(line, " ")
	line, e.answerHeader, e.answer = readPart(text[at[0]:])
	fmt.Sscanf(line, "HTTP/1.1 %d", &e.status)
	return e
}

func readPart(text string) (line string, header http.Header, body string) {
	head, body, _ := strings.Cut(text, "\n\n")
	header = http.Header{}
	lines := strings.Split(head, "\n")
	for _, l := range lines[1:] {
		if name, value, ok := strings.Cut(l, ": "); ok {
			header.Add(name, value)
		}
	}
	return lines[0], header, strings.TrimSpace(body)
}

// bench is a server about to be asked a recorded question.
type bench struct {
	t      *testing.T
	s      *Server
	client Client
	now    time.Time
	token  string
	jwt    string // in place of a client assertion that was left out
	e      exchange
	dir    string
}

// do asks with what the recording left out filled in.
func (b *bench) do(e exchange) *http.Response {
	b.t.Helper()
	target := &url.URL{Scheme: "http", Host: "127.0.0.1:8103"}
	path, query, _ := strings.Cut(e.url, "?")
	target.Path, target.RawQuery = path, query
	r := &http.Request{Method: e.method, URL: target, Host: target.Host, Header: e.header.Clone(), Body: http.NoBody}
	r.Header.Del("Content-Length")
	body := strings.ReplaceAll(e.body, "client_secret=<redacted>", "client_secret="+b.client.Secret)
	body = strings.ReplaceAll(body, "client_assertion=<jwt>", "client_assertion="+b.jwt)
	switch scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); scheme {
	case "Bearer":
		r.Header.Set("Authorization", "Bearer "+b.token)
	case "Basic":
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(b.client.ID+":"+b.client.Secret)))
	}
	if r.Header.Get("Content-Encoding") == "gzip" && strings.HasPrefix(body, "<") {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, _ = w.Write([]byte(glucose("gz1")))
		_ = w.Close()
		body = z.String()
		if strings.HasPrefix(e.body, "<7 bytes") {
			body = "corrupt"
		}
	}
	var size int
	if n, _ := fmt.Sscanf(body, "<%d bytes, Content-Encoding None>", &size); n == 1 {
		body = `{"resourceType":"Observation","note":"` + strings.Repeat("x", size) + `"}`
	}
	r.Body = nopBody{strings.NewReader(body)}
	answer, err := b.s.RoundTrip(r)
	if err != nil {
		b.t.Fatalf("%s %s: %v", e.method, e.url, err)
	}
	return answer
}

type nopBody struct{ *strings.Reader }

func (nopBody) Close() error { return nil }

// again asks the recorded question before it counts.
func (b *bench) again(times int) {
	for range times {
		b.do(b.e)
	}
}

// before asks another file's question before it counts.
func (b *bench) before(file string) {
	b.do(readExchange(b.t, filepath.Join(b.dir, file)))
}

func (b *bench) put(resource string) string {
	b.t.Helper()
	id, err := b.s.Put([]byte(resource))
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

func (b *bench) change(f func(*Client)) {
	b.s.Change(b.client.ID, f)
}

func (b *bench) policy(rules ...Rule) {
	b.change(func(c *Client) { c.Policy = &Policy{ID: "34b00802-bfed-4e6e-89ec-9481dadb2262", Resource: rules} })
}

// glucose is the resource of most recordings.
func glucose(identifier string, more ...string) string {
	body := `{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"2345-7","display":"Glucose"}]},` +
		`"valueQuantity":{"value":5.4,"unit":"mmol/L","system":"http://unitsofmeasure.org","code":"mmol/L"},"effectiveDateTime":"2026-11-23T12:00:00Z"`
	if identifier != "" {
		body += `,"identifier":[{"system":"urn:lab:obs","value":"` + identifier + `"}]`
	}
	return body + strings.Join(more, "") + "}"
}

const w1 = `,"device":{"reference":"Device/51796696-bc7e-4a67-a5e2-c04d75be9027"},"specimen":{"reference":"Specimen/ced45b74-71df-4640-90d6-25ec761cc4bf"},"subject":{"identifier":{"system":"urn:lab:pid","value":"P1"}},"id":"803e6543-ee62-463e-94f3-e4f6b40c37a3"`

func nothing(*bench) {}

func createOnly(b *bench) {
	b.policy(Rule{ResourceType: "Observation", Interaction: []string{"create"}})
}

func databaseStopped(b *bench) { b.s.Switch(func(w *Switches) { w.DatabaseDown = true }) }

func minimalPolicy(b *bench) {
	var rules []Rule
	for _, typ := range []string{"Observation", "DiagnosticReport", "Specimen"} {
		rules = append(rules, Rule{ResourceType: typ, Interaction: []string{"create", "search"}, Criteria: typ + "?_tag=urn:lab-agent|agent-1"})
	}
	rules = append(rules, Rule{ResourceType: "Binary", Interaction: []string{"create"}}, Rule{ResourceType: "Provenance", Interaction: []string{"create"}},
		Rule{ResourceType: "Communication", Interaction: []string{"create", "search"}, Criteria: "Communication?_tag=urn:lab-agent|agent-1"})
	b.policy(rules...)
}

// Project features that a recording was made under.
var features = map[string]Options{
	"err-check-references.http":         {CheckReferences: true},
	"err-resource-cap.http":             {ResourceCap: 1},
	"fhir-429-quota.http":               {Quota: 350},
	"batch-429-partial-quota.http":      {Quota: 350},
	"transaction-429-quota.http":        {Quota: 350, Transactions: true},
	"fhir-429-requests-ratelimit.http":  {RequestLimit: 1},
	"transaction-async-rejected.http":   {Transactions: true},
	"probe-transaction-support-on.http": {Transactions: true},
}

// covered are the recordings that are played again, each with what was the case before.
var covered = map[string]func(*bench){
	"authme-401.http":                     func(b *bench) { b.token = "none" },
	"authme-basic.http":                   nothing,
	"authme-no-policy.http":               nothing,
	"basic-401-wrong-secret.http":         func(b *bench) { b.change(func(c *Client) { c.Secret = "another" }) },
	"basic-client-status-off.http":        func(b *bench) { b.change(func(c *Client) { c.Disabled = true }) },
	"basic-create-observation.http":       nothing,
	"batch-429-partial-quota.http":        nothing,
	"batch-async-create-only-policy.http": createOnly,
	"batch-dangling-1-first-try.http":     nothing,
	"batch-dangling-2-replay.http":        func(b *bench) { b.before("batch-dangling-1-first-try.http") },
	"cond-create-412-multiple.http":       func(b *bench) { b.put(glucose("cc1")); b.put(glucose("cc1")) },
	"cond-create-bad-param.http":          nothing,
	"cond-create-exists.http":             func(b *bench) { b.put(glucose("cc1")) },
	"cond-create-new.http":                nothing,
	"cond-update-412-multiple.http":       func(b *bench) { b.put(glucose("cc1")); b.put(glucose("cc1")) },
	"cond-update-changed.http":            func(b *bench) { b.put(glucose("cu1")) },
	"cond-update-new.http":                nothing,
	"cond-update-unchanged.http":          func(b *bench) { b.put(glucose("cu1")) },
	"create-communication.http":           nothing,
	"create-conditional-reference.http": func(b *bench) {
		b.put(`{"resourceType":"Patient","identifier":[{"system":"urn:lab:pid","value":"P089d7f"}]}`)
	},
	"create-conditional-reference-no-match.http":           nothing,
	"create-conditional-reference-create-only-policy.http": createOnly,
	"create-auditevent.http":                               nothing,
	"create-device.http":                                   nothing,
	"create-diagnosticreport.http":                         nothing,
	"create-gzip-body.http":                                nothing,
	"create-observation.http":                              nothing,
	"create-prefer-minimal.http":                           nothing,
	"create-provenance.http":                               nothing,
	"create-specimen.http":                                 nothing,
	"disc-healthcheck.http":                                nothing,
	"disc-root.http":                                       nothing,
	"err-bad-code.http":                                    nothing,
	"err-bad-content-type.http":                            nothing,
	"err-bad-date.http":                                    nothing,
	"err-bad-gzip.http":                                    nothing,
	"err-bad-id.http":                                      nothing,
	"err-check-references.http":                            nothing,
	"err-content-encoding-zstd.http":                       nothing,
	"err-empty-string.http":                                nothing,
	"err-fhir-json-charset.http":                           nothing,
	"err-fhir-xml.http":                                    nothing,
	"err-hl7-op.http":                                      nothing,
	"err-invalid-json.http":                                nothing,
	"err-json-content-type.http":                           nothing,
	"err-latin1-charset.http":                              nothing,
	"err-missing-required.http":                            nothing,
	"err-not-found.http":                                   nothing,
	"err-null-value.http":                                  nothing,
	"err-process-message.http":                             nothing,
	"err-reference-missing.http":                           nothing,
	"err-resource-cap.http":                                func(b *bench) { b.put(glucose("first")) },
	"err-too-large.http":                                   nothing,
	"err-unknown-element.http":                             nothing,
	"err-unknown-resource.http":                            nothing,
	"err-urn-reference.http":                               nothing,
	"err-wrong-type.http":                                  nothing,
	"fhir-401-expired-token.http":                          func(b *bench) { b.now = b.now.Add(2 * time.Hour) },
	"fhir-401-garbage-token.http":                          func(b *bench) { b.token = "garbage" },
	"fhir-401-no-auth.http":                                nothing,
	"fhir-401-revoked-token.http":                          func(b *bench) { b.before("oauth2-logout.http") },
	"fhir-429-quota.http":                                  func(b *bench) { b.again(4) },
	"fhir-429-requests-ratelimit.http":                     func(b *bench) { b.again(2) },
	"fhir-membership-deleted-old-token.http":               func(b *bench) { b.change(func(c *Client) { c.MembershipGone = true }) },
	"fhir-policy-deleted.http":                             func(b *bench) { b.change(func(c *Client) { c.PolicyGone = true }) },
	"minimal-policy-authme.http":                           minimalPolicy,
	"minimal-policy-transaction-1.http":                    minimalPolicy,
	"minimal-policy-transaction-2.http":                    func(b *bench) { minimalPolicy(b); b.before("minimal-policy-transaction-1.http") },
	"oauth2-logout.http":                                   nothing,
	"outage-postgres-basic.http":                           databaseStopped,
	"outage-postgres-basic-2.http":                         databaseStopped,
	"outage-postgres-batch.http":                           databaseStopped,
	"outage-postgres-batch-2.http":                         databaseStopped,
	"outage-postgres-cond-create.http":                     databaseStopped,
	"outage-postgres-cond-create-2.http":                   databaseStopped,
	"outage-postgres-create.http":                          databaseStopped,
	"outage-postgres-create-2.http":                        databaseStopped,
	"outage-postgres-healthcheck.http":                     databaseStopped,
	"outage-postgres-healthcheck-2.http":                   databaseStopped,
	"outage-postgres-token.http":                           databaseStopped,
	"outage-postgres-token-2.http":                         databaseStopped,
	"outage-redis-healthcheck.http":                        func(b *bench) { b.s.Switch(func(w *Switches) { w.RedisDown = true }) },
	"policy-create-only-403-other-type.http":               createOnly,
	"policy-create-only-403-search.http":                   createOnly,
	"policy-create-only-authme.http":                       createOnly,
	"policy-create-only-batch.http":                        createOnly,
	"policy-create-only-batch-ifnoneexist.http":            createOnly,
	"policy-create-only-batch-mixed.http":                  createOnly,
	"policy-create-only-cond-create.http":                  createOnly,
	"policy-create-only-cond-update.http":                  createOnly,
	"policy-create-only-create.http":                       createOnly,
	"policy-create-only-transaction.http":                  createOnly,
	"policy-create-only-transaction-ifnoneexist.http":      func(b *bench) { createOnly(b); b.s.o.Transactions = true },
	"policy-criteria-403.http": func(b *bench) {
		b.policy(Rule{ResourceType: "Observation", Interaction: []string{"create", "search"}, Criteria: "Observation?_tag=urn:x|y"})
	},
	"policy-hidden-readonly-create.http": func(b *bench) {
		b.policy(Rule{ResourceType: "Observation", HiddenFields: []string{"subject", "note"}, ReadonlyFields: []string{"performer"}})
	},
	"post-with-id.http":                  nothing,
	"probe-transaction-support-off.http": nothing,
	"probe-transaction-support-on.http":  nothing,
	"put-client-assigned-id.http":        nothing,
	"read-observation.http":              func(b *bench) { b.put(glucose("w1", w1)) },
	"search-identifier.http": func(b *bench) {
		b.put(strings.Replace(glucose("w1", w1), `"final"`, `"amended"`, 1))
	},
	"token-429-rate-limited.http":  func(b *bench) { b.again(160) }, // the one that got the token counts too
	"token-cc-basic-ok.http":       nothing,
	"token-cc-offline-scope.http":  nothing,
	"token-assertion-badaud.http":  func(b *bench) { b.assert(claim("aud", "http://127.0.0.1:8103/")) },
	"token-assertion-badkid.http":  func(b *bench) { b.assert(claim("kid", "another")) },
	"token-assertion-badsub.http":  func(b *bench) { b.assert(claim("sub", "somebody")) },
	"token-assertion-expired.http": func(b *bench) { b.assert(claim("exp", b.now.Add(-time.Minute).Unix())) },
	"token-assertion-jwks-down.http": func(b *bench) {
		b.assert(nil)
		b.change(func(c *Client) { c.JWKS = func() ([]byte, error) { return nil, errors.New("down") } })
	},
	"token-assertion-noCheck.http":      func(b *bench) { b.assert(claim("aud", "http://127.0.0.1:8103/fhir/R4")) },
	"token-assertion-ok.http":           func(b *bench) { b.assert(nil) },
	"token-cc-post-ok.http":             nothing,
	"token-err-bad-grant.http":          nothing,
	"token-err-bearer-header.http":      nothing,
	"token-err-client-id-not-uuid.http": nothing,
	"token-err-client-status-off.http":  func(b *bench) { b.change(func(c *Client) { c.Disabled = true }) },
	"token-err-get.http":                nothing,
	"token-err-ip-blocked.http":         func(b *bench) { b.change(func(c *Client) { c.Blocked = true }) },
	"token-err-json-body.http":          nothing,
	"token-err-missing-grant.http":      nothing,
	"token-err-missing-secret.http":     nothing,
	"token-err-no-membership.http":      func(b *bench) { b.change(func(c *Client) { c.MembershipGone = true }) },
	"token-err-unknown-client.http":     func(b *bench) { b.client.ID = "" },
	"token-err-wrong-secret-basic.http": func(b *bench) { b.client.Secret = "wrong" },
	"token-err-wrong-secret-post.http":  func(b *bench) { b.client.Secret = "wrong" },
	"token-retiring-secret.http":        func(b *bench) { b.change(func(c *Client) { c.Retiring, c.Secret = c.Secret, "new" }) },
	"token-short-lifetime.http":         func(b *bench) { b.change(func(c *Client) { c.Lifetime = 3 * time.Second }) },
	"transaction-429-quota.http":        nothing,
	"transaction-async-rejected.http":   nothing,
	"update-ifmatch-mismatch.http":      func(b *bench) { b.put(glucose("w1", w1)) },
	"update-ifmatch-ok.http": func(b *bench) {
		b.put(glucose("w1", w1))
		b.e.header.Set("If-Match", `W/"`+b.s.store.order[0].version+`"`)
	},
}

func init() {
	for _, feature := range []string{"off", "on"} {
		for _, name := range []string{"batch-entry-no-request", "batch-ifnoneexist-new", "batch-one-bad-entry", "batch-single", "batch-too-large",
			"transaction-ifnoneexist-9-entries", "transaction-ifnoneexist-new", "transaction-one-bad-entry"} {
			covered["tx-"+feature+"-"+name+".http"] = nothing
		}
		for _, kind := range []string{"batch", "transaction"} {
			covered["tx-"+feature+"-"+kind+"-ifnoneexist-replay.http"] = func(b *bench) { b.again(1) }
		}
	}
	for name := range covered {
		if strings.HasPrefix(name, "tx-on-") {
			features[name] = Options{Transactions: true}
		}
	}
}

// notCovered says why a recording is not played again, by the beginning of its name.
var notCovered = map[string]string{
	"agent-":                     "labagent is no Agent resource, and the sandbox has no agents",
	"basic-401-prompt":           "the prompt is for browsers",
	"batch-async-accepted":       "labagent asks for no asynchronous batch",
	"batch-async-result":         "labagent asks for no asynchronous batch",
	"batch-async-status":         "labagent asks for no asynchronous batch",
	"bot-":                       "no bots before the mode bot is built",
	"client-rotate-secret":       "an administrator's way; Client.Retiring is its effect",
	"create-binary-":             "nothing is delivered as Binary yet",
	"create-documentreference":   "nothing is delivered as Binary yet, and only its presigned address is of note",
	"create-x-medplum-extended":  "labagent does not ask for extended meta",
	"disc-metadata":              "labagent does not read the CapabilityStatement",
	"disc-oauth-as-metadata":     "labagent does not discover, it is told",
	"disc-oidc-discovery":        "labagent does not discover, it is told",
	"disc-smart-configuration":   "labagent does not discover, it is told",
	"err-validate-":              "labagent does not ask $validate, which answers 200 to anything",
	"oauth2-introspect":          "labagent does not introspect",
	"oauth2-userinfo":            "labagent does not ask who it is there",
	"policy-binary-create-only":  "nothing is delivered as Binary yet",
	"policy-writeconstraint-403": "writeConstraint is FHIRPath, which the sandbox does not speak",
	"setup-project-init":         "an administrator's way",
	"token-exchange-no-idp":      "labagent exchanges no tokens",
}

// TestWire asks the sandbox what a real server was asked and compares the answers.
func TestWire(t *testing.T) {
	dir := filepath.Join(talktest.Shared(t), "reference", "medplum-wire")
	files, err := filepath.Glob(filepath.Join(dir, "*.http"))
	if err != nil || len(files) == 0 {
		t.Skip("the recorded exchanges (../shared/reference/medplum-wire) are not beside this checkout")
	}
	played := 0
	for _, path := range files {
		name := filepath.Base(path)
		setup, ok := covered[name]
		if !ok {
			if !slices.ContainsFunc(mapKeys(notCovered), func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
				t.Errorf("%s: neither covered nor excused", name)
			}
			continue
		}
		played++
		t.Run(strings.TrimSuffix(name, ".http"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { replay(t, dir, name, setup) })
		})
	}
	if played != len(covered) {
		t.Errorf("%d of %d covered recordings are there", played, len(covered))
	}
}

func mapKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

var formID = regexp.MustCompile(`client_id=([^&]+)`)

func replay(t *testing.T, dir, name string, setup func(*bench)) {
	e := readExchange(t, filepath.Join(dir, name))
	b := &bench{t: t, now: time.Date(2026, 11, 23, 17, 50, 0, 0, time.UTC), e: e, dir: dir}
	o := features[name]
	o.Clock = func() time.Time { return b.now }
	b.s = New(o)
	id := "6f2ccbd7-95aa-4c22-9396-f7d9c5914ff1"
	if m := formID.FindStringSubmatch(e.body); m != nil && !strings.Contains(name, "unknown") && !strings.Contains(name, "not-uuid") {
		id = m[1]
	}
	b.client = b.s.AddClient(Client{ID: id, Name: "full"})
	if o.RequestLimit == 0 {
		b.login()
	}
	setup(b)
	compare(t, b, b.do(b.e))
}

func (b *bench) login() {
	answer := b.do(exchange{method: "POST", url: "/oauth2/token", header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
		body: "grant_type=client_credentials&client_id=" + b.client.ID + "&client_secret=<redacted>"})
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&token); err != nil || token.AccessToken == "" {
		b.t.Fatalf("no token: %v", err)
	}
	b.token = token.AccessToken
}

func compare(t *testing.T, b *bench, got *http.Response) {
	t.Helper()
	want := b.e
	if got.StatusCode != want.status {
		t.Errorf("status %d, want %d", got.StatusCode, want.status)
	}
	for _, name := range []string{"ETag", "Location", "Last-Modified", "WWW-Authenticate", "Retry-After"} {
		if (got.Header.Get(name) != "") != (want.answerHeader.Get(name) != "") {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want.answerHeader.Get(name))
		}
	}
	if g, w := limitNames(got.Header), limitNames(want.answerHeader); !slices.Equal(g, w) {
		t.Errorf("RateLimit headers %v, want %v", g, w)
	}
	if g, w := got.Header.Get("Content-Type"), want.answerHeader.Get("Content-Type"); g != w {
		t.Errorf("Content-Type %q, want %q", g, w)
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(got.Body); err != nil {
		t.Fatal(err)
	}
	if cutOff.MatchString(want.answer) {
		return // the recording was cut; its head and its length are all there is
	}
	g, w := comparable(body.String()), comparable(want.answer)
	if !reflect.DeepEqual(g, w) {
		gt, _ := json.MarshalIndent(g, "", " ")
		wt, _ := json.MarshalIndent(w, "", " ")
		t.Errorf("body\n%s\nwant\n%s", gt, wt)
	}
}

func limitNames(h http.Header) []string {
	var names []string
	for _, v := range h.Values("RateLimit") {
		name, _, _ := strings.Cut(v, ";")
		names = append(names, name)
	}
	return names
}

var cutOff = regexp.MustCompile(`\d+ characters in all]$`)

// masks take out of a body what cannot be the same twice.
var masks = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`"lastUpdated":\s*"[^"]+"`), `"lastUpdated":"NOW"`},
	{regexp.MustCompile(`_msBeforeNext\\":\d+`), `_msBeforeNext\":N`},
	{regexp.MustCompile(`"eyJ[^"]+"|"<jwt>"`), `"JWT"`},
	{regexp.MustCompile(`"secret":\s*"[^"]+"`), `"secret":"SECRET"`},
	{regexp.MustCompile(`5\.0\.10-\w+`), "VERSION"},
	{regexp.MustCompile(`"display":\s*"(Lab Test|Sandbox)"`), `"display":"PROJECT"`},
	{regexp.MustCompile(`"name":\s*"(Lab Test|Sandbox)"`), `"name":"PROJECT"`},
	{regexp.MustCompile(`"(name|display)":\s*"(full|agent-1-min|c-only|rot|short|jwt)"`), `"$1":"CLIENT"`},
}

func comparable(text string) any {
	for _, m := range masks {
		text = m.pattern.ReplaceAllString(text, m.by)
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return strings.TrimSpace(text)
	}
	if m := object(v); m["accessPolicy"] != nil { // who wrote the client, and its menus, are nobody's business here
		delete(m, "config")
		delete(object(m["profile"]), "meta")
	}
	return v
}
