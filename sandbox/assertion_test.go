package sandbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// claim changes one claim, or kid in the header.
func claim(name string, value any) func(head, claims map[string]any) {
	return func(head, claims map[string]any) {
		if name == "kid" {
			head[name] = value
			return
		}
		claims[name] = value
	}
}

// assert gives the client a key and makes an assertion with it, changed.
func (b *bench) assert(change func(head, claims map[string]any)) {
	b.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	point, err := key.PublicKey.Bytes()
	if err != nil {
		b.t.Fatal(err)
	}
	jwks := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","x":%q,"y":%q}]}`, text(point[1:33]), text(point[33:]))
	b.change(func(c *Client) { c.JWKS = func() ([]byte, error) { return []byte(jwks), nil } })
	head := map[string]any{"alg": "ES256", "kid": "k1", "typ": "JWT"}
	claims := map[string]any{
		"iss": b.client.ID, "sub": b.client.ID, "aud": "http://127.0.0.1:8103/oauth2/token", "jti": "1", "exp": b.now.Add(time.Minute).Unix(),
	}
	if change != nil {
		change(head, claims)
	}
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			b.t.Fatal(err)
		}
		return text(data)
	}
	b.jwt = part(head) + "." + part(claims)
	sum := sha256.Sum256([]byte(b.jwt))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		b.t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	b.jwt += "." + text(signature)
}

// What no recording has: a signature changed in any byte, an algorithm that signs nothing, forms that are none.
func TestAssertionRefused(t *testing.T) {
	b := &bench{t: t, now: time.Now()}
	b.s = New(Options{})
	b.client = b.s.AddClient(Client{})
	ask := func(jwt string) int {
		form := url.Values{"grant_type": {"client_credentials"}, "client_assertion": {jwt},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}
		r, _ := http.NewRequest("POST", "http://127.0.0.1:8103/oauth2/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := b.s.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode
	}
	b.assert(nil)
	whole := b.jwt
	if got := ask(whole); got != 200 {
		t.Fatalf("an assertion as it should be: %d", got)
	}
	if got := ask(whole); got != 200 {
		t.Errorf("the same jti again: %d, want 200 as of a real server", got)
	}
	at := strings.LastIndexByte(whole, '.') + 1
	for i := at; i < len(whole)-1; i++ {
		other := byte('A')
		if whole[i] == 'A' {
			other = 'B'
		}
		if got := ask(whole[:i] + string(other) + whole[i+1:]); got != 400 {
			t.Fatalf("with letter %d of the signature changed: %d", i-at, got)
		}
	}
	for _, alg := range []string{"none", "HS256", "RS256", "ES384", "PS256", ""} {
		b.assert(func(head, _ map[string]any) { head["alg"] = alg })
		if got := ask(b.jwt); got != 400 {
			t.Errorf("alg %q: %d", alg, got)
		}
	}
	for _, jwt := range []string{"", "x", "a.b", "a.b.c", whole[:at], "..", "e30.e30."} {
		if got := ask(jwt); got != 400 {
			t.Errorf("%q: %d", jwt, got)
		}
	}
	b.assert(func(_, claims map[string]any) { delete(claims, "exp") })
	if got := ask(b.jwt); got != 200 {
		t.Errorf("without exp: %d, want 200 as of a real server", got)
	}
}
