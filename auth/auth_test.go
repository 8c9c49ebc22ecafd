package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const (
	testID     = "6f2c0000-0000-4000-8000-000000000001"
	testSecret = "geheim+/=%&:tee"
)

// place is a server made of a function, which counts what is asked of it.
type place struct {
	mu     sync.Mutex
	token  func(n int) (*http.Response, error) // the n-th token request, from 1
	api    func(r *http.Request) (*http.Response, error)
	tokens int
	apis   int
	*heard
}

// heard is what came; behind a pointer, since tests print what holds a place.
type heard struct {
	seen    []string // "origin path authorization"
	carried []string // bodies
}

func (p *place) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	p.mu.Lock()
	if p.heard == nil {
		p.heard = &heard{}
	}
	p.seen = append(p.seen, fmt.Sprintf("%s%s %s", origin(r.URL), r.URL.Path, r.Header.Get("Authorization")))
	p.carried = append(p.carried, string(body))
	if r.URL.Path == "/oauth2/token" {
		p.tokens++
		n := p.tokens
		p.mu.Unlock()
		if p.token == nil {
			return answer(200, fmt.Sprintf(`{"token_type":"Bearer","access_token":"T%d","expires_in":3600}`, n)), nil
		}
		return p.token(n)
	}
	p.apis++
	p.mu.Unlock()
	if p.api == nil {
		return answer(201, "{}"), nil
	}
	return p.api(r)
}

func answer(status int, body string, headers ...string) *http.Response {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// client is a way in that is not renewed in the background.
func client(t *testing.T, p *place, change func(*Config)) *http.Client {
	t.Helper()
	return build(t, p, change).Client
}

// running is a way in that is renewed in the background until the test ends; in a bubble of synctest only.
func running(t *testing.T, p *place, change func(*Config)) *http.Client {
	t.Helper()
	a := build(t, p, change)
	go a.Run(t.Context())
	return a.Client
}

func build(t *testing.T, p *place, change func(*Config)) *Access {
	t.Helper()
	c := Config{ClientID: testID, Secret: func() (string, error) { return testSecret, nil }, Server: "https://lab.example/", Network: p}
	if change != nil {
		change(&c)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func post(h *http.Client, body string) (int, error) {
	resp, err := h.Post("https://lab.example/fhir/R4/Observation", "application/fhir+json", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, nil
}

func TestTokenIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		h := running(t, p, nil)
		for range 47 { // 47 minutes: up to 80 % of the hour
			if status, err := post(h, "x"); status != 201 || err != nil {
				t.Fatal(status, err)
			}
			time.Sleep(time.Minute)
		}
		if p.tokens != 1 || p.apis != 47 {
			t.Errorf("%d token requests for %d calls, want 1 for 47", p.tokens, p.apis)
		}
		time.Sleep(time.Hour/10 - time.Second) // nothing waits: nothing is asked for
		synctest.Wait()
		if p.tokens != 1 {
			t.Errorf("%d token requests while nothing waits, want 1", p.tokens)
		}
		post(h, "x") // takes the old one, and has it renewed
		synctest.Wait()
		calls := slices.DeleteFunc(slices.Clone(p.seen), func(s string) bool { return !strings.Contains(s, "Bearer") })
		if last := calls[len(calls)-1]; !strings.HasSuffix(last, "Bearer T1") {
			t.Errorf("a call waited for the renewal: %q", last)
		}
		post(h, "x")
		if p.tokens != 2 || !strings.HasSuffix(p.seen[len(p.seen)-1], "Bearer T2") {
			t.Errorf("%d token requests after 80 %% of the life, want 2; last call %q", p.tokens, p.seen[len(p.seen)-1])
		}
		form := p.carried[0]
		if !strings.Contains(form, "grant_type=client_credentials") || !strings.Contains(form, "client_secret=geheim%2B%2F%3D%25%26%3Atee") {
			t.Errorf("token request body is %q", form)
		}
		if !strings.HasSuffix(p.seen[0], "/oauth2/token ") {
			t.Errorf("token request has an Authorization header: %q", p.seen[0])
		}
	})
}

func TestTokenLife(t *testing.T) {
	for _, test := range []struct {
		name, expires string
		renewed       time.Duration // calls from then on want a new token
	}{
		{"an hour", `,"expires_in":3600`, 48 * time.Minute},
		{"as text", `,"expires_in":"3600"`, 48 * time.Minute},
		{"three seconds", `,"expires_in":3`, 2400 * time.Millisecond},
		{"zero", `,"expires_in":0`, 4 * time.Minute},
		{"missing", ``, 4 * time.Minute},
		{"null", `,"expires_in":null`, 4 * time.Minute},
		{"negative", `,"expires_in":-5`, 4 * time.Minute},
		{"a hundred years", `,"expires_in":3155760000`, 24 * time.Hour * 8 / 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &place{token: func(n int) (*http.Response, error) {
					return answer(200, fmt.Sprintf(`{"access_token":"T%d","token_type":"Bearer"%s}`, n, test.expires)), nil
				}}
				h := running(t, p, nil)
				post(h, "x")
				time.Sleep(test.renewed - time.Millisecond)
				post(h, "x")
				synctest.Wait()
				if p.tokens != 1 {
					t.Errorf("%d token requests before %v, want 1", p.tokens, test.renewed)
				}
				time.Sleep(time.Millisecond)
				post(h, "x")
				synctest.Wait()
				if p.tokens != 2 {
					t.Errorf("%d token requests after %v, want 2", p.tokens, test.renewed)
				}
			})
		})
	}
}

func TestOneFetchAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		p.token = func(n int) (*http.Response, error) {
			time.Sleep(2 * time.Second)
			return answer(200, `{"access_token":"T","expires_in":3600}`), nil
		}
		h := client(t, p, nil)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if status, err := post(h, "x"); status != 201 {
					t.Error(status, err)
				}
			})
		}
		wg.Wait()
		if p.tokens != 1 {
			t.Errorf("ten callers made %d token requests, want 1", p.tokens)
		}
	})
}

// A failure is the answer to everybody until its pause is over.
func TestFailureIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		p.token = func(n int) (*http.Response, error) { return answer(500, `{"msg":"Internal Server Error"}`), nil }
		h := client(t, p, nil)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				var e *Error
				if _, err := post(h, "x"); !errors.As(err, &e) || e.Ours || e.Wait <= 0 {
					t.Errorf("got %v, want the weather and a pause", err)
				}
			})
		}
		wg.Wait()
		if p.tokens != 1 {
			t.Errorf("ten callers of a failing endpoint made %d requests, want 1", p.tokens)
		}
		began := time.Now()
		for time.Since(began) < 3*time.Hour {
			post(h, "x")
			time.Sleep(time.Second)
		}
		if p.tokens < 3*60/2 || p.tokens > 3*60 {
			t.Errorf("%d attempts in 3 h of outage, want one a minute at most", p.tokens)
		}
		if p.apis != 0 {
			t.Errorf("%d calls went out without a token", p.apis)
		}
		p.token = nil
		time.Sleep(2 * time.Minute)
		if status, err := post(h, "x"); status != 201 {
			t.Errorf("two minutes after the outage: %d %v", status, err)
		}
	})
}

// The old token serves while a new one cannot be had.
func TestRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		h := running(t, p, nil)
		post(h, "x")
		time.Sleep(50 * time.Minute)
		p.token = func(n int) (*http.Response, error) { return nil, syscall.ECONNREFUSED }
		for range 9 {
			if status, err := post(h, "x"); status != 201 {
				t.Fatal(status, err)
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Minute)
		if _, err := post(h, "x"); err == nil {
			t.Error("a token was used beyond its life")
		}
	})
}

func TestTokenLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		valid := "Bearer T1"
		p.api = func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("Authorization") != valid {
				return answer(401, `{"resourceType":"OperationOutcome","id":"unauthorized"}`), nil
			}
			return answer(201, "{}"), nil
		}
		h := client(t, p, nil)
		post(h, "first")
		valid = "Bearer T2"
		if status, err := post(h, "second"); status != 201 || err != nil {
			t.Fatal(status, err)
		}
		if p.tokens != 2 || p.apis != 3 {
			t.Errorf("%d tokens and %d calls, want 2 and 3", p.tokens, p.apis)
		}
		if n := len(p.carried); p.carried[n-1] != "second" || p.carried[n-3] != "second" {
			t.Errorf("the repeat carried %q, want the whole body again", p.carried[n-1])
		}

		// No token is good any more: one repeat, then an answer without asking until a minute is over.
		valid = "none"
		if status, err := post(h, "third"); status != 401 || err != nil {
			t.Errorf("got %d %v, want the 401", status, err)
		}
		tokens, apis := p.tokens, p.apis
		for range 100 {
			var e *Error
			if _, err := post(h, "fourth"); !errors.As(err, &e) || !e.Ours {
				t.Fatalf("got %v, want our fault", err)
			}
		}
		if p.tokens != tokens || p.apis != apis {
			t.Errorf("%d tokens and %d calls within the pause, want none", p.tokens-tokens, p.apis-apis)
		}
		valid = fmt.Sprintf("Bearer T%d", p.tokens+1)
		time.Sleep(80 * time.Second)
		if status, err := post(h, "fifth"); status != 201 {
			t.Errorf("after the pause: %d %v", status, err)
		}
	})
}

// The membership was deleted and made anew: the old token answers 410 for ever, a new one works.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		p.api = func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("Authorization") == "Bearer T1" {
				return answer(410, `{"resourceType":"OperationOutcome","id":"gone"}`), nil
			}
			return answer(201, "{}"), nil
		}
		h := client(t, p, nil)
		if status, err := post(h, "x"); status != 410 || err != nil {
			t.Errorf("got %d %v, want the 410", status, err)
		}
		if status, err := post(h, "x"); status != 201 || err != nil {
			t.Errorf("got %d %v, want 201 with the next token", status, err)
		}
	})
}

// silent checks that the secret and tokens are in nothing that may reach a log.
func silent(t *testing.T, values ...any) {
	t.Helper()
	for _, v := range values {
		var logged bytes.Buffer
		slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "v", v)
		asJSON, _ := json.Marshal(v)
		for _, text := range []string{fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), fmt.Sprintf("%q", v), logged.String(), string(asJSON)} {
			for _, secret := range []string{testSecret, "geheim", "Bearer T", "Basic Nm"} {
				if strings.Contains(text, secret) {
					t.Errorf("a secret shows in %T: %.300s", v, text)
				}
			}
		}
	}
}

func TestNothingShowsTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		h := client(t, p, nil)
		post(h, "x")
		tok := h.Transport.(*transport).access.(*tokens)
		silent(t, tok.current, &tok.current, *h.Transport.(*transport), Config{Secret: tok.c.Secret})
	})
}

func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		h := client(t, p, func(c *Config) {
			c.Network = roundTrip(func(r *http.Request) (*http.Response, error) {
				if strings.HasSuffix(r.URL.Path, "token") {
					return hang(r)
				}
				return p.RoundTrip(r)
			})
		})
		began := time.Now()
		_, err := post(h, "x")
		var e *Error
		if !errors.As(err, &e) || e.Ours || time.Since(began) != 30*time.Second {
			t.Errorf("got %v after %v, want the weather after 30s", err, time.Since(began))
		}
		if !strings.Contains(err.Error(), "no answer in time") {
			t.Errorf("text is %q", err)
		}
		// One caller gives up: that is no failure of the endpoint.
		time.Sleep(2 * time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		req, _ := http.NewRequestWithContext(ctx, "POST", "https://lab.example/fhir/R4", strings.NewReader("x"))
		if _, err := h.Do(req); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want canceled", err)
		}
		if _, settled, _ := h.Transport.(*transport).access.(*tokens).look(); settled {
			t.Error("a caller that gave up left a pause behind")
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOtherOrigins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, location := range []string{"https://lab.example/elsewhere", "https://evil.example/fhir/R4/Observation", "http://lab.example/"} {
			for _, status := range []int{301, 302, 303, 307, 308} {
				p := &place{api: func(*http.Request) (*http.Response, error) { return answer(status, "", "Location", location), nil }}
				if got, err := post(client(t, p, nil), "a patient"); got != status || err != nil {
					t.Errorf("got %d %v, want the %d itself", got, err, status)
				}
				if p.apis != 1 {
					t.Errorf("%d to %s: %d calls, want 1", status, location, p.apis)
				}
			}
		}
		p := &place{}
		h := client(t, p, nil)
		for _, target := range []string{"https://evil.example/", "http://lab.example/", "https://lab.example:8443/", "https://lab.example.evil.example/"} {
			var e *Error
			if _, err := h.Post(target, "text/plain", strings.NewReader("a patient")); !errors.As(err, &e) || !e.Ours {
				t.Errorf("%s: got %v, want our fault", target, err)
			}
		}
		if p.heard != nil {
			t.Errorf("requests went out: %q", p.seen)
		}
		if resp, err := h.Get("https://LAB.example:443/x"); err != nil || resp.StatusCode != 201 {
			t.Errorf("the same origin written otherwise: %v", err)
		}
	})
}

func TestNoCredentialsAsked(t *testing.T) {
	p := &place{}
	req, _ := http.NewRequest("GET", "https://lab.example/healthcheck", nil)
	req.Header["Authorization"] = nil
	if _, err := client(t, p, nil).Do(req); err != nil {
		t.Fatal(err)
	}
	if want := "https://lab.example:443/healthcheck "; len(p.seen) != 1 || p.seen[0] != want {
		t.Errorf("sent %q, want %q", p.seen, want)
	}
}

func TestBasic(t *testing.T) {
	p := &place{api: func(*http.Request) (*http.Response, error) { return answer(401, "{}"), nil }}
	h := client(t, p, func(c *Config) { c.Method = "basic" })
	if status, err := post(h, "x"); status != 401 || err != nil {
		t.Errorf("got %d %v, want the 401", status, err)
	}
	req, _ := http.NewRequest("GET", "https://lab.example/", nil)
	req.SetBasicAuth(testID, testSecret)
	if want := "https://lab.example:443/fhir/R4/Observation " + req.Header.Get("Authorization"); len(p.seen) != 1 || p.seen[0] != want {
		t.Errorf("sent %q, want once %q", p.seen, want)
	}
	silent(t, h.Transport, *h.Transport.(*transport))
}

func TestConfig(t *testing.T) {
	good := Config{ClientID: "c", Secret: func() (string, error) { return "s", nil }, Server: "https://lab.example"}
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string // in the error; empty: it is fine
	}{
		{"https", func(c *Config) {}, ""},
		{"loopback by name", func(c *Config) { c.Server = "http://localhost:8103/" }, ""},
		{"loopback v4", func(c *Config) { c.Server = "http://127.0.0.1:8103/" }, ""},
		{"loopback v6", func(c *Config) { c.Server = "http://[::1]:8103/" }, ""},
		{"http", func(c *Config) { c.Server = "http://lab.example/" }, "https"},
		{"http to the LAN", func(c *Config) { c.Server = "http://10.1.2.3/" }, "https"},
		{"http that looks like loopback", func(c *Config) { c.Server = "http://127.0.0.1.evil.example/" }, "https"},
		{"http token endpoint", func(c *Config) { c.TokenURL = "http://lab.example/oauth2/token" }, "https"},
		{"other token endpoint", func(c *Config) { c.TokenURL = "https://login.example/token" }, ""},
		{"password in the URL", func(c *Config) { c.Server = "https://u:hush@lab.example/" }, "password"},
		{"no URL", func(c *Config) { c.Server = "lab.example" }, "host"},
		{"ftp", func(c *Config) { c.Server = "ftp://lab.example/" }, "scheme"},
		{"no id", func(c *Config) { c.ClientID = "" }, "client id"},
		{"method", func(c *Config) { c.Method = "magic" }, "magic"},
		{"no ca file", func(c *Config) { c.CAFile = "testdata/none.pem" }, "ca file"},
		{"empty ca file", func(c *Config) { c.CAFile = "auth.go" }, "no certificate"},
		{"proxy", func(c *Config) { c.Proxy = "http://u:p@proxy:3128" }, ""},
		{"bad proxy", func(c *Config) { c.Proxy = "hush@:pro xy" }, "proxy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.change(&c)
			_, err := Client(c)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v, want none", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q in it", err, test.want)
			case err != nil && strings.Contains(err.Error(), "hush"):
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

func TestProxy(t *testing.T) {
	carrier, err := network(Config{Proxy: "http://u:p@proxy.example:3128"})
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"https://lab.example/": "http://u:p@proxy.example:3128", "http://127.0.0.1:8103/": "", "http://localhost/": "",
	} {
		req, _ := http.NewRequest("GET", target, nil)
		got := ""
		if u, err := carrier.(*http.Transport).Proxy(req); err != nil || u != nil {
			got = u.String()
		}
		if got != want {
			t.Errorf("%s goes by %q, want %q", target, got, want)
		}
	}
}

func TestAnswerTooLong(t *testing.T) {
	p := &place{api: func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(endless{})}, nil
	}}
	resp, err := client(t, p, nil).Get("https://lab.example/")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != maxAnswer || !errors.Is(err, errTooLong) {
		t.Errorf("read %d bytes, %v, want %d and an error", n, err, maxAnswer)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// within is a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
