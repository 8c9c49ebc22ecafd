package sandbox

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of the algorithms
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
)

// badSignature is what Medplum says of a wrong signature, an assertion that ended, an unknown kid and a jwksUri that does
// not answer alike.
const badSignature = "Invalid client assertion signature"

// assertion reads a client assertion (RFC 7523), in the order and the words of a real server. The client must have a
// secret all the same, and it is what the rest goes on with. A jti may come again.
func (c *call) assertion(kind, text string) (id, secret, wrong string) {
	if kind != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return "", "", "Unsupported client assertion type"
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return "", "", "Invalid client assertion"
	}
	var head struct{ Alg, Kid string }
	var claims struct {
		Iss, Sub string
		Aud      any
		Exp, Nbf *float64
	}
	if !part(parts[0], &head) || !part(parts[1], &claims) {
		return "", "", "Invalid client assertion"
	}
	if claims.Aud != c.base()+"oauth2/token" {
		return "", "", "Invalid client assertion audience"
	}
	if claims.Iss != claims.Sub {
		return "", "", "Invalid client assertion issuer"
	}
	c.s.mu.Lock()
	known := c.s.clients[claims.Iss]
	var keys func() ([]byte, error)
	if known != nil {
		keys, secret = known.JWKS, known.Secret
	}
	c.s.mu.Unlock()
	switch {
	case known == nil:
		return "", "", "Client not found"
	case keys == nil:
		return "", "", "Client must have a JWK Set URL"
	}
	now := float64(c.s.o.Clock().Unix())
	set, err := keys()
	if err != nil || claims.Exp != nil && *claims.Exp <= now || claims.Nbf != nil && *claims.Nbf > now {
		return "", "", badSignature
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !signedBy(set, head.Alg, head.Kid, parts[0]+"."+parts[1], signature) {
		return "", "", badSignature
	}
	return claims.Iss, secret, ""
}

// part reads one part of a JWT.
func part(text string, into any) bool {
	data, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && json.Unmarshal(data, into) == nil
}

// jwk is a public key of a JSON Web Key Set.
type jwk struct{ Kty, Kid, Alg, Use, Crv, N, E, X, Y string }

// signedBy looks for the one key of the set that fits the header, and checks the signature with it.
func signedBy(set []byte, alg, kid, text string, signature []byte) bool {
	var all struct{ Keys []jwk }
	if json.Unmarshal(set, &all) != nil || len(alg) != 5 {
		return false
	}
	hash, known := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	if !known {
		return false
	}
	h := hash.New()
	h.Write([]byte(text))
	sum := h.Sum(nil)
	for _, key := range all.Keys {
		if kid != "" && key.Kid != kid || key.Alg != "" && key.Alg != alg || key.Use != "" && key.Use != "sig" {
			continue
		}
		switch {
		case alg[:2] == "RS" && key.Kty == "RSA":
			public := &rsa.PublicKey{N: key.number(key.N), E: int(key.number(key.E).Int64())}
			return rsa.VerifyPKCS1v15(public, hash, sum, signature) == nil
		case alg[:2] == "ES" && key.Kty == "EC":
			curve := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}[alg]
			size := (curve.Params().BitSize + 7) / 8
			if key.Crv != curve.Params().Name || len(signature) != 2*size {
				return false
			}
			if key.number(key.X).BitLen() > 8*size || key.number(key.Y).BitLen() > 8*size {
				return false
			}
			point := make([]byte, 1+2*size)
			point[0] = 4 // uncompressed (SEC 1 2.3.3)
			key.number(key.X).FillBytes(point[1 : 1+size])
			key.number(key.Y).FillBytes(point[1+size:])
			public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
			return err == nil && ecdsa.Verify(public, sum, new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:]))
		}
	}
	return false
}

func (jwk) number(text string) *big.Int {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return new(big.Int)
	}
	return new(big.Int).SetBytes(data)
}
