package auth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	// lifeUnsaid is how long a token is good that comes without expires_in, or with 0.
	lifeUnsaid = 5 * time.Minute
	// lifeMost is how long any token is good: Medplum keeps logins of clients in Redis for a day, whatever it promises.
	lifeMost = 24 * time.Hour
	// renewalPatience is how long a request waits for a new token while the old one still serves.
	renewalPatience = 5 * time.Second
	// The pause after a failure grows from pauseLeast to pauseMost; each is drawn anew from its whole length, so that a
	// hundred agents behind one address do not come back together.
	pauseLeast, pauseMost = time.Second, time.Minute
	// The pause after our credentials were refused: a person is needed, and the endpoint is rate limited.
	refusedLeast, refusedMost = time.Minute, 5 * time.Minute
)

// tokens keeps one token and fetches the next, one fetch at a time. A failure is kept too: until its pause is over it is
// the answer to everybody.
type tokens struct {
	c    Config
	http *http.Client  // to the token endpoint, bare of credentials in headers
	turn chan struct{} // holds one value while somebody fetches

	mu       sync.Mutex
	current  header    // none: text is nil
	renew    time.Time // after that a new one is fetched; on the monotonic clock, as the next two
	dead     time.Time // after that the current one is not used
	pause    time.Time // before that nothing is fetched
	failure  *Error    // why
	failures int       // in a row
}

func newTokens(c Config) *tokens {
	return &tokens{
		c:    c,
		http: &http.Client{Transport: limited{c.Network, c.Timeout}, CheckRedirect: noRedirect},
		turn: make(chan struct{}, 1),
	}
}

// credentials is the current token, or a new one when it is due.
func (t *tokens) credentials(req *http.Request) (header, error) {
	ctx := req.Context()
	tok, settled, err := t.look()
	if settled {
		return tok, err
	}
	if tok.text != nil {
		select {
		case t.turn <- struct{}{}:
		default:
			return tok, nil // somebody else renews
		}
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, renewalPatience)
		defer cancel()
	} else {
		select {
		case t.turn <- struct{}{}:
		case <-ctx.Done():
			return header{}, explain(ctx.Err())
		}
	}
	defer func() { <-t.turn }()
	if tok, settled, err = t.look(); settled {
		return tok, err
	}
	fresh, err := t.fetch(ctx)
	if err != nil && tok.text != nil {
		return tok, nil
	}
	return fresh, err
}

// look is the token that serves now, if any; settled tells that nothing is to be fetched.
func (t *tokens) look() (tok header, settled bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	paused := now.Before(t.pause)
	if t.current.text != nil && now.Before(t.dead) {
		return t.current, paused || now.Before(t.renew), nil
	}
	if paused {
		e := *t.failure
		e.Wait = t.pause.Sub(now)
		return header{}, true, &e
	}
	return header{}, false, nil
}

func (t *tokens) drop(h header) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == h {
		t.current = header{}
	}
	return true
}

// refused stops a server that refuses each new token at once from being asked for one after the other.
func (t *tokens) refused(h header) {
	t.drop(h)
	t.fail(&Error{Ours: true, Refused: true, Text: "the server gives us tokens and does not accept them"})
}

// fetch gets a new token and keeps it, or keeps why there is none.
func (t *tokens) fetch(ctx context.Context) (header, error) {
	began := time.Now()
	token, err := t.exchange(ctx)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			t.fail(err)
		}
		return header{}, err
	}
	// The server's seconds count from when it answered; ours from before we asked, so that we are never late.
	life := lifeUnsaid
	if !token.Expiry.IsZero() && token.Expiry.After(began) {
		life = min(token.Expiry.Sub(began), lifeMost)
	}
	tok := newHeader("Bearer " + token.AccessToken) // Medplum knows this spelling only
	t.mu.Lock()
	t.current, t.renew, t.dead = tok, began.Add(life*8/10), began.Add(life)
	t.pause, t.failure, t.failures = time.Time{}, nil, 0
	t.mu.Unlock()
	t.tell(State{At: time.Now(), Until: began.Add(life)})
	return tok, nil
}

// exchange asks the endpoint once. The secret goes in the body: Medplum does not undo the escaping that x/oauth2 does in
// the header, and to let the library find out would double each failing request.
func (t *tokens) exchange(ctx context.Context) (*oauth2.Token, *Error) {
	text, err := t.c.Secret()
	if err != nil {
		return nil, &Error{Ours: true, Text: "the client secret cannot be read", cause: err}
	}
	conf := clientcredentials.Config{
		ClientID: t.c.ClientID, ClientSecret: text, TokenURL: t.c.TokenURL,
		Scopes: strings.Fields(t.c.Scope), AuthStyle: oauth2.AuthStyleInParams,
	}
	token, err := conf.Token(context.WithValue(ctx, oauth2.HTTPClient, t.http))
	if err == nil {
		return token, nil
	}
	var answer *oauth2.RetrieveError
	if errors.As(err, &answer) {
		return nil, refusal(answer, text)
	}
	var network *url.Error
	if errors.As(err, &network) {
		return nil, explain(network.Err)
	}
	if e := context.Cause(ctx); e != nil {
		return nil, explain(e)
	}
	// A captive portal's page, half an answer: the library's text may quote what came, so it is not passed on.
	return nil, &Error{Text: "the token endpoint gave an answer that is no token"}
}

// refusal says whose fault an answer of the token endpoint is. Medplum says 400 to everything; only an OAuth error member
// tells wrong credentials from a database that is down (medplum.md 1).
func refusal(answer *oauth2.RetrieveError, secret string) *Error {
	status := answer.Response.StatusCode
	e := &Error{Text: fmt.Sprintf("the token endpoint answered %d", status), Wait: wait(answer.Response.Header)}
	switch {
	case status == http.StatusTooManyRequests, status >= 500, status == http.StatusRequestTimeout,
		answer.ErrorCode == "temporarily_unavailable", answer.ErrorCode == "server_error":
	case answer.ErrorCode != "":
		e.Ours, e.Refused = true, true
		e.Text = fmt.Sprintf("the token endpoint refuses us: %s", answer.ErrorCode)
		if answer.ErrorDescription != "" {
			e.Text += ", " + tidy(answer.ErrorDescription, secret)
		}
	case status >= 300 && status < 400:
		e.Ours, e.Text = true, fmt.Sprintf("the token endpoint answered %d, a redirect, and none is followed: set the URL it points to", status)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		e.Ours, e.Refused = true, true
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented, status == http.StatusProxyAuthRequired:
		e.Ours, e.Text = true, e.Text+": is the URL right?"
	}
	return e
}

// tidy makes a server's sentence fit for a log: short, printable, and without the secret even when the server repeats it.
func tidy(text, secret string) string {
	for _, s := range []string{secret, url.QueryEscape(secret)} {
		if s != "" {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, text)
	return text[:min(len(text), 160)]
}

// wait is how long a refused answer tells us to wait: Retry-After in seconds, or the t of Medplum's RateLimit when its r is
// used up.
func wait(h http.Header) time.Duration {
	if s, err := strconv.Atoi(strings.TrimSpace(h.Get("Retry-After"))); err == nil && s > 0 {
		return time.Duration(min(s, 3600)) * time.Second
	}
	for _, line := range h.Values("RateLimit") {
		var name string
		var left, reset int
		if n, _ := fmt.Sscanf(strings.ReplaceAll(line, ";", " "), "%q r=%d t=%d", &name, &left, &reset); n == 3 && left == 0 && reset > 0 {
			return time.Duration(min(reset, 3600)) * time.Second
		}
	}
	return 0
}

// fail keeps a failure and sets the pause after it.
func (t *tokens) fail(e *Error) {
	t.mu.Lock()
	t.failures++
	t.failure = e
	doubled := func(least, most time.Duration) time.Duration { return min(most, least<<min(t.failures-1, 10)) }
	var pause time.Duration
	if e.Ours {
		pause = doubled(refusedLeast, refusedMost)
		pause += rand.N(pause / 4)
	} else {
		pause = max(rand.N(doubled(pauseLeast, pauseMost)), pauseLeast/4)
	}
	if e.Wait > 0 {
		pause = max(pause, e.Wait+rand.N(pauseLeast))
	}
	now := time.Now()
	e.Wait = pause
	t.pause = now.Add(pause)
	until := time.Time{}
	if t.current.text != nil && now.Before(t.dead) {
		until = t.dead
	}
	t.mu.Unlock()
	t.tell(State{At: now, Until: until, Err: e})
}

func (t *tokens) tell(s State) {
	if t.c.Watch != nil {
		t.c.Watch(s)
	}
}
