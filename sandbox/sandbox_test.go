package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// caller asks a server as one client over Basic, which needs no token.
type caller struct {
	t    *testing.T
	s    *Server
	c    Client
	http http.Client
}

func newCaller(t *testing.T, o Options, policy *Policy) *caller {
	s := New(o)
	return &caller{t: t, s: s, c: s.AddClient(Client{Name: "test", Policy: policy}), http: http.Client{Transport: s}}
}

type answer struct {
	status int
	header http.Header
	body   map[string]any
}

func (c *caller) try(method, path, body string, header ...string) (answer, error) {
	r, err := http.NewRequest(method, "http://sandbox/fhir/R4"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/fhir+json")
	r.SetBasicAuth(c.c.ID, c.c.Secret)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, header: res.Header}
	_ = json.Unmarshal(data, &a.body) // some answers are no JSON
	return a, nil
}

func (c *caller) do(method, path, body string, header ...string) answer {
	c.t.Helper()
	a, err := c.try(method, path, body, header...)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// text is the text of an OperationOutcome's issue.
func (a answer) text() string {
	for _, i := range list(a.body["issue"]) {
		s, _ := object(object(i)["details"])["text"].(string)
		return s
	}
	return ""
}

func (c *caller) left() int {
	c.t.Helper()
	a := c.do("GET", "/Observation/none", "")
	var left, ends int
	limits := a.header.Values("RateLimit")
	if _, err := fmt.Sscanf(limits[len(limits)-1], `"fhirInteractions";r=%d;t=%d`, &left, &ends); err != nil {
		c.t.Fatal(err)
	}
	return left
}

func TestCosts(t *testing.T) {
	bundle := func(typ string, entries ...string) string {
		return `{"resourceType":"Bundle","type":"` + typ + `","entry":[` + strings.Join(entries, ",") + `]}`
	}
	entry := func(id string) string {
		return `{"request":{"method":"POST","url":"Observation","ifNoneExist":"identifier=urn:lab:obs|` + id + `"},"resource":` + glucose(id) + `}`
	}
	cases := []struct {
		name               string
		method, path, body string
		condition          string
		want               int
	}{
		{"create", "POST", "/Observation", glucose("a"), "", 100},
		{"invalid create", "POST", "/Observation", `{"resourceType":"Observation"}`, "", 100},
		{"wrong type", "POST", "/Observation", `{"resourceType":"Patient"}`, "", 0},
		{"conditional create, new", "POST", "/Observation", glucose("b"), "identifier=urn:lab:obs|b", 120},
		{"conditional create, exists", "POST", "/Observation", glucose("there"), "identifier=urn:lab:obs|there", 20},
		{"in a bundle, new", "POST", "", bundle("batch", entry("c"), entry("d")), "", 280},
		{"in a bundle, exists", "POST", "", bundle("batch", entry("there")), "", 40},
		{"search", "GET", "/Observation?identifier=urn:lab:obs|there,urn:lab:obs|x", "", "", 20},
		{"read", "GET", "/Observation/none", "", "", 1},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			c := newCaller(t, Options{}, nil)
			if _, err := c.s.Put([]byte(glucose("there"))); err != nil {
				t.Fatal(err)
			}
			before := c.left()
			if test.condition != "" {
				c.do(test.method, test.path, test.body, "If-None-Exist", test.condition)
			} else {
				c.do(test.method, test.path, test.body)
			}
			if got := before - c.left() - costRead; got != test.want {
				t.Errorf("cost %d units, want %d", got, test.want)
			}
		})
	}
}

func TestQuotaComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{Quota: 250}, nil)
		for i, want := range []int{201, 201, 429} {
			if a := c.do("POST", "/Observation", glucose(fmt.Sprint("q", i))); a.status != want {
				t.Errorf("create %d: %d, want %d", i, a.status, want)
			}
		}
		time.Sleep(time.Minute)
		if a := c.do("POST", "/Observation", glucose("q3")); a.status != 201 {
			t.Errorf("a minute later: %d", a.status)
		}
	})
}

// Identifier values in a condition must be escaped by the client; what happens when it does not is imitated.
func TestConditionEscaping(t *testing.T) {
	cases := []struct {
		name, value, condition string
		want                   int // of the second create
	}{
		{"plain", "a1", "identifier=urn:lab:obs|a1", 200},
		{"percent-encoded bar", "a1", "identifier=urn%3Alab%3Aobs%7Ca1", 200},
		{"raw plus is a space", "a+b", "identifier=urn:lab:obs|a+b", 201},
		{"encoded plus", "a+b", "identifier=urn:lab:obs|a%2Bb", 200},
		{"raw ampersand begins another parameter", "a&b", "identifier=urn:lab:obs|a&b", 400},
		{"raw comma means or", "a,b", "identifier=urn:lab:obs|a,b", 201},
		{"encoded comma means or all the same", "a,b", "identifier=urn:lab:obs|a%2Cb", 201},
		{"escaped comma", "a,b", `identifier=urn:lab:obs|a\,b`, 200},
		{"case matters", "A1", "identifier=urn:lab:obs|a1", 201},
		{"empty header is a plain create", "a1", "", 201},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			c := newCaller(t, Options{}, nil)
			if _, err := c.s.Put([]byte(glucose(test.value))); err != nil {
				t.Fatal(err)
			}
			if a := c.do("POST", "/Observation", glucose(test.value), "If-None-Exist", test.condition); a.status != test.want {
				t.Errorf("status %d, want %d", a.status, test.want)
			}
		})
	}
}

// The table of medplum.md 4: what a policy's interactions let through.
func TestPolicyInteractions(t *testing.T) {
	cases := []struct {
		interactions                                             string
		create, ifNoneExist, putNew, putExisting, read, searched int
	}{
		{"create", 201, 403, 403, 403, 403, 403},
		{"create read", 201, 403, 403, 403, 200, 403},
		{"create search", 201, 201, 201, 403, 403, 200},
		{"create search update", 201, 201, 201, 403, 403, 200},
		{"create search read update", 201, 201, 201, 200, 200, 200},
		{"", 201, 201, 201, 200, 200, 200},
		{"nonsense", 403, 403, 403, 403, 403, 403},
	}
	for _, test := range cases {
		t.Run(test.interactions, func(t *testing.T) {
			c := newCaller(t, Options{}, &Policy{Resource: []Rule{{ResourceType: "Observation", Interaction: strings.Fields(test.interactions)}}})
			id, err := c.s.Put([]byte(glucose("there")))
			if err != nil {
				t.Fatal(err)
			}
			got := []int{
				c.do("POST", "/Observation", glucose("a")).status,
				c.do("POST", "/Observation", glucose("b"), "If-None-Exist", "identifier=urn:lab:obs|b").status,
				c.do("PUT", "/Observation?identifier=urn:lab:obs|c", glucose("c")).status,
				c.do("PUT", "/Observation?identifier=urn:lab:obs|there", glucose("there")).status,
				c.do("GET", "/Observation/"+id, "").status,
				c.do("GET", "/Observation?_count=1", "").status,
			}
			want := []int{test.create, test.ifNoneExist, test.putNew, test.putExisting, test.read, test.searched}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("create, If-None-Exist, PUT new, PUT existing, read, search: %v, want %v", got, want)
			}
		})
	}
}

func TestPolicyCriteria(t *testing.T) {
	tagged := func(id string) string {
		return glucose(id, `,"meta":{"tag":[{"system":"urn:labagent","code":"lab-7"}]}`)
	}
	rule := func(interaction, criteria string) Rule {
		return Rule{ResourceType: "Observation", Interaction: strings.Fields(interaction), Criteria: criteria}
	}
	own := "Observation?_tag=urn:labagent|lab-7"
	cases := []struct {
		name                     string
		rules                    []Rule
		tagged, untagged, search int
		found                    int
	}{
		{"one entry", []Rule{rule("create search", own)}, 201, 403, 200, 1},
		{"two entries leak", []Rule{rule("create", ""), rule("search", own)}, 201, 201, 200, 4},
		{"unknown parameter fails closed", []Rule{rule("create search", "Observation?author=x")}, 403, 403, 400, 0},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			c := newCaller(t, Options{}, &Policy{Resource: test.rules})
			for range 2 {
				if _, err := c.s.Put([]byte(glucose("foreign"))); err != nil {
					t.Fatal(err)
				}
			}
			if a := c.do("POST", "/Observation", tagged("a")); a.status != test.tagged {
				t.Errorf("tagged: %d, want %d", a.status, test.tagged)
			}
			if a := c.do("POST", "/Observation", glucose("b")); a.status != test.untagged {
				t.Errorf("untagged: %d, want %d", a.status, test.untagged)
			}
			a := c.do("GET", "/Observation", "")
			if n := len(list(a.body["entry"])); a.status != test.search || n != test.found {
				t.Errorf("search: %d with %d, want %d with %d", a.status, n, test.search, test.found)
			}
		})
	}
}

func TestSearch(t *testing.T) {
	c := newCaller(t, Options{}, nil)
	for i := range 5 {
		c.do("POST", "/Observation", glucose(fmt.Sprint("s", i), fmt.Sprintf(`,"subject":{"reference":"Patient/%d"},"meta":{"tag":[{"system":"t","code":"%d"}]}`, i, i%2)))
	}
	cases := []struct {
		query string
		found int
	}{
		{"identifier=s1", 1}, {"identifier=urn:lab:obs|s1,urn:lab:obs|s2,urn:lab:obs|none", 2}, {"identifier=urn:lab:obs|", 5}, {"identifier=other|s1", 0},
		{"_tag=t|0", 3}, {"_tag=t|0&identifier=s2", 1}, {"subject=Patient/1", 1}, {"subject=1", 1}, {"status=final", 5}, {"status=preliminary", 0},
		{"code=http://loinc.org|2345-7", 5}, {"code=2345-7", 5}, {"_count=2", 2}, {"_count=2&_offset=4", 1}, {"_count=0", 0},
	}
	for _, test := range cases {
		a := c.do("GET", "/Observation?"+test.query, "")
		if n := len(list(a.body["entry"])); a.status != 200 || n != test.found {
			t.Errorf("%s: %d, found %d, want %d", test.query, a.status, n, test.found)
		}
	}
	if a := c.do("GET", "/Observation?_total=accurate&_count=2", ""); a.body["total"] != 5.0 {
		t.Errorf("total %v, want 5", a.body["total"])
	}
	if a := c.do("GET", "/Observation?nonsense=1", ""); a.status != 400 || a.text() != "Unknown search parameter: nonsense" {
		t.Errorf("unknown parameter: %d %s", a.status, a.text())
	}
}

func TestValidation(t *testing.T) {
	observation := func(more string) string {
		return `{"resourceType":"Observation","status":"final","code":{"text":"x"}` + more + `}`
	}
	cases := []struct {
		name, body, code, text, expression string
	}{
		{"unknown inside", observation(`,"valueQuantity":{"value":1,"units":"g"}`), "structure", `Invalid additional property "units"`, "Observation.value[x].units"},
		{"two values", observation(`,"valueString":"a","valueQuantity":{"value":1}`), "structure", `Invalid additional property "valueString"`, "Observation.valueString"},
		{"number as text", observation(`,"valueQuantity":{"value":"1"}`), "structure", "Invalid JSON type: expected number, but got string", "Observation.value[x].value"},
		{"one for many", observation(`,"note":{"text":"a"}`), "structure", "Expected array of values for property", "Observation.note"},
		{"many for one", observation(`,"subject":[{"display":"a"}]`), "structure", "Expected single value for property", "Observation.subject"},
		{"time without zone", observation(`,"effectiveDateTime":"2026-03-01T08:00:00"`), "structure", "Invalid dateTime format", "Observation.effective[x]"},
		{"instant to the day", observation(`,"issued":"2026-03-01"`), "structure", "Invalid instant format", "Observation.issued"},
		{"value and its absence", observation(`,"valueString":"a","dataAbsentReason":{"text":"b"}`), "invariant", "", "Observation"},
		{"extension without value", observation(`,"extension":[{"url":"urn:x"}]`), "invariant", "", "Observation.extension[0]"},
		{"report without code", `{"resourceType":"DiagnosticReport","status":"partial"}`, "structure", "Missing required property", "DiagnosticReport.code"},
		{"empty text alone", `{"resourceType":"Observation","status":"","code":{"text":"x"}}`, "structure", "Missing required property", "Observation.status"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			a := newCaller(t, Options{}, nil).do("POST", "/"+test.body[17:strings.Index(test.body[17:], `"`)+17], test.body)
			issue := object(list(a.body["issue"])[0])
			if a.status != 400 || issue["code"] != test.code || fmt.Sprint(issue["expression"]) != "["+test.expression+"]" || test.text != "" && a.text() != test.text {
				t.Errorf("%d %v %q %v", a.status, issue["code"], a.text(), issue["expression"])
			}
		})
	}
	rich := observation(`,"valueQuantity":{"value":5.40,"comparator":"<","unit":"g","system":"http://unitsofmeasure.org","code":"g"},` +
		`"referenceRange":[{"text":"1 to 2"}],"interpretation":[{"text":"H"}],"effectiveDateTime":"2026-03-01T08:00:00+01:00","_status":{"id":"s"},` +
		`"component":[{"code":{"text":"c"},"valueString":"v"}],"extension":[{"url":"urn:x","valueString":"y"}],"specimen":{"identifier":{"value":"1"}}`)
	a := newCaller(t, Options{}, nil).do("POST", "/Observation", rich)
	if a.status != 201 || object(a.body["valueQuantity"])["value"] != 5.4 {
		t.Errorf("a right one: %d %s", a.status, a.text())
	}
}

func TestDelete(t *testing.T) {
	c := newCaller(t, Options{}, nil)
	id, _ := c.do("POST", "/Observation", glucose("a")).body["id"].(string)
	for _, want := range []struct {
		method string
		status int
	}{{"GET", 200}, {"DELETE", 200}, {"GET", 410}, {"DELETE", 404}} {
		if a := c.do(want.method, "/Observation/"+id, ""); a.status != want.status {
			t.Errorf("%s: %d, want %d", want.method, a.status, want.status)
		}
	}
	if got := len(c.s.Resources("Observation")); got != 0 {
		t.Errorf("%d are listed", got)
	}
}

// One resource for one identifier, however many ask at once; some are told 409 and come again.
func TestConcurrentConditionalCreates(t *testing.T) {
	c := newCaller(t, Options{Quota: 1 << 30}, nil)
	c.s.Switch(func(w *Switches) { w.Delay = time.Millisecond })
	var wg sync.WaitGroup
	var mu sync.Mutex
	conflicts := 0
	for range 16 {
		wg.Go(func() {
			for i := range 10 {
				id := fmt.Sprint("v", i)
				for {
					a, err := c.try("POST", "/Observation", glucose(id), "If-None-Exist", "identifier=urn:lab:obs|"+id)
					if err != nil {
						t.Error(err)
						return
					}
					if a.status != 409 {
						break
					}
					mu.Lock()
					conflicts++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if got := len(c.s.Resources("Observation")); got != 10 {
		t.Errorf("%d resources, want 10", got)
	}
	if conflicts == 0 {
		t.Error("no conflict in 160 overlapping creates")
	}
}

func TestTransactionIsAllOrNothing(t *testing.T) {
	bundle := `{"resourceType":"Bundle","type":"transaction","entry":[` +
		`{"request":{"method":"POST","url":"Observation"},"resource":` + glucose("a") + `},` +
		`{"request":{"method":"POST","url":"Observation"},"resource":{"resourceType":"Observation"}}]}`
	for _, test := range []struct {
		feature        bool
		status, stored int
	}{{false, 200, 1}, {true, 400, 0}} {
		c := newCaller(t, Options{Transactions: test.feature}, nil)
		a := c.do("POST", "", bundle)
		if got := len(c.s.Resources("Observation")); a.status != test.status || got != test.stored {
			t.Errorf("feature %t: %d with %d stored, want %d with %d", test.feature, a.status, got, test.status, test.stored)
		}
	}
}

func TestSwitches(t *testing.T) {
	t.Run("off", func(t *testing.T) {
		c := newCaller(t, Options{}, nil)
		c.s.Switch(func(w *Switches) { w.Off = true })
		if _, err := c.try("GET", "/Observation", ""); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("error %v, want connection refused", err)
		}
		c.s.Switch(func(w *Switches) { w.Off = false })
		if a := c.do("GET", "/Observation", ""); a.status != 200 {
			t.Errorf("back on: %d", a.status)
		}
	})
	t.Run("off on a socket", func(t *testing.T) {
		c := newCaller(t, Options{}, nil)
		srv := httptest.NewServer(c.s)
		defer srv.Close()
		c.s.Switch(func(w *Switches) { w.Off = true })
		if _, err := http.Get(srv.URL + "/healthcheck"); err == nil {
			t.Error("an answer from a server that is off")
		}
		c.s.Switch(func(w *Switches) { w.Off = false })
		res, err := http.Get(srv.URL + "/healthcheck")
		if err != nil || res.StatusCode != 200 {
			t.Errorf("back on: %v", err)
		}
	})
	t.Run("lost answer", func(t *testing.T) {
		c := newCaller(t, Options{}, nil)
		c.s.Switch(func(w *Switches) { w.LoseAnswers = 1 })
		if _, err := c.try("POST", "/Observation", glucose("a")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("error %v, want connection reset", err)
		}
		if a := c.do("POST", "/Observation", glucose("a"), "If-None-Exist", "identifier=urn:lab:obs|a"); a.status != 200 {
			t.Errorf("asked again: %d, want 200, it was stored", a.status)
		}
	})
	t.Run("conflicts", func(t *testing.T) {
		c := newCaller(t, Options{}, nil)
		c.s.Switch(func(w *Switches) { w.Conflicts = 1 })
		for _, want := range []int{409, 201} {
			if a := c.do("POST", "/Observation", glucose("a"), "If-None-Exist", "identifier=urn:lab:obs|a"); a.status != want {
				t.Errorf("status %d, want %d", a.status, want)
			}
		}
	})
	t.Run("poison", func(t *testing.T) {
		c := newCaller(t, Options{}, nil)
		c.s.Switch(func(w *Switches) {
			w.Fail = func(typ string, resource []byte) *Failure {
				if strings.Contains(string(resource), "poison") {
					return &Failure{Status: 400, Code: "invalid", Text: "something odd"}
				}
				return nil
			}
		})
		if a := c.do("POST", "/Observation", glucose("poison")); a.status != 400 || a.text() != "something odd" {
			t.Errorf("poisoned: %d %s", a.status, a.text())
		}
		if a := c.do("POST", "/Observation", glucose("fine")); a.status != 201 {
			t.Errorf("fine: %d", a.status)
		}
	})
	t.Run("slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCaller(t, Options{}, nil)
			c.s.Switch(func(w *Switches) { w.Delay = 20 * time.Second })
			start := time.Now()
			c.do("GET", "/Observation", "")
			if took := time.Since(start); took != 20*time.Second {
				t.Errorf("took %v", took)
			}
			c.http.Timeout = 5 * time.Second
			if _, err := c.try("GET", "/Observation", ""); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want a timeout", err)
			}
		})
	})
}

// With Redis stopped requests hang; when it is back they are answered 401, for the tokens were in it.
func TestRedisStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{}, nil)
		token := c.s.issueFor(t, c.c)
		c.s.Switch(func(w *Switches) { w.RedisDown = true })
		go func() {
			time.Sleep(4 * time.Second)
			c.s.Switch(func(w *Switches) { w.RedisDown = false })
		}()
		start := time.Now()
		if a := c.do("POST", "/Observation", glucose("a"), "Authorization", "Bearer "+token); a.status != 401 || time.Since(start) != 4*time.Second {
			t.Errorf("%d after %v, want 401 after 4s", a.status, time.Since(start))
		}
	})
}

func (s *Server) issueFor(t *testing.T, client Client) string {
	t.Helper()
	body := "grant_type=client_credentials&client_id=" + client.ID + "&client_secret=" + client.Secret
	res, err := (&http.Client{Transport: s}).Post("http://sandbox/oauth2/token", "application/x-www-form-urlencoded", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&token); err != nil || strings.Count(token.AccessToken, ".") != 2 {
		t.Fatalf("no token in %d: %v", res.StatusCode, err)
	}
	return token.AccessToken
}

func TestTokens(t *testing.T) {
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	clock := now
	c := newCaller(t, Options{Clock: func() time.Time { return clock }}, nil)
	ask := func(authorization string) int {
		return c.do("GET", "/Observation", "", "Authorization", authorization).status
	}
	token := c.s.issueFor(t, c.c)
	if got := ask("Bearer " + token); got != 200 {
		t.Errorf("fresh: %d", got)
	}
	if got := ask("bearer " + token); got != 401 {
		t.Errorf("lower-case scheme: %d, want 401", got)
	}
	c.s.Change(c.c.ID, func(c *Client) { c.Disabled = true })
	if got := ask("Bearer " + token); got != 200 {
		t.Errorf("client switched off, token issued before: %d, want 200", got)
	}
	clock = now.Add(time.Hour)
	if got := ask("Bearer " + token); got != 401 {
		t.Errorf("expired: %d, want 401", got)
	}
	c.s.Change(c.c.ID, func(c *Client) { c.Disabled, c.Lifetime = false, 100*24*time.Hour })
	token = c.s.issueFor(t, c.c)
	clock = clock.Add(24 * time.Hour)
	if got := ask("Bearer " + token); got != 401 {
		t.Errorf("after Redis' 24 h: %d, want 401", got)
	}
	token = c.s.issueFor(t, c.c)
	c.s.DropTokens()
	if got := ask("Bearer " + token); got != 401 {
		t.Errorf("after a flush: %d, want 401", got)
	}
}
