package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384 and SHA-512 of the larger keys
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"
)

const (
	// assertionType is RFC 7523 2.2.
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// assertionLife is how long an assertion is good; five minutes are the most a server should take, and our clock may be
	// ahead of its.
	assertionLife = 4 * time.Minute
)

// signer is a private key with the algorithm of RFC 7518 3.1 that fits it. It lives for one signature and is kept nowhere.
type signer struct {
	key  crypto.Signer
	alg  string
	hash crypto.Hash
	size int // of an EC key's coordinates in bytes; 0: RSA
}

// NewKey makes a private key for private_key_jwt (ES384), as PEM.
func NewKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make private key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// JWKS is the public half of the private key in file, as the JSON Web Key Set (RFC 7517 5) that the server's jwksUri must
// answer with.
func JWKS(file string) ([]byte, error) {
	s, err := readKey(file)
	if err != nil {
		return nil, err
	}
	members := s.public()
	members["kid"], members["alg"], members["use"] = s.id(), s.alg, "sig"
	return json.Marshal(map[string]any{"keys": []any{members}})
}

// readKey reads an RSA or EC key from PEM: PKCS #8, PKCS #1 or SEC 1.
func readKey(file string) (*signer, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, fmt.Errorf("%s: no private key in it", file)
		}
		var key any
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			if block.Headers["DEK-Info"] != "" {
				return nil, fmt.Errorf("%s: the key is encrypted; it must not be", file)
			}
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, fmt.Errorf("%s: the key is encrypted; it must not be", file)
		default: // EC PARAMETERS, certificates
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: the key cannot be read", file)
		}
		s, err := newSigner(key)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return s, nil
	}
}

// newSigner chooses the algorithm by the key.
func newSigner(key any) (*signer, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		switch bits := key.N.BitLen(); {
		case bits < 2048: // RFC 7518 3.3
			return nil, fmt.Errorf("an RSA key of %d bits is too short, 2048 are wanted", bits)
		case bits < 3072:
			return &signer{key: key, alg: "RS256", hash: crypto.SHA256}, nil
		case bits < 4096:
			return &signer{key: key, alg: "RS384", hash: crypto.SHA384}, nil
		default:
			return &signer{key: key, alg: "RS512", hash: crypto.SHA512}, nil
		}
	case *ecdsa.PrivateKey:
		switch key.Curve {
		case elliptic.P256():
			return &signer{key: key, alg: "ES256", hash: crypto.SHA256, size: 32}, nil
		case elliptic.P384():
			return &signer{key: key, alg: "ES384", hash: crypto.SHA384, size: 48}, nil
		case elliptic.P521():
			return &signer{key: key, alg: "ES512", hash: crypto.SHA512, size: 66}, nil
		}
	}
	return nil, errors.New("neither an RSA key nor an EC key of P-256, P-384 or P-521")
}

// public is the public key's members (RFC 7518 6), just those a thumbprint is made of.
func (s *signer) public() map[string]string {
	text := base64.RawURLEncoding.EncodeToString
	switch key := s.key.Public().(type) {
	case *rsa.PublicKey:
		return map[string]string{"kty": "RSA", "n": text(key.N.Bytes()), "e": text(big.NewInt(int64(key.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 4, x, y
		if err != nil {
			panic(err) // the curve was checked
		}
		return map[string]string{"kty": "EC", "crv": key.Params().Name, "x": text(point[1 : 1+s.size]), "y": text(point[1+s.size:])}
	}
	panic("a signer of a third kind")
}

// id is the key's thumbprint (RFC 7638): the same key has the same id everywhere.
func (s *signer) id() string {
	members, err := json.Marshal(s.public()) // sorted, without spaces, as 3.2 wants it
	if err != nil {
		panic(err) // strings only
	}
	sum := sha256.Sum256(members)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// assertion is a signed statement of who we are, good once, for one token endpoint (RFC 7523 3).
func (s *signer) assertion(client, tokenURL string, now time.Time) (string, error) {
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err) // made here
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	text := part(map[string]string{"alg": s.alg, "typ": "JWT", "kid": s.id()}) + "." + part(map[string]any{
		"iss": client, "sub": client, "aud": tokenURL, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	signature, err := s.sign([]byte(text))
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// sign signs as RFC 7518 3.3 and 3.4 say: PKCS #1 v1.5, or r and s at full length.
func (s *signer) sign(text []byte) ([]byte, error) {
	h := s.hash.New()
	h.Write(text)
	if s.size == 0 {
		return s.key.Sign(rand.Reader, h.Sum(nil), s.hash)
	}
	r, t, err := ecdsa.Sign(rand.Reader, s.key.(*ecdsa.PrivateKey), h.Sum(nil))
	if err != nil {
		return nil, err
	}
	out := make([]byte, 2*s.size)
	r.FillBytes(out[:s.size])
	t.FillBytes(out[s.size:])
	return out, nil
}
