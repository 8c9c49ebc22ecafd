package sandbox

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// token answers the token endpoint. Every refusal is 400 invalid_request, whatever the cause; only the description
// differs. When the database is down there is no error member at all, but an OperationOutcome.
func (c *call) token() {
	if kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		c.text(http.StatusBadRequest, plainHTML, "Unsupported content type")
		return
	}
	body, err := io.ReadAll(io.LimitReader(c.r.Body, 100<<10))
	if err != nil {
		c.drop()
	}
	form, _ := url.ParseQuery(string(body)) // what cannot be read is missing
	if sw, _ := c.s.switched(); sw.DatabaseDown {
		c.refuse(databaseDown())
		return
	}
	switch form.Get("grant_type") {
	case "":
		c.refuseToken("Missing grant_type")
		return
	case "client_credentials":
	default:
		c.refuseToken("Unsupported grant_type")
		return
	}
	id, secret := form.Get("client_id"), form.Get("client_secret")
	switch header, kind := c.r.Header.Get("Authorization"), form.Get("client_assertion_type"); {
	case kind != "":
		var wrong string
		if id, secret, wrong = c.assertion(kind, form.Get("client_assertion")); wrong != "" {
			c.refuseToken(wrong)
			return
		}
	case strings.HasPrefix(header, "Basic "):
		id, secret = basic(strings.TrimPrefix(header, "Basic "))
	case header != "":
		c.refuseToken("Invalid authorization header")
		return
	}
	client, wrong := c.credentials(id, secret)
	if wrong != "" {
		c.refuseToken(wrong)
		return
	}
	c.answer(http.StatusOK, plainJSON, c.issue(client, form.Get("scope")))
}

func (c *call) refuseToken(description string) {
	c.answer(http.StatusBadRequest, plainJSON, map[string]any{"error": "invalid_request", "error_description": description})
}

// credentials finds the client, or says what is wrong in the server's words.
func (c *call) credentials(id, secret string) (client Client, wrong string) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	known := c.s.clients[id]
	switch {
	case id == "":
		return client, "Missing client_id"
	case secret == "":
		return client, "Missing client_secret"
	case known == nil || known.Disabled:
		return client, "Invalid client"
	case !same(secret, known.Secret) && !same(secret, known.Retiring):
		return client, "Invalid secret"
	case known.Blocked:
		return client, "IP address not allowed"
	case known.MembershipGone:
		return client, "Invalid client"
	case known.PolicyGone:
		return client, policyGone
	}
	return *known, ""
}

// issue makes a token and the answer that carries it. There is no refresh token.
func (c *call) issue(client Client, scope string) map[string]any {
	if scope == "" {
		scope = "openid"
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	now := c.s.o.Clock()
	token := c.s.jwt(map[string]any{
		"client_id": client.ID, "login_id": c.s.uuid(), "sub": client.ID, "username": client.ID, "scope": scope,
		"profile": "ClientApplication/" + client.ID, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(client.Lifetime).Unix(),
		"iss": c.base(), "aud": client.ID,
	})
	c.s.tokens[token] = login{client: client.ID, ends: now.Add(min(client.Lifetime, tokenLife))}
	return map[string]any{
		"token_type": "Bearer", "expires_in": int(client.Lifetime.Seconds()), "scope": scope,
		"id_token": token, "access_token": token,
		"project":         map[string]any{"reference": "Project/" + projectID, "display": "Sandbox"},
		"profile":         map[string]any{"reference": "ClientApplication/" + client.ID, "display": client.Name},
		"smart_style_url": c.base() + "fhir/R4/.well-known/smart-styles.json", "need_patient_banner": false,
	}
}

// jwt makes something shaped like a signed token; the signature is noise. The lock must be held.
func (s *Server) jwt(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err) // the claims are made here
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"ES256","kid":"sandbox","typ":"JWT"}`)) + "." + encode(payload) + "." + encode([]byte(s.uuid()+s.uuid()))
}

// logout revokes the token it is asked with.
func (c *call) logout() {
	if f := c.authenticate(); f != nil {
		c.refuse(f)
		return
	}
	c.s.mu.Lock()
	delete(c.s.tokens, strings.TrimPrefix(c.r.Header.Get("Authorization"), "Bearer "))
	c.s.mu.Unlock()
	o := allOK()
	o.Extension = c.tracing()
	c.answer(http.StatusOK, fhirJSON, o)
}
