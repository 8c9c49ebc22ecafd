package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// access gives credentials for a request and hears what became of them.
type access interface {
	credentials(*http.Request) (header, error)
	// drop takes credentials back that the server did not know; false: there are no others to try.
	drop(header) bool
	// refused tells that the server refused credentials that were brand-new.
	refused(header)
}

// header is the value of an Authorization header. It holds a pointer, since fmt prints what plain strings hold even from
// unexported fields.
type header struct{ text *string }

func newHeader(text string) header { return header{&text} }

// transport adds credentials to requests for one origin.
type transport struct {
	base   http.RoundTripper
	origin string
	access access
}

// RoundTrip sends the request with our credentials; see Client.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if got := origin(req.URL); got != t.origin {
		discard(req)
		return nil, &Error{Ours: true, Text: fmt.Sprintf("nothing is sent to %s, only to %s", got, t.origin)}
	}
	if _, set := req.Header["Authorization"]; set {
		return t.send(req)
	}
	mine, err := t.access.credentials(req)
	if err != nil {
		discard(req)
		return nil, err
	}
	resp, err := t.send(with(req, mine))
	if err != nil {
		return nil, err
	}
	switch {
	case resp.StatusCode == http.StatusGone:
		// The membership behind the token was deleted (medplum.md 1). A token of a later membership may be good again.
		t.access.drop(mine)
		return resp, nil
	case resp.StatusCode != http.StatusUnauthorized || !t.access.drop(mine):
		return resp, nil
	case req.Body != nil && req.GetBody == nil:
		return resp, nil // cannot be said again; the caller's next attempt has the new token
	}
	fresh, err := t.access.credentials(req)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	again := with(req, fresh)
	if req.GetBody != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return resp, nil
		}
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection serves the repeat too
	resp.Body.Close()
	if resp, err = t.send(again); err == nil && resp.StatusCode == http.StatusUnauthorized {
		t.access.refused(fresh)
	}
	return resp, err
}

func (t *transport) send(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, explain(err)
	}
	return resp, nil
}

// with is a copy of the request with credentials; a RoundTripper must not change the one it was given.
func with(req *http.Request, h header) *http.Request {
	out := req.Clone(req.Context())
	out.Header.Set("Authorization", *h.text)
	return out
}

func discard(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// maxAnswer is the largest answer read. The answer to our largest batch, 900 KiB of resources, gives them back with a
// few hundred bytes more an entry.
const maxAnswer = 16 << 20

// limited ends a request that takes too long, its answer's body included, and an answer that is too long. It stands below
// the credentials, so that a hanging token endpoint does not use up the time of the request that needs the token.
type limited struct {
	http.RoundTripper
	timeout time.Duration
}

func (l limited) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), l.timeout)
	resp, err := l.RoundTripper.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &limitedBody{resp.Body, maxAnswer, cancel}
	return resp, nil
}

type limitedBody struct {
	io.ReadCloser
	left   int
	cancel func()
}

var errTooLong = errors.New("the answer is too long")

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (b *limitedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
