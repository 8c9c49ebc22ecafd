// Package auth makes an *http.Client that one server lets in: OAuth 2 client credentials (RFC 6749 4.4) with a token that
// is kept, by a secret or by a signed assertion (RFC 7523), or HTTP Basic for a host that can do no better. It follows no
// redirect, sends credentials and bodies to the configured origin only, and says of each failure whether a person must act
// or the weather will pass.
//
// golang.org/x/oauth2 does the exchange; the keeping is ours, because its own source never drops a token on 401, keeps one
// without expires_in for ever, and asks a failing endpoint once for every caller.
package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config says how to be let in where.
type Config struct {
	// Method is "client_credentials" (also when empty), "private_key_jwt" or "basic".
	Method string
	// ClientID names us to the server.
	ClientID string
	// Secret reveals the client secret; it is asked at every use, so that a renewed file counts without a restart. With
	// private_key_jwt there is none.
	Secret func() (string, error)
	// PrivateKeyFile is the PEM file of the key that signs with private_key_jwt, read at every use.
	PrivateKeyFile string
	// BasicFallback lets Basic take the place of client_credentials while the token endpoint says that it offers none.
	BasicFallback bool
	// Server is the server's base URL; only its origin ever gets credentials or data.
	Server string
	// TokenURL is the token endpoint; empty: <Server>/oauth2/token.
	TokenURL string
	// Scope is asked for with the token, words apart by spaces; may be empty.
	Scope string
	// CAFile is a PEM file of certificates trusted beside the system's.
	CAFile string
	// CertificateFile and CertificateKeyFile are the PEM files of the certificate we show when the server asks for one; they
	// are read at every handshake.
	CertificateFile, CertificateKeyFile string
	// Proxy is the URL of an HTTP proxy, may hold user and password; empty: as the environment says.
	Proxy string
	// Timeout is for one request, to the end of its answer; 0: 30 s.
	Timeout time.Duration
	// Network carries the requests; nil: TCP and TLS as CAFile and Proxy say. Tests put a server in its place.
	Network http.RoundTripper
	// Watch is told what became of every attempt to get a token, from the goroutine that asked; nil: nobody is.
	Watch func(State)
}

// State is how we stand with the token endpoint. It holds no secret.
type State struct {
	At    time.Time // of the attempt
	Until time.Time // the token serves until then; zero: there is none
	Err   *Error    // why the last attempt failed; nil: it did not
	Basic bool      // Basic has taken the token's place, since the endpoint offers none
}

// Access is the way in to one server.
type Access struct {
	// Client adds our credentials to each request for Config.Server and refuses requests for any other origin. A request that
	// holds the header Authorization already, even with no value, is sent as it is. On 401 the token is dropped, one new one
	// is fetched and the request repeated once; what fails then comes back as it is, or as an *Error. It may be shared.
	Client *http.Client

	tokens *tokens // nil with method basic
}

// New builds the way in. It touches files but no network, and starts nothing.
func New(c Config) (*Access, error) {
	base, err := endpoint(c.Server)
	if err != nil {
		return nil, fmt.Errorf("server url: %w", err)
	}
	if err := c.complete(); err != nil {
		return nil, err
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Network == nil {
		if c.Network, err = network(c); err != nil {
			return nil, err
		}
	}
	t := &transport{base: limited{c.Network, c.Timeout}, origin: origin(base)}
	a := &Access{Client: &http.Client{Transport: t, CheckRedirect: noRedirect}}
	if c.Method == "basic" {
		t.access = basic{c}
		return a, nil
	}
	if c.TokenURL == "" {
		c.TokenURL = base.JoinPath("oauth2", "token").String()
	} else if _, err := endpoint(c.TokenURL); err != nil {
		return nil, fmt.Errorf("token url: %w", err)
	}
	a.tokens = newTokens(c)
	t.access = a.tokens
	if c.BasicFallback {
		t.access = fallback{a.tokens, basic{c}}
	}
	return a, nil
}

// Client is New for a caller who needs no renewal ahead of time: without Run a token serves to its end, and the request
// after it waits for the next.
func Client(c Config) (*http.Client, error) {
	a, err := New(c)
	if err != nil {
		return nil, err
	}
	return a.Client, nil
}

// complete tells what the method lacks.
func (c *Config) complete() error {
	switch c.Method {
	case "":
		c.Method = "client_credentials"
	case "client_credentials", "basic":
	case "private_key_jwt":
		if c.ClientID == "" || c.PrivateKeyFile == "" {
			return errors.New("client id and private key file are needed")
		}
		if c.BasicFallback {
			return errors.New("there is no fallback to Basic from private_key_jwt, which has no secret")
		}
		return nil
	default:
		return fmt.Errorf("unknown method %q", c.Method)
	}
	if c.ClientID == "" || c.Secret == nil {
		return errors.New("client id and client secret are needed")
	}
	return nil
}

// Run renews the token in the background from 80 % of its life on, and looks every ten minutes whether OAuth is offered
// while Basic stands in, until ctx is done; then it returns nil. It acts when a request shows that something waits, and
// the request takes what serves meanwhile: while nothing waits, nothing is asked for.
func (a *Access) Run(ctx context.Context) error {
	if a.tokens == nil {
		<-ctx.Done()
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.tokens.due:
			a.tokens.renewal(ctx)
		}
	}
}

// basic gives the credentials themselves with every request.
type basic struct{ c Config }

// credentials joins id and secret as they are: Medplum splits at the colon and decodes nothing.
func (b basic) credentials(*http.Request) (header, error) {
	text, err := b.c.Secret()
	if err != nil {
		return header{}, &Error{Ours: true, Text: "the client secret cannot be read", cause: err}
	}
	return newHeader("Basic " + base64.StdEncoding.EncodeToString([]byte(b.c.ClientID+":"+text))), nil
}

func (basic) drop(header) bool { return false }

func (basic) refused(header) {}

// noRedirect hands a redirect back as the answer it is: following one would carry a secret or a patient's data to wherever
// it points (307 and 308 repeat the body).
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// endpoint reads a URL that may carry secrets: https, or http where it does not leave this machine.
func endpoint(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Host == "":
		return nil, errors.New("no host in it")
	case u.User != nil:
		return nil, errors.New("it must hold no user or password")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return u, nil
	case u.Scheme == "http":
		return nil, errors.New("http is for this machine only, use https")
	}
	return nil, fmt.Errorf("scheme %q is not https", u.Scheme)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// origin is scheme, host and port in one form (RFC 6454 4).
func origin(u *url.URL) string {
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[scheme]
	}
	return scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
