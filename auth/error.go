package auth

import (
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

	cause error
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
		unverified *tls.CertificateVerificationError
		unknown    x509.UnknownAuthorityError
		alert      tls.AlertError
		noTLS      tls.RecordHeaderError
		name       *net.DNSError
		timeout    net.Error
		op         *net.OpError
	)
	switch {
	case errors.Is(err, context.Canceled):
		e.Text = "given up by ourselves"
	case errors.As(err, &unknown):
		e.Ours, e.Text = true, "the server's certificate is not signed by an authority known here: set server.ca_file"
	case errors.As(err, &unverified):
		e.Ours, e.Text = true, fmt.Sprintf("the server's certificate is not valid: %v", unverified.Err)
	case errors.As(err, &alert), errors.As(err, &noTLS), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		e.Ours, e.Text = true, "the server does not speak TLS as we do"
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
