package auth

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// network is TCP and TLS as configured.
func network(c Config) (http.RoundTripper, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: c.Timeout,
		MaxIdleConnsPerHost:   2,
		// Medplum closes an idle connection after 90 s (medplum.md 3); we go first, or a request meets the closing.
		IdleConnTimeout:        75 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, VerifyConnection: strong},
	}
	if c.Proxy != "" {
		proxy, err := url.Parse(c.Proxy)
		if err != nil || proxy.Host == "" || proxy.Scheme != "http" && proxy.Scheme != "https" {
			return nil, errors.New("proxy: not a URL") // the URL may hold a password
		}
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			if loopback(r.URL.Hostname()) { // http is allowed there because it stays on this machine
				return nil, nil
			}
			return proxy, nil
		}
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca file: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca file %s: no certificate in it", c.CAFile)
		}
		t.TLSClientConfig.RootCAs = roots
	}
	if c.CertificateFile != "" || c.CertificateKeyFile != "" {
		if _, err := c.certificate(nil); err != nil {
			return nil, err
		}
		t.TLSClientConfig.GetClientCertificate = c.certificate
	}
	return t, nil
}

// certificate reads the certificate we show, at every handshake, so that a renewed one counts without a restart.
func (c Config) certificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(c.CertificateFile, c.CertificateKeyFile)
	if err != nil {
		return nil, &Error{Ours: true, Text: fmt.Sprintf("our certificate cannot be used: %v", err), cause: err}
	}
	return &pair, nil
}

// errWeak is a certificate whose key is too short to vouch for anything.
var errWeak = errors.New("an RSA key under 2048 bits")

// strong refuses chains with RSA keys that crypto/tls still takes, shorter than NIST SP 800-131A allows since 2014.
func strong(s tls.ConnectionState) error {
	for _, cert := range s.PeerCertificates {
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < 2048 {
			return errWeak
		}
	}
	return nil
}
