package auth

import (
	"bufio"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// identity is a certificate with its key.
type identity struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// issue makes a certificate for 127.0.0.1, good now, changed, and signed by parent; nil: by itself.
func issue(t *testing.T, key crypto.Signer, parent *identity, change func(*x509.Certificate)) *identity {
	t.Helper()
	if key == nil {
		key = ecKey(t, elliptic.P256())
	}
	number, _ := rand.Int(rand.Reader, big.NewInt(1<<60))
	template := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: "test " + number.String()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	if parent == nil {
		parent = &identity{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{cert, key}
}

func authority(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
}

// files writes certificate and key as PEM.
func (i *identity) files(t *testing.T) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}), 0o600)
	os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	return cert, key
}

func (i *identity) pair(more ...*identity) tls.Certificate {
	pair := tls.Certificate{Certificate: [][]byte{i.cert.Raw}, PrivateKey: i.key}
	for _, m := range more {
		pair.Certificate = append(pair.Certificate, m.cert.Raw)
	}
	return pair
}

// letter answers like a server and counts the requests that came through its TLS.
func letter(requests *atomic.Int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.URL.Path == "/oauth2/token" {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, granted)
			return
		}
		io.WriteString(w, r.Header.Get("Authorization"))
	})
}

// Each way TLS can be wrong has its own words, and no secret leaves in any.
func TestTLSMatrix(t *testing.T) {
	ca := issue(t, nil, nil, authority)
	caFile, _ := ca.files(t)
	other := issue(t, nil, nil, authority)
	good := issue(t, nil, ca, nil)
	mine := issue(t, nil, ca, nil)
	foreign := issue(t, nil, other, nil)
	notCA := issue(t, nil, ca, nil)
	byNotCA := issue(t, nil, notCA, nil)
	narrow := issue(t, nil, ca, func(c *x509.Certificate) {
		authority(c)
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"elsewhere.example"}
		c.PermittedIPRanges = []*net.IPNet{{IP: net.IPv4(10, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}
	})
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	asksCert := func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, pool }
	texts := map[string]string{}
	for _, test := range []struct {
		name   string
		server func(*tls.Config)
		client *identity
		want   string // our fault with these words; empty: it works
	}{
		{"TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, nil, ""},
		{"TLS 1.3", func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, nil, ""},
		{"a certificate from us", asksCert, mine, ""},
		{"TLS 1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, nil, "no TLS of version 1.2"},
		{"expired", func(c *tls.Config) {
			c.Certificates[0] = issue(t, nil, ca, func(x *x509.Certificate) { x.NotAfter = time.Now().Add(-time.Minute) }).pair()
		}, nil, "expired on"},
		{"not yet valid", func(c *tls.Config) {
			c.Certificates[0] = issue(t, nil, ca, func(x *x509.Certificate) { x.NotBefore = time.Now().Add(time.Minute) }).pair()
		}, nil, "clock"},
		{"another name", func(c *tls.Config) {
			c.Certificates[0] = issue(t, nil, ca, func(x *x509.Certificate) { x.IPAddresses, x.DNSNames = nil, []string{"other.example"} }).pair()
		}, nil, "for other names"},
		{"vouches for itself", func(c *tls.Config) { c.Certificates[0] = issue(t, nil, nil, nil).pair() }, nil, "vouches for itself"},
		{"unknown authority", func(c *tls.Config) { c.Certificates[0] = foreign.pair() }, nil, "authority known here"},
		{"weak key", func(c *tls.Config) { c.Certificates[0] = issue(t, rsaKey(t, 1024), ca, nil).pair() }, nil, "too weak"},
		{"not for servers", func(c *tls.Config) {
			c.Certificates[0] = issue(t, nil, ca, func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }).pair()
		}, nil, "not made for servers"},
		{"signed by no authority", func(c *tls.Config) { c.Certificates[0] = byNotCA.pair(notCA) }, nil, "may not sign"},
		{"authority for other names", func(c *tls.Config) { c.Certificates[0] = issue(t, nil, narrow, nil).pair(narrow) }, nil, "may not vouch for this name"},
		{"wants a certificate from us", asksCert, nil, "auth.certificate_file"},
		{"does not take ours", asksCert, foreign, "does not take our certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var requests atomic.Int32
			server := httptest.NewUnstartedServer(letter(&requests))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.TLS = &tls.Config{Certificates: []tls.Certificate{good.pair()}}
			test.server(server.TLS)
			server.StartTLS()
			defer server.Close()
			c := Config{ClientID: testID, Secret: func() (string, error) { return testSecret, nil }, Server: server.URL, CAFile: caFile}
			if test.client != nil {
				c.CertificateFile, c.CertificateKeyFile = test.client.files(t)
				if test.client == foreign { // a client picks what the server's authorities can know; show it all the same
					carrier, err := network(c)
					if err != nil {
						t.Fatal(err)
					}
					pair := foreign.pair()
					carrier.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
					c.Network = carrier
				}
			}
			h, err := Client(c)
			if err != nil {
				t.Fatal(err)
			}
			defer h.CloseIdleConnections()
			resp, err := h.Get(server.URL + "/fhir/R4/Observation")
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if body, _ := io.ReadAll(resp.Body); string(body) != "Bearer T1" {
					t.Errorf("the server saw %q", body)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || !e.Ours || !strings.Contains(e.Text, test.want) {
				t.Fatalf("got %v, want our fault with %q", err, test.want)
			}
			if before, twice := texts[e.Text]; twice {
				t.Errorf("%q is said of %s too", e.Text, before)
			}
			texts[e.Text] = test.name
			if n := requests.Load(); n != 0 {
				t.Errorf("%d requests came through", n)
			}
		})
	}
	if len(texts) < 12 {
		t.Errorf("%d ways to be wrong, want 12", len(texts))
	}
	t.Run("no TLS at all", func(t *testing.T) {
		var requests atomic.Int32
		server := httptest.NewServer(letter(&requests))
		defer server.Close()
		h, err := Client(Config{ClientID: testID, Secret: func() (string, error) { return testSecret, nil }, Server: strings.Replace(server.URL, "http", "https", 1)})
		if err != nil {
			t.Fatal(err)
		}
		var e *Error
		if _, err = h.Get(strings.Replace(server.URL, "http", "https", 1) + "/fhir/R4/Observation"); !errors.As(err, &e) || !e.Ours || !strings.Contains(e.Text, "does not speak TLS at") {
			t.Errorf("got %v", err)
		}
		if requests.Load() != 0 {
			t.Error("a request came through")
		}
	})
}

func TestCertificateFiles(t *testing.T) {
	cert, key := issue(t, nil, nil, nil).files(t)
	good := Config{ClientID: testID, Secret: func() (string, error) { return "s", nil }, Server: "https://lab.example"}
	for _, test := range []struct {
		name, cert, key string
		ok              bool
	}{{"both", cert, key, true}, {"no key", cert, "", false}, {"no certificate", "", key, false}, {"absent", cert + "x", key, false}, {"crossed", key, cert, false}} {
		c := good
		c.CertificateFile, c.CertificateKeyFile = test.cert, test.key
		if _, err := New(c); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// proxy is an HTTP proxy that lets CONNECT through for one user.
type proxy struct {
	net.Listener
	target string
	mu     sync.Mutex
	wanted string
	seen   []string // Proxy-Authorization of each CONNECT
}

func (p *proxy) run() {
	for {
		conn, err := p.Accept()
		if err != nil {
			return
		}
		go p.serve(conn)
	}
}

func (p *proxy) serve(conn net.Conn) {
	defer conn.Close()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	p.mu.Lock()
	p.seen = append(p.seen, req.Method+" "+req.Header.Get("Proxy-Authorization"))
	let := req.Header.Get("Proxy-Authorization") == p.wanted
	p.mu.Unlock()
	if !let {
		io.WriteString(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
		return
	}
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	go io.Copy(server, conn)
	io.Copy(conn, server)
}

// A request goes through a proxy that wants a user and a password, and the server's secret is not for the proxy's eyes.
func TestProxyWantsAPassword(t *testing.T) {
	ca := issue(t, nil, nil, authority)
	caFile, _ := ca.files(t)
	var requests atomic.Int32
	server := httptest.NewUnstartedServer(letter(&requests))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{issue(t, nil, ca, func(c *x509.Certificate) { c.DNSNames = []string{"lab.example"} }).pair()}}
	server.StartTLS()
	defer server.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: listener, target: server.Listener.Addr().String()}
	defer p.Close()
	p.wanted = "Basic " + base64.StdEncoding.EncodeToString([]byte("lab:p:w@rd"))
	go p.run()
	for _, test := range []struct{ name, user, want string }{
		{"right", "lab:p%3Aw%40rd@", ""}, {"wrong", "lab:hush@", "the proxy wants a user"}, {"none", "", "the proxy wants a user"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, err := Client(Config{
				ClientID: testID, Secret: func() (string, error) { return testSecret, nil }, Server: "https://lab.example/", CAFile: caFile,
				Proxy: "http://" + test.user + listener.Addr().String(),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer h.CloseIdleConnections()
			resp, err := h.Get("https://lab.example/fhir/R4/Observation")
			var e *Error
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want == "":
				resp.Body.Close()
			case !errors.As(err, &e) || !e.Ours || !strings.Contains(e.Text, test.want) || strings.Contains(err.Error(), "hush"):
				t.Errorf("got %v, want our fault with %q", err, test.want)
			}
		})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.seen {
		if !strings.HasPrefix(s, "CONNECT ") {
			t.Errorf("the proxy saw %q", s)
		}
	}
	if requests.Load() != 2 {
		t.Errorf("%d requests reached the server, want a token and a call", requests.Load())
	}
}
