package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pemFile writes a private key as PKCS #8, or as given.
func pemFile(t *testing.T, kind string, key any) string {
	t.Helper()
	var der []byte
	var err error
	switch kind {
	case "PRIVATE KEY":
		der, err = x509.MarshalPKCS8PrivateKey(key)
	case "RSA PRIVATE KEY":
		der = x509.MarshalPKCS1PrivateKey(key.(*rsa.PrivateKey))
	case "EC PRIVATE KEY":
		der, err = x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// verified reads a JWT with nothing but the JWKS text and what the RFCs say, sharing no code with what made it.
func verified(t *testing.T, jwt string, jwks []byte) (head, claims map[string]any) {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("a JWT of %d parts", len(parts))
	}
	raw := func(text string) []byte {
		data, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for i, into := range []*map[string]any{&head, &claims} {
		if err := json.Unmarshal(raw(parts[i]), into); err != nil {
			t.Fatal(err)
		}
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(jwks, &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("JWKS %s: %v", jwks, err)
	}
	key := set.Keys[0]
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi"} {
		if key[private] != "" {
			t.Fatalf("the JWKS holds the private %s", private)
		}
	}
	if key["kid"] != head["kid"] || key["alg"] != head["alg"] || key["use"] != "sig" {
		t.Errorf("key %s %s %s, header %v", key["kid"], key["alg"], key["use"], head)
	}
	alg, _ := head["alg"].(string)
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	h := hash.New()
	h.Write([]byte(parts[0] + "." + parts[1]))
	number := func(name string) *big.Int { return new(big.Int).SetBytes(raw(key[name])) }
	signature := raw(parts[2])
	switch key["kty"] {
	case "RSA":
		public := &rsa.PublicKey{N: number("n"), E: int(number("e").Int64())}
		if err := rsa.VerifyPKCS1v15(public, hash, h.Sum(nil), signature); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[key["crv"]]
		size := map[string]int{"ES256": 64, "ES384": 96, "ES512": 132}[alg]
		if len(signature) != size || len(raw(key["x"])) != size/2 || len(raw(key["y"])) != size/2 {
			t.Fatalf("%s: signature of %d bytes, x of %d", alg, len(signature), len(raw(key["x"])))
		}
		public, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, raw(key["x"])...), raw(key["y"])...))
		if err != nil {
			t.Fatal(err)
		}
		r, s := new(big.Int).SetBytes(signature[:size/2]), new(big.Int).SetBytes(signature[size/2:])
		if !ecdsa.Verify(public, h.Sum(nil), r, s) {
			t.Errorf("%s: wrong signature", alg)
		}
	default:
		t.Errorf("key type %q", key["kty"])
	}
	return head, claims
}

func TestAssertion(t *testing.T) {
	for _, test := range []struct{ name, kind, alg string }{
		{"RSA 2048", "RSA PRIVATE KEY", "RS256"}, {"RSA 3072", "PRIVATE KEY", "RS384"}, {"RSA 4096", "PRIVATE KEY", "RS512"},
		{"P-256", "EC PRIVATE KEY", "ES256"}, {"P-384", "PRIVATE KEY", "ES384"}, {"P-521", "PRIVATE KEY", "ES512"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var key any
			switch test.name {
			case "RSA 2048":
				key = rsaKey(t, 2048)
			case "RSA 3072":
				key = rsaKey(t, 3072)
			case "RSA 4096":
				key = rsaKey(t, 4096)
			default:
				key = ecKey(t, map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[test.name])
			}
			file := pemFile(t, test.kind, key)
			jwks, err := JWKS(file)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				p := &place{token: func(n int) (*http.Response, error) {
					return answer(200, `{"access_token":"T1","token_type":"Bearer","expires_in":300}`), nil
				}}
				h := client(t, p, func(c *Config) { c.Method, c.PrivateKeyFile, c.Secret = "private_key_jwt", file, nil })
				seen := map[any]bool{}
				for range 3 {
					if status, err := post(h, "x"); status != 201 {
						t.Fatal(status, err)
					}
					form, _ := url.ParseQuery(p.carried[len(p.carried)-2])
					if len(form) != 3 || form.Get("grant_type") != "client_credentials" || form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
						t.Errorf("sent the form %v", form)
					}
					head, claims := verified(t, form.Get("client_assertion"), jwks)
					if head["alg"] != test.alg || head["typ"] != "JWT" {
						t.Errorf("header %v, want %s", head, test.alg)
					}
					if claims["iss"] != testID || claims["sub"] != testID || claims["aud"] != "https://lab.example/oauth2/token" {
						t.Errorf("claims %v", claims)
					}
					now, exp, iat := float64(time.Now().Unix()), claims["exp"].(float64), claims["iat"].(float64)
					if iat > now || exp <= now || exp-iat > 300 {
						t.Errorf("issued %v, ends %v, now %v", iat, exp, now)
					}
					if jti, _ := claims["jti"].(string); len(jti) < 20 || seen[jti] {
						t.Errorf("jti %q, fresh %t", jti, !seen[jti])
					} else {
						seen[jti] = true
					}
					time.Sleep(6 * time.Minute)
				}
				if sent, n := p.kinds(); sent != strings.TrimSpace(strings.Repeat("T(assertion) A(bearer) ", 3)) || n != 0 {
					t.Errorf("sent %s with the secret in %d", sent, n)
				}
			})
		})
	}
}

// RFC 7638 3.1 gives a key and its thumbprint.
func TestThumbprint(t *testing.T) {
	n, err := base64.RawURLEncoding.DecodeString("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw")
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{key: &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}}}
	if got, want := s.id(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNewKey(t *testing.T) {
	text, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	os.WriteFile(file, text, 0o600)
	s, err := readKey(file)
	if err != nil || s.alg != "ES384" {
		t.Fatalf("%v, %v", s, err)
	}
	jwks, err := JWKS(file)
	if err != nil {
		t.Fatal(err)
	}
	jwt, err := s.assertion(testID, "https://lab.example/oauth2/token", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	verified(t, jwt, jwks)
}

func TestKeysThatWillNotDo(t *testing.T) {
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		os.WriteFile(file, []byte(text), 0o600)
		return file
	}
	for _, test := range []struct{ name, file, want string }{
		{"short RSA", pemFile(t, "PRIVATE KEY", rsaKey(t, 1024)), "too short"},
		{"P-224", pemFile(t, "EC PRIVATE KEY", ecKey(t, elliptic.P224())), "P-256"},
		{"Ed25519", pemFile(t, "PRIVATE KEY", edwards), "neither an RSA key"},
		{"none", filepath.Join(dir, "none"), "no such file"},
		{"empty", write("empty", ""), "no private key"},
		{"certificate", write("cert", "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"), "no private key"},
		{"garbage", write("garbage", "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n"), "cannot be read"},
		{"encrypted", write("encrypted", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMA==\n-----END ENCRYPTED PRIVATE KEY-----\n"), "encrypted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := JWKS(test.file); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			p := &place{}
			h := client(t, p, func(c *Config) { c.Method, c.PrivateKeyFile, c.Secret = "private_key_jwt", test.file, nil })
			if _, err := post(h, "x"); err == nil || p.heard != nil {
				t.Errorf("got %v and requests %v", err, p.heard)
			}
		})
	}
}
