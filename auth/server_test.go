package auth

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"labagent/sandbox"
)

// Each way a real server refuses an assertion, by what is wrong with it.
func TestAssertionAtTheServer(t *testing.T) {
	text, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	os.WriteFile(file, text, 0o600)
	jwks, err := JWKS(file)
	if err != nil {
		t.Fatal(err)
	}
	otherText, _ := NewKey()
	other := filepath.Join(t.TempDir(), "key.pem")
	os.WriteFile(other, otherText, 0o600)
	const base = "https://lab.example/"
	for _, test := range []struct {
		name   string
		config func(*Config)
		client func(*sandbox.Client)
		later  time.Duration // the server's clock ahead of ours
		want   string        // the refusal; empty: we get in
	}{
		{"right", nil, nil, 0, ""},
		{"clock a little ahead of ours", nil, nil, 3 * time.Minute, ""},
		{"clock far ahead of ours", nil, nil, 6 * time.Minute, "Invalid client assertion signature"},
		{"another key", func(c *Config) { c.PrivateKeyFile = other }, nil, 0, "Invalid client assertion signature"},
		{"host of the keys down", nil, func(c *sandbox.Client) { c.JWKS = func() ([]byte, error) { return nil, errors.New("down") } }, 0, "Invalid client assertion signature"},
		{"no jwksUri", nil, func(c *sandbox.Client) { c.JWKS = nil }, 0, "Client must have a JWK Set URL"},
		{"no secret", nil, func(c *sandbox.Client) { c.Secret = "" }, 0, "Missing client_secret"},
		{"unknown client", func(c *Config) { c.ClientID = "somebody" }, nil, 0, "Client not found"},
		{"status off", nil, func(c *sandbox.Client) { c.Disabled = true }, 0, "Invalid client"},
		{"no membership", nil, func(c *sandbox.Client) { c.MembershipGone = true }, 0, "Invalid client"},
		{"token endpoint by another name", func(c *Config) { c.TokenURL = "https://LAB.example/oauth2/token" }, nil, 0, "Invalid client assertion audience"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := sandbox.New(sandbox.Options{BaseURL: base, Clock: func() time.Time { return time.Now().Add(test.later) }})
				server.AddClient(sandbox.Client{ID: testID, Secret: testSecret, JWKS: func() ([]byte, error) { return jwks, nil }})
				if test.client != nil {
					server.Change(testID, test.client)
				}
				c := Config{Method: "private_key_jwt", ClientID: testID, PrivateKeyFile: file, Server: base, Network: server}
				if test.config != nil {
					test.config(&c)
				}
				h, err := Client(c)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := h.Get(base + "fhir/R4/Observation")
				if test.want == "" {
					if err != nil || resp.StatusCode != 200 {
						t.Errorf("got %v %v, want in", resp, err)
					}
					return
				}
				var e *Error
				if !errors.As(err, &e) || !e.Refused || !strings.HasSuffix(e.Text, test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			})
		})
	}
}

// A secret is changed on the server while the old one retires: nothing stops, and with the new one neither.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const base = "https://lab.example/"
		dir := t.TempDir()
		server := sandbox.New(sandbox.Options{BaseURL: base})
		server.AddClient(sandbox.Client{ID: testID, Secret: "old"})
		Seal(dir, "old")
		a, err := New(Config{ClientID: testID, Server: base, Network: server, Secret: func() (string, error) {
			secret, _, err := SecretPlaces{Dir: dir}.Read()
			return secret, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		go a.Run(t.Context())
		for hour := range 6 {
			switch hour {
			case 2:
				server.Change(testID, func(c *sandbox.Client) { c.Secret, c.Retiring = "new", "old" })
			case 4:
				Seal(dir, "new")
			case 5:
				server.Change(testID, func(c *sandbox.Client) { c.Retiring = "" })
			}
			server.DropTokens()
			for range 60 {
				if resp, err := a.Client.Get(base + "fhir/R4/Observation"); err != nil || resp.StatusCode != 200 {
					t.Fatalf("hour %d: %v %v", hour, resp, err)
				}
				time.Sleep(time.Minute)
			}
		}
	})
}

// Three hundred agents behind one address after an outage of an hour: the server grants 160 tokens a minute.
func TestManyAgentsAfterAnOutage(t *testing.T) {
	const base, agents = "https://lab.example/", 300
	for _, test := range []struct {
		name   string
		begin  func() time.Duration // when each begins
		outage time.Duration
	}{
		{"worked before", func() time.Duration { return rand.N(10 * time.Minute) }, time.Hour},
		{"all started with the power", func() time.Duration { return 0 }, time.Hour},
		{"all started with the power, server up", func() time.Duration { return 0 }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var up time.Time
				var tokens, early atomic.Int32
				var mu sync.Mutex
				windows := map[time.Duration]int{} // granted, by the minute after the outage
				server := sandbox.New(sandbox.Options{BaseURL: base, Seen: func(s sandbox.Seen) {
					if s.Path != "/oauth2/token" {
						return
					}
					tokens.Add(1)
					if s.Status == 200 {
						mu.Lock()
						windows[s.At.Sub(up)/time.Minute]++
						mu.Unlock()
					}
				}})
				server.AddClient(sandbox.Client{ID: testID, Secret: testSecret})
				server.Switch(func(s *sandbox.Switches) { s.Off = test.outage > 0 })
				up = time.Now().Add(test.outage)
				var wg sync.WaitGroup
				ctx := t.Context()
				in := make([]time.Time, agents)
				for i := range agents {
					var attempts []time.Time
					a, err := New(Config{
						ClientID: testID, Secret: func() (string, error) { return testSecret, nil }, Server: base, Network: server,
						Watch: func(s State) {
							if n := len(attempts); n > 0 && s.At.Before(up) && s.At.Sub(attempts[n-1]) < time.Minute {
								early.Add(1)
							}
							attempts = append(attempts, s.At)
						},
					})
					if err != nil {
						t.Fatal(err)
					}
					go a.Run(ctx)
					begin := test.begin()
					wg.Go(func() {
						time.Sleep(begin)
						for {
							resp, err := a.Client.Post(base+"fhir/R4/Observation", "application/fhir+json", strings.NewReader("{}"))
							var e *Error
							switch {
							case err == nil && resp.StatusCode != http.StatusUnauthorized:
								in[i] = time.Now()
								return
							case errors.As(err, &e):
								if e.Ours {
									t.Errorf("agent %d: %v", i, err)
									return
								}
								time.Sleep(max(e.Wait, time.Duration(rand.N(1000))*time.Millisecond))
							default:
								t.Errorf("agent %d: %v %v", i, resp, err)
								return
							}
						}
					})
				}
				time.Sleep(test.outage)
				server.Switch(func(s *sandbox.Switches) { s.Off = false })
				wg.Wait()
				var last time.Duration
				for _, at := range in {
					last = max(last, at.Sub(up))
				}
				t.Logf("all in after %v with %d token requests", last, tokens.Load())
				if last > 5*time.Minute {
					t.Errorf("the last was in %v after the outage, want 5m", last)
				}
				if n := tokens.Load(); n > 3*agents {
					t.Errorf("%d token requests, want %d at most", n, 3*agents)
				}
				if n := early.Load(); n > 0 {
					t.Errorf("%d attempts in the outage came within a minute of the one before", n)
				}
				granted := 0
				for _, n := range windows {
					granted += n
				}
				if granted != agents {
					t.Errorf("%d tokens for %d agents", granted, agents)
				}
			})
		})
	}
}

// Three days without a server: one attempt a minute at most, none while nothing waits.
func TestThreeDaysDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{}
		h := running(t, p, nil)
		post(h, "x")
		p.token = func(int) (*http.Response, error) { return answer(400, noDatabase), nil }
		p.api = says(401, outcome401)
		began := time.Now()
		for time.Since(began) < 72*time.Hour {
			_, err := post(h, "x")
			var e *Error
			if errors.As(err, &e) {
				time.Sleep(e.Wait)
				continue
			}
			time.Sleep(time.Second)
		}
		if n := p.tokens - 1; n > 72*60 || n < 72*60/2 {
			t.Errorf("%d attempts in 72 h, want one a minute at most", n)
		}
		before := p.tokens
		time.Sleep(72 * time.Hour)
		if p.tokens != before {
			t.Errorf("%d attempts while nothing waits", p.tokens-before)
		}
		p.token, p.api = nil, nil
		if status, err := post(h, "x"); status != 201 || p.tokens != before+1 {
			t.Errorf("after the outage: %d %v with %d tokens", status, err, p.tokens-before)
		}
	})
}
