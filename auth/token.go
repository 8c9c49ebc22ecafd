package auth

import (
	"context"
	"encoding/json"
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
	// The endpoint is asked once a minute at most while it refuses or does not answer; what is drawn on top grows from
	// jitterLeast to jitterMost, so that a hundred agents behind one address do not come back together.
	pauseLeast              = time.Minute
	jitterLeast, jitterMost = 5 * time.Second, time.Minute
	// The endpoint counts by the minute and said when its next one begins: only the jitter is ours.
	jitterTold = 10 * time.Second
	// The pause after our credentials were refused: a person is needed, and the endpoint is rate limited.
	refusedLeast, refusedMost = time.Minute, 5 * time.Minute
	// How often an endpoint that offers no OAuth is asked whether it does now, while Basic stands in.
	probeEvery = 10 * time.Minute
)

// tokens keeps one token and fetches the next, one fetch at a time. A failure is kept too: until its pause is over it is
// the answer to everybody.
type tokens struct {
	c    Config
	http *http.Client  // to the token endpoint, bare of credentials in headers
	turn chan struct{} // holds one value while somebody fetches
	due  chan struct{} // holds one value when a request found that Run has something to do

	mu       sync.Mutex
	current  header    // none: text is nil
	renew    time.Time // after that a new one is fetched; on the monotonic clock, as the next two
	dead     time.Time // after that the current one is not used
	pause    time.Time // before that nothing is fetched
	failure  *Error    // why
	failures int       // in a row
	hurried  bool      // one of them was paused for less than pauseLeast
	missing  bool      // the endpoint said that it offers no OAuth, and nothing since said otherwise
}

func newTokens(c Config) *tokens {
	return &tokens{
		c:    c,
		http: &http.Client{Transport: limited{c.Network, c.Timeout}, CheckRedirect: noRedirect},
		turn: make(chan struct{}, 1), due: make(chan struct{}, 1),
	}
}

// credentials is the current token, or a new one when there is none that serves.
func (t *tokens) credentials(req *http.Request) (header, error) {
	ctx := req.Context()
	if tok, settled, err := t.look(); settled {
		return tok, err
	}
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return header{}, explain(ctx.Err())
	}
	defer func() { <-t.turn }()
	if tok, settled, err := t.look(); settled {
		return tok, err
	}
	return t.fetch(ctx)
}

// look is the token that serves now, or why there is none; settled tells that nothing is to be fetched.
func (t *tokens) look() (tok header, settled bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	paused := now.Before(t.pause)
	if t.current.text != nil && now.Before(t.dead) {
		if !paused && !now.Before(t.renew) {
			t.ring()
		}
		return t.current, true, nil
	}
	if paused {
		e := *t.failure
		e.Wait = t.pause.Sub(now)
		return header{}, true, &e
	}
	return header{}, false, nil
}

// ring tells Run that there is something to do.
func (t *tokens) ring() {
	select {
	case t.due <- struct{}{}:
	default:
	}
}

// renewal fetches a token while the old one, or Basic, still serves. A request that needs one at once may be quicker.
func (t *tokens) renewal(ctx context.Context) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-t.turn }()
	t.mu.Lock()
	now := time.Now()
	late := !now.Before(t.pause) && (t.current.text == nil || !now.Before(t.renew))
	t.mu.Unlock()
	if late {
		t.fetch(ctx) // what becomes of it is kept and told
	}
}

// instead tells whether Basic may stand in now, and has it looked into from time to time.
func (t *tokens) instead() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.missing && !time.Now().Before(t.pause) {
		t.ring()
	}
	return t.missing
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
	t.pause, t.failure, t.failures, t.hurried, t.missing = time.Time{}, nil, 0, false, false
	t.mu.Unlock()
	t.tell(State{At: time.Now(), Until: began.Add(life)})
	return tok, nil
}

// exchange asks the endpoint once. The secret goes in the body: Medplum does not undo the escaping that x/oauth2 does in
// the header, and to let the library find out would double each failing request.
func (t *tokens) exchange(ctx context.Context) (*oauth2.Token, *Error) {
	conf := clientcredentials.Config{TokenURL: t.c.TokenURL, Scopes: strings.Fields(t.c.Scope), AuthStyle: oauth2.AuthStyleInParams}
	var text string // what must not show
	if t.c.Method == "private_key_jwt" {
		key, err := readKey(t.c.PrivateKeyFile)
		if err == nil {
			text, err = key.assertion(t.c.ClientID, t.c.TokenURL, time.Now())
		}
		if err != nil {
			return nil, &Error{Ours: true, Text: fmt.Sprintf("the private key cannot be used: %v", err), cause: err}
		}
		conf.EndpointParams = url.Values{"client_assertion_type": {assertionType}, "client_assertion": {text}}
	} else {
		var err error
		if text, err = t.c.Secret(); err != nil {
			return nil, &Error{Ours: true, Text: fmt.Sprintf("the client secret cannot be read: %v", err), cause: err}
		}
		conf.ClientID, conf.ClientSecret = t.c.ClientID, text
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
	e := &Error{Text: fmt.Sprintf("the token endpoint answered %d", status)}
	e.Wait, e.window = wait(answer.Response.Header)
	switch {
	case offersNone(answer):
		e.Ours, e.none, e.Text = true, true, e.Text+": it offers no client credentials; is the URL right?"
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
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusProxyAuthRequired:
		e.Ours, e.Text = true, e.Text+": is the URL right?"
	}
	return e
}

// offersNone tells an endpoint that can do no OAuth from every other refusal: 404, 405 or 501 without an OAuth error body,
// or exactly the error unsupported_grant_type. Only this may let Basic stand in.
func offersNone(answer *oauth2.RetrieveError) bool {
	switch status := answer.Response.StatusCode; status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return answer.ErrorCode == "unsupported_grant_type" || !oauthError(answer)
	case http.StatusOK, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return answer.ErrorCode == "unsupported_grant_type"
	}
	return false
}

// oauthError tells whether an answer is an OAuth error (RFC 6749 5.2), whatever media type it claims.
func oauthError(answer *oauth2.RetrieveError) bool {
	var body map[string]json.RawMessage
	if json.Unmarshal(answer.Body, &body) == nil && body["error"] != nil {
		return true
	}
	return answer.ErrorCode != ""
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
// used up; window tells that it was this, the end of a window in which requests are counted.
func wait(h http.Header) (d time.Duration, window bool) {
	if s, err := strconv.Atoi(strings.TrimSpace(h.Get("Retry-After"))); err == nil && s > 0 {
		return time.Duration(min(s, 3600)) * time.Second, false
	}
	for _, line := range h.Values("RateLimit") {
		var name string
		var left, reset int
		if n, _ := fmt.Sscanf(strings.ReplaceAll(line, ";", " "), "%q r=%d t=%d", &name, &left, &reset); n == 3 && left == 0 && reset > 0 {
			return time.Duration(min(reset, 3600)) * time.Second, true
		}
	}
	return 0, false
}

// fail keeps a failure and sets the pause after it.
func (t *tokens) fail(e *Error) {
	t.mu.Lock()
	t.failures++
	t.failure = e
	doubled := func(least, most time.Duration) time.Duration { return min(most, least<<min(t.failures-1, 10)) }
	var pause time.Duration
	switch {
	case e.none && t.c.BasicFallback:
		pause, t.missing = probeEvery, true
	case e.Ours:
		pause = doubled(refusedLeast, refusedMost)
		pause += rand.N(pause / 4)
	case e.window && !t.hurried:
		pause, t.hurried = e.Wait+rand.N(jitterTold), e.Wait < pauseLeast
	default:
		pause = pauseLeast + rand.N(doubled(jitterLeast, jitterMost))
	}
	if e.Wait > pause {
		pause = e.Wait + rand.N(jitterTold)
	}
	if e.Refused {
		t.missing = false // an endpoint that names our credentials can do OAuth
	}
	now := time.Now()
	e.Wait = pause
	t.pause = now.Add(pause)
	until := time.Time{}
	if t.current.text != nil && now.Before(t.dead) {
		until = t.dead
	}
	missing := t.missing
	t.mu.Unlock()
	t.tell(State{At: now, Until: until, Err: e, Basic: missing})
}

func (t *tokens) tell(s State) {
	if t.c.Watch != nil {
		t.c.Watch(s)
	}
}
