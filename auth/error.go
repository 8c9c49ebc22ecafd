package auth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// Error tells why we were not let in, or did not reach the server, and whose fault that is. Its text holds no secret.
type Error struct {
	Ours bool          // credentials, rights or configuration: a person must act; false: the weather, it passes
	Text string        // what happened, in plain words
	Wait time.Duration // asking before that is of no use
	// Refused tells that the server named our credentials as the reason.
	Refused bool

	none   bool // the token endpoint offers no OAuth
	window bool // Wait is the end of the window in which the server counts requests
	cause  error
}

// Error is the text.
func (e *Error) Error() string { return e.Text }

// Unwrap gives the error of the network, where there was one.
func (e *Error) Unwrap() error { return e.cause }

// OurFault tells that a person must act.
func (e *Error) OurFault() bool { return e.Ours }

// RetryAfter is how long asking again is of no use.
func (e *Error) RetryAfter() time.Duration { return e.Wait }

// explain says whose fault an error of the network is. What a person must mend is ours: trust, names in certificates, a
// proxy that wants a password. A dead name server, a refused connection, silence are weather.
func explain(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	e := &Error{cause: err}
	var (
		name    *net.DNSError
		timeout net.Error
		op      *net.OpError
	)
	switch text := trust(err); {
	case errors.Is(err, context.Canceled):
		e.Text = "given up by ourselves"
	case text != "":
		e.Ours, e.Text = true, text
	case strings.Contains(err.Error(), "Proxy Authentication Required"):
		e.Ours, e.Text = true, "the proxy wants a user and a password: set server.proxy"
	case errors.As(err, &name):
		e.Text = fmt.Sprintf("the name %s cannot be looked up", name.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Text = "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Text = "connection broken off"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		e.Text = "no answer in time"
	case errors.As(err, &op):
		e.Text = fmt.Sprintf("%s: %v", op.Op, op.Err)
	default:
		e.Text = "the server was not reached"
	}
	return e
}

// trust says in plain words what is wrong between the server and us in TLS; empty: it is something else.
func trust(err error) string {
	var (
		invalid x509.CertificateInvalidError
		host    x509.HostnameError
		unknown x509.UnknownAuthorityError
		noTLS   tls.RecordHeaderError
		says    = err.Error()
	)
	switch {
	case errors.Is(err, errWeak):
		return "the server's certificate is too weak: " + errWeak.Error()
	case errors.As(err, &invalid):
		switch invalid.Reason {
		case x509.Expired:
			if now := time.Now(); now.Before(invalid.Cert.NotBefore) {
				return fmt.Sprintf("the server's certificate is good from %s only: is this machine's clock right?", invalid.Cert.NotBefore.Format(time.DateTime))
			}
			return fmt.Sprintf("the server's certificate expired on %s", invalid.Cert.NotAfter.Format(time.DateTime))
		case x509.IncompatibleUsage:
			return "the server's certificate is not made for servers"
		case x509.CANotAuthorizedForThisName:
			return "the authority of the server's certificate may not vouch for this name"
		case x509.NotAuthorizedToSign:
			return "the server's certificate is signed by one that may not sign"
		}
		return fmt.Sprintf("the server's certificate is not valid: %v", invalid)
	case errors.As(err, &host):
		return fmt.Sprintf("the server's certificate is for other names than %s", host.Host)
	case errors.As(err, &unknown):
		switch cert := unknown.Cert; {
		case strings.Contains(says, "parent certificate cannot sign"):
			return "the server's certificate is signed by one that may not sign"
		case cert != nil && bytes.Equal(cert.RawIssuer, cert.RawSubject):
			return "the server's certificate vouches for itself: set server.ca_file to it if you know it"
		}
		return "the server's certificate is not signed by an authority known here: set server.ca_file"
	case strings.Contains(says, "tls: protocol version not supported"), strings.Contains(says, "unsupported protocol version"):
		return "the server speaks no TLS of version 1.2 or later"
	case strings.Contains(says, "tls: certificate required"):
		return "the server wants a certificate from us: set auth.certificate_file"
	case strings.Contains(says, "remote error: tls: unknown certificate authority"), strings.Contains(says, "remote error: tls: bad certificate"),
		strings.Contains(says, "remote error: tls: expired certificate"), strings.Contains(says, "remote error: tls: revoked certificate"):
		return "the server does not take our certificate: renew auth.certificate_file"
	case errors.As(err, &noTLS), strings.Contains(says, "server gave HTTP response to HTTPS client"):
		return "the server does not speak TLS at this address"
	case strings.Contains(says, "remote error: tls:"), strings.Contains(says, "local error: tls:"), strings.HasPrefix(says, "tls: "):
		return "the server does not speak TLS as we do"
	}
	return ""
}
