package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// kinds writes what came to a place as words: T(secret), T(assertion), A(bearer), A(basic), A(nothing); and counts the
// requests that carried the secret itself.
func (p *place) kinds() (words string, secrets int) {
	if p.heard == nil {
		return "", 0
	}
	var list []string
	for i, line := range p.seen {
		where, authorization, _ := strings.Cut(line, " ")
		word := "A"
		if strings.HasSuffix(where, "/oauth2/token") {
			word = "T"
		}
		form, _ := url.ParseQuery(p.carried[i])
		kind := "nothing"
		switch {
		case word == "T" && authorization != "":
			kind = "header"
		case form.Get("client_secret") != "":
			kind = "secret"
		case form.Get("client_assertion") != "":
			kind = "assertion"
		case strings.HasPrefix(authorization, "Bearer "):
			kind = "bearer"
		case strings.HasPrefix(authorization, "Basic "):
			kind = "basic"
		}
		list = append(list, word+"("+kind+")")
		plain, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(authorization, "Basic "))
		if strings.Contains(form.Encode()+authorization+string(plain), testSecret) || form.Get("client_secret") == testSecret {
			secrets++
		}
	}
	return strings.Join(list, " "), secrets
}

// reply is what a server does with a request.
type reply = func(*http.Request) (*http.Response, error)

func says(status int, body string, headers ...string) reply {
	return func(*http.Request) (*http.Response, error) { return answer(status, body, headers...), nil }
}

func fails(err error) reply { return func(*http.Request) (*http.Response, error) { return nil, err } }

// once gives the first answer once and then the second.
func once(first, then reply) reply {
	n := 0
	return func(r *http.Request) (*http.Response, error) {
		if n++; n == 1 {
			return first(r)
		}
		return then(r)
	}
}

const (
	outcome401 = `{"resourceType":"OperationOutcome","id":"unauthorized","issue":[{"severity":"error","code":"login"}]}`
	noDatabase = `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","details":{"text":"connect ECONNREFUSED 127.0.0.1:5432"}}]}`
	granted    = `{"access_token":"T1","token_type":"Bearer","expires_in":3600}`
)

func refusedWith(text string) reply {
	return says(400, fmt.Sprintf(`{"error":"invalid_request","error_description":%q}`, text))
}

// Each row: what the token endpoint and the API answer, and all that goes out for three calls: two at once, a third
// after five seconds. No row ever sends a secret a second time where the first was refused.
func TestAnswers(t *testing.T) {
	const minute, first, person = time.Minute, 65 * time.Second, 75 * time.Second
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for _, test := range []struct {
		name       string
		token, api reply // nil: a token, 201
		sent       string
		secrets    int
		ours       bool          // whose fault the error of the first call is; without text there is none
		refused    bool          // the server named our credentials
		least      time.Duration // the pause is at least
		most       time.Duration
		text       string // is in the error
		status     int    // of the first call, without an error
	}{
		// What the token endpoint says no with.
		{"wrong secret", refusedWith("Invalid secret"), nil, "T(secret)", 1, true, true, minute, person, "Invalid secret", 0},
		{"unknown client", refusedWith("Invalid client"), nil, "T(secret)", 1, true, true, minute, person, "Invalid client", 0},
		{"ip blocked", refusedWith("IP address not allowed"), nil, "T(secret)", 1, true, true, minute, person, "IP address", 0},
		{"missing secret", refusedWith("Missing client_secret"), nil, "T(secret)", 1, true, true, minute, person, "Missing client_secret", 0},
		{"policy deleted", refusedWith("Cannot authenticate: Invalid access policy configuration"), nil, "T(secret)", 1, true, true, minute, person, "access policy", 0},
		{"unsupported grant in Medplum's words", refusedWith("Unsupported grant_type"), nil, "T(secret)", 1, true, true, minute, person, "Unsupported", 0},
		{"secret repeated by the server", refusedWith("no such secret " + testSecret), nil, "T(secret)", 1, true, true, minute, person, "no such secret ***", 0},
		{"401 invalid_client", says(401, `{"error":"invalid_client"}`), nil, "T(secret)", 1, true, true, minute, person, "invalid_client", 0},
		{"400 invalid_scope", says(400, `{"error":"invalid_scope"}`), nil, "T(secret)", 1, true, true, minute, person, "invalid_scope", 0},
		{"400 unauthorized_client", says(400, `{"error":"unauthorized_client"}`), nil, "T(secret)", 1, true, true, minute, person, "unauthorized_client", 0},
		{"400 unsupported_grant_type", says(400, `{"error":"unsupported_grant_type"}`), nil, "T(secret)", 1, true, false, minute, person, "no client credentials", 0},
		{"401 bare", says(401, ``), nil, "T(secret)", 1, true, true, minute, person, "401", 0},
		{"403 page", says(403, `<html>`), nil, "T(secret)", 1, true, true, minute, person, "403", 0},
		{"200 with error", says(200, `{"error":"unauthorized_client"}`), nil, "T(secret)", 1, true, true, minute, person, "unauthorized_client", 0},
		{"error in a form", says(400, `error=invalid_client&error_description=no`, "Content-Type", "application/x-www-form-urlencoded"), nil, "T(secret)", 1, true, true, minute, person, "invalid_client", 0},
		{"404 page", says(404, `<!DOCTYPE html>`), nil, "T(secret)", 1, true, false, minute, person, "URL", 0},
		{"404 with an OAuth error", says(404, `{"error":"invalid_client"}`), nil, "T(secret)", 1, true, true, minute, person, "invalid_client", 0},
		{"405", says(405, ``), nil, "T(secret)", 1, true, false, minute, person, "URL", 0},
		{"501", says(501, ``), nil, "T(secret)", 1, true, false, minute, person, "URL", 0},
		{"407", says(407, ``), nil, "T(secret)", 1, true, false, minute, person, "407", 0},
		{"301", says(301, ``, "Location", "https://evil.example/oauth2/token"), nil, "T(secret)", 1, true, false, minute, person, "redirect", 0},
		{"302", says(302, ``, "Location", "/oauth2/token/"), nil, "T(secret)", 1, true, false, minute, person, "redirect", 0},
		{"303", says(303, ``, "Location", "https://evil.example/"), nil, "T(secret)", 1, true, false, minute, person, "redirect", 0},
		{"307", says(307, ``, "Location", "https://evil.example/oauth2/token"), nil, "T(secret)", 1, true, false, minute, person, "redirect", 0},
		{"308", says(308, ``, "Location", "https://lab.example/oauth2/token2"), nil, "T(secret)", 1, true, false, minute, person, "redirect", 0},
		// Weather at the token endpoint.
		{"database down", says(400, noDatabase), nil, "T(secret)", 1, false, false, minute, first, "400", 0},
		{"400 empty", says(400, ``), nil, "T(secret)", 1, false, false, minute, first, "400", 0},
		{"408", says(408, ``), nil, "T(secret)", 1, false, false, minute, first, "408", 0},
		{"429 with RateLimit", says(429, `{"resourceType":"OperationOutcome"}`, "RateLimit", `"requests";r=0;t=16`), nil, "T(secret)", 1, false, false, 16 * time.Second, 26 * time.Second, "429", 0},
		{"429 with Retry-After", says(429, ``, "Retry-After", "7"), nil, "T(secret)", 1, false, false, minute, first, "429", 0},
		{"429 with a long Retry-After", says(429, ``, "Retry-After", "300"), nil, "T(secret)", 1, false, false, 300 * time.Second, 310 * time.Second, "429", 0},
		{"429 bare", says(429, ``), nil, "T(secret)", 1, false, false, minute, first, "429", 0},
		{"429 with an OAuth error", says(429, `{"error":"unsupported_grant_type"}`), nil, "T(secret)", 1, false, false, minute, first, "429", 0},
		{"500", says(500, `{"msg":"Internal Server Error"}`), nil, "T(secret)", 1, false, false, minute, first, "500", 0},
		{"500 with unsupported_grant_type", says(500, `{"error":"unsupported_grant_type"}`), nil, "T(secret)", 1, false, false, minute, first, "500", 0},
		{"502 page", says(502, `<html>`, "Content-Type", "text/html"), nil, "T(secret)", 1, false, false, minute, first, "502", 0},
		{"503 with Retry-After", says(503, ``, "Retry-After", "3"), nil, "T(secret)", 1, false, false, minute, first, "503", 0},
		{"504", says(504, ``), nil, "T(secret)", 1, false, false, minute, first, "504", 0},
		{"temporarily_unavailable", says(400, `{"error":"temporarily_unavailable"}`), nil, "T(secret)", 1, false, false, minute, first, "400", 0},
		{"captive portal", says(200, `<html>please log in`), nil, "T(secret)", 1, false, false, minute, first, "no token", 0},
		{"no token in it", says(200, `{"token_type":"Bearer"}`), nil, "T(secret)", 1, false, false, minute, first, "no token", 0},
		{"half an answer", says(200, `{"access_token":"T`), nil, "T(secret)", 1, false, false, minute, first, "no token", 0},
		{"refused connection", fails(dial), nil, "T(secret)", 1, false, false, minute, first, "connection refused", 0},
		{"reset", fails(syscall.ECONNRESET), nil, "T(secret)", 1, false, false, minute, first, "broken off", 0},
		{"no name", fails(&net.DNSError{Name: "lab.example", IsNotFound: true}), nil, "T(secret)", 1, false, false, minute, first, "lab.example", 0},
		{"hang", hang, nil, "T(secret)", 1, false, false, minute, first, "no answer in time", 0},
		// A token, and what the API says.
		{"all is well", nil, nil, "T(secret) A(bearer) A(bearer) A(bearer)", 1, false, false, 0, 0, "", 201},
		{"401 once", nil, once(says(401, outcome401), says(201, "{}")), "T(secret) A(bearer) T(secret) A(bearer) A(bearer) A(bearer)", 2, false, false, 0, 0, "", 201},
		{"401 for ever", nil, says(401, outcome401), "T(secret) A(bearer) T(secret) A(bearer)", 2, false, false, 0, 0, "", 401},
		{"401, then no new token", once(says(200, granted), refusedWith("Invalid client")), says(401, outcome401), "T(secret) A(bearer) T(secret)", 2, true, true, minute, person, "Invalid client", 0},
		{"401, then the endpoint is down", once(says(200, granted), says(503, "")), says(401, outcome401), "T(secret) A(bearer) T(secret)", 2, false, false, minute, first, "503", 0},
		{"403", nil, says(403, `{"resourceType":"OperationOutcome","id":"forbidden"}`), "T(secret) A(bearer) A(bearer) A(bearer)", 1, false, false, 0, 0, "", 403},
		{"410", nil, once(says(410, `{"resourceType":"OperationOutcome","id":"gone"}`), says(201, "{}")), "T(secret) A(bearer) T(secret) A(bearer) A(bearer)", 2, false, false, 0, 0, "", 410},
		{"400 structure", nil, says(400, `{"resourceType":"OperationOutcome"}`), "T(secret) A(bearer) A(bearer) A(bearer)", 1, false, false, 0, 0, "", 400},
		{"429 of the API", nil, says(429, ``, "RateLimit", `"fhirInteractions";r=0;t=9`), "T(secret) A(bearer) A(bearer) A(bearer)", 1, false, false, 0, 0, "", 429},
		{"500 of the API", nil, says(500, ``), "T(secret) A(bearer) A(bearer) A(bearer)", 1, false, false, 0, 0, "", 500},
		{"307 of the API", nil, says(307, ``, "Location", "https://evil.example/"), "T(secret) A(bearer) A(bearer) A(bearer)", 1, false, false, 0, 0, "", 307},
		{"API reset", nil, fails(syscall.ECONNRESET), "T(secret) A(bearer) A(bearer) A(bearer)", 1, false, false, 0, 0, "broken off", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &place{}
				if test.token != nil {
					p.token = func(int) (*http.Response, error) { return test.token(mustRequest(t)) }
				}
				p.api = test.api
				var states []State
				h := running(t, p, func(c *Config) { c.Watch = func(s State) { states = append(states, s) } })
				status, err := post(h, "a patient's name")
				post(h, "another")
				time.Sleep(5 * time.Second)
				post(h, "a third")
				synctest.Wait()
				var e *Error
				switch {
				case test.text == "":
					if status != test.status || err != nil {
						t.Errorf("got %d %v, want %d", status, err, test.status)
					}
				case !errors.As(err, &e):
					t.Fatalf("got %v, want an *Error", err)
				default:
					if e.Ours != test.ours || e.Refused != test.refused {
						t.Errorf("ours %v, refused %v, want %v, %v", e.Ours, e.Refused, test.ours, test.refused)
					}
					if e.Wait < test.least || e.Wait > test.most {
						t.Errorf("pause %v, want %v to %v", e.Wait, test.least, test.most)
					}
					if !strings.Contains(e.Text, test.text) {
						t.Errorf("text %q, want %q in it", e.Text, test.text)
					}
				}
				sent, secrets := p.kinds()
				if sent != test.sent || secrets != test.secrets {
					t.Errorf("sent %s with the secret in %d, want %s with %d", sent, secrets, test.sent, test.secrets)
				}
				if n := strings.Count(sent, "T("); len(states) < n {
					t.Errorf("told %d states of %d attempts", len(states), n)
				}
				silent(t, err, e, states, h.Transport, slog.AnyValue(err))
				for _, s := range p.seen {
					if !strings.HasPrefix(s, "https://lab.example:443/") {
						t.Errorf("a request went to %s", s)
					}
				}
				for i, body := range p.carried {
					if strings.Contains(body, testSecret) || strings.Contains(body, "patient") && strings.HasSuffix(strings.Fields(p.seen[i])[0], "token") {
						t.Errorf("request %d carries what it should not", i)
					}
				}
			})
		})
	}
}

// mustRequest is a request with a context that ends, for answers that hang.
func mustRequest(t *testing.T) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t, 30*time.Second), "POST", "https://lab.example/oauth2/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// When Basic may stand in, exactly.
func TestFallback(t *testing.T) {
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	for _, test := range []struct {
		name  string
		token reply
		enter bool
	}{
		{"404 page", says(404, `<!DOCTYPE html>`, "Content-Type", "text/html"), true},
		{"404 empty", says(404, ``), true},
		{"404 with another JSON", says(404, `{"resourceType":"OperationOutcome"}`), true},
		{"405", says(405, ``), true},
		{"501", says(501, ``), true},
		{"400 unsupported_grant_type", says(400, `{"error":"unsupported_grant_type"}`), true},
		{"400 unsupported_grant_type in a form", says(400, `error=unsupported_grant_type`, form...), true},
		{"404 unsupported_grant_type", says(404, `{"error":"unsupported_grant_type"}`), true},
		{"404 invalid_client", says(404, `{"error":"invalid_client"}`), false},
		{"404 invalid_client as text", says(404, `{"error":"invalid_client"}`, "Content-Type", "text/plain"), false},
		{"405 invalid_request", says(405, `{"error":"invalid_request"}`), false},
		{"501 server_error", says(501, `{"error":"server_error"}`), false},
		{"400 invalid_client", says(400, `{"error":"invalid_client"}`), false},
		{"400 invalid_request", says(400, `{"error":"invalid_request","error_description":"Unsupported grant_type"}`), false},
		{"400 almost", says(400, `{"error":"Unsupported_Grant_Type"}`), false},
		{"400 unauthorized_client", says(400, `{"error":"unauthorized_client"}`), false},
		{"400 empty", says(400, ``), false},
		{"401 bare", says(401, ``), false},
		{"403 page", says(403, `<html>`), false},
		{"410", says(410, ``), false},
		{"429", says(429, ``), false},
		{"429 unsupported_grant_type", says(429, `{"error":"unsupported_grant_type"}`), false},
		{"500", says(500, ``), false},
		{"500 unsupported_grant_type", says(500, `{"error":"unsupported_grant_type"}`), false},
		{"503", says(503, ``), false},
		{"301", says(301, ``, "Location", "/elsewhere"), false},
		{"307 unsupported_grant_type", says(307, `{"error":"unsupported_grant_type"}`, "Location", "/elsewhere"), false},
		{"captive portal", says(200, `<html>`), false},
		{"no name", fails(&net.DNSError{Name: "lab.example", IsNotFound: true}), false},
		{"refused connection", fails(syscall.ECONNREFUSED), false},
		{"TLS", fails(errors.New("tls: handshake failure")), false},
		{"hang", hang, false},
	} {
		for _, fallback := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, allowed %t", test.name, fallback), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := &place{token: func(int) (*http.Response, error) { return test.token(mustRequest(t)) }}
					var last State
					h := running(t, p, func(c *Config) {
						c.BasicFallback = fallback
						c.Watch = func(s State) { last = s }
					})
					status, err := post(h, "x")
					post(h, "y")
					want, secrets := "T(secret)", 1
					if test.enter && fallback {
						want, secrets = "T(secret) A(basic) A(basic)", 3
						if status != 201 {
							t.Errorf("got %d %v, want 201", status, err)
						}
					} else if err == nil {
						t.Error("got no error")
					}
					if sent, n := p.kinds(); sent != want || n != secrets {
						t.Errorf("sent %s with the secret in %d, want %s with %d", sent, n, want, secrets)
					}
					if last.Basic != (test.enter && fallback) {
						t.Errorf("told Basic %t", last.Basic)
					}
				})
			})
		}
	}
}

// Basic stands in until OAuth is there; it is looked for every ten minutes while something waits, beside the calls.
func TestFallbackIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{token: func(int) (*http.Response, error) { return answer(404, ""), nil }}
		var states []State
		h := running(t, p, func(c *Config) {
			c.BasicFallback = true
			c.Watch = func(s State) { states = append(states, s) }
		})
		for range 61 { // an hour of calls: seven attempts
			if status, err := post(h, "x"); status != 201 {
				t.Fatal(status, err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if p.tokens != 7 {
			t.Errorf("%d attempts in an hour, want 7", p.tokens)
		}
		time.Sleep(5 * time.Hour)
		if p.tokens != 7 {
			t.Errorf("%d attempts more while nothing waits", p.tokens-7)
		}
		// The network fails: nothing is learned, Basic goes on.
		p.token = func(int) (*http.Response, error) { return nil, syscall.ECONNREFUSED }
		post(h, "x")
		synctest.Wait()
		if p.tokens != 8 || !states[len(states)-1].Basic {
			t.Errorf("after a failed look: %d attempts, Basic %t", p.tokens, states[len(states)-1].Basic)
		}
		time.Sleep(3 * time.Minute)
		p.token = nil
		post(h, "x")
		synctest.Wait()
		post(h, "x")
		if last := p.seen[len(p.seen)-1]; !strings.Contains(last, "Bearer T9") || states[len(states)-1].Basic {
			t.Errorf("after OAuth came: sent %q", last)
		}
		// A 401 for Basic is nobody's but the caller's to settle.
		if n := slices.IndexFunc(p.seen, func(s string) bool { return strings.Contains(s, "Bearer") }); n != len(p.seen)-1 {
			t.Errorf("a bearer token at %d of %d", n, len(p.seen))
		}
	})
}

// An endpoint that names our credentials can do OAuth: Basic ends there and then.
func TestFallbackEndsByRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{token: func(int) (*http.Response, error) { return answer(404, ""), nil }}
		h := running(t, p, func(c *Config) { c.BasicFallback = true })
		post(h, "x")
		p.token = func(int) (*http.Response, error) { return answer(400, `{"error":"invalid_client"}`), nil }
		time.Sleep(11 * time.Minute)
		post(h, "x")
		synctest.Wait()
		apis := p.apis
		var e *Error
		if _, err := post(h, "x"); !errors.As(err, &e) || !e.Refused || p.apis != apis {
			t.Errorf("got %v and %d more calls, want the refusal and none", err, p.apis-apis)
		}
	})
}

func TestFallbackBasicRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{token: func(int) (*http.Response, error) { return answer(404, ""), nil }, api: says(401, outcome401)}
		h := running(t, p, func(c *Config) { c.BasicFallback = true })
		if status, err := post(h, "x"); status != 401 {
			t.Errorf("got %d %v, want the 401", status, err)
		}
		if sent, n := p.kinds(); sent != "T(secret) A(basic)" || n != 2 {
			t.Errorf("sent %s", sent)
		}
	})
}
