package sandbox

import (
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Client is a ClientApplication with its membership: who may ask the server for something.
type Client struct {
	ID       string        // its client_id; empty: the server makes one
	Secret   string        // its client_secret; empty: the server makes one
	Retiring string        // the secret before a rotation: still good at the token endpoint, not with Basic
	Name     string        // for people
	Lifetime time.Duration // of its tokens; 0: an hour
	Policy   *Policy       // nil: none, and so everything is allowed

	// JWKS is what its jwksUri answers with, asked at every assertion; nil: it has none. An error is a host that is down.
	JWKS func() ([]byte, error)

	Disabled       bool // status off: no new token; tokens already issued and Basic go on working
	Blocked        bool // its address is not allowed: no new token
	MembershipGone bool // no new token; 410 for tokens already issued
	PolicyGone     bool // the policy it had was deleted: everything is refused as unauthenticated

	membership string
}

// login is a token that was issued.
type login struct {
	client string
	ends   time.Time // JWT exp or the end of its life in Redis, whichever is first
}

// tokenLife is how long Redis keeps a login, whatever the token says.
const tokenLife = 24 * time.Hour

// projectID is the one project of the server.
const projectID = "2e4af449-0000-4d0f-96c6-9b7fe7e6979e"

// AddClient makes a client known and returns it with what the server filled in.
func (s *Server) AddClient(c Client) Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.ID == "" {
		c.ID = s.uuid()
	}
	if c.Secret == "" {
		c.Secret = strings.ReplaceAll(s.uuid()+s.uuid(), "-", "")
	}
	if c.Lifetime == 0 {
		c.Lifetime = time.Hour
	}
	c.membership = s.uuid()
	s.clients[c.ID] = &c
	return c
}

// Change alters a client, as an administrator does while it is at work; it acts on the next request.
func (s *Server) Change(id string, f func(*Client)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[id]; c != nil {
		f(c)
	}
}

// authenticate lets the caller of a FHIR or /auth request in.
func (c *call) authenticate() *fault {
	scheme, value, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	sw, _ := c.s.switched()
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	var client *Client
	switch scheme { // case-sensitive, against RFC 9110
	case "Bearer":
		login, known := c.s.tokens[value]
		if !known || !c.s.o.Clock().Before(login.ends) {
			return unauthorized()
		}
		client = c.s.clients[login.client]
		if client == nil || client.MembershipGone {
			f := gone()
			f.untraced = true
			return f
		}
	case "Basic":
		if sw.DatabaseDown {
			f := databaseDown()
			f.untraced = true
			return f
		}
		id, secret := basic(value)
		client = c.s.clients[id]
		if client == nil || client.MembershipGone || !same(secret, client.Secret) {
			return unauthorized()
		}
	default:
		return unauthorized()
	}
	if client.PolicyGone {
		return &fault{status: http.StatusBadRequest, code: "invalid", text: policyGone, untraced: true}
	}
	c.client = *client
	return nil
}

const policyGone = "Cannot authenticate: Invalid access policy configuration. Please contact your administrator to update your project membership."

// basic reads the value of a Basic header: split at the first two colons, never percent-decoded.
func basic(value string) (id, secret string) {
	plain, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return "", ""
	}
	parts := strings.SplitN(string(plain), ":", 3)
	if len(parts) < 2 {
		return "", ""
	}
	return parts[0], parts[1]
}

func same(a, b string) bool {
	return b != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// me answers /auth/me: what the caller is and may do. As on a real server its own secret is in it.
func (c *call) me() {
	if f := c.authenticate(); f != nil {
		c.refuse(f)
		return
	}
	who := map[string]any{"reference": "ClientApplication/" + c.client.ID, "display": c.client.Name}
	rules := []Rule{{ResourceType: "*"}}
	basedOn := []any{}
	if p := c.client.Policy; p != nil {
		rules = slices.Clone(p.Resource)
		basedOn = []any{map[string]any{"reference": "AccessPolicy/" + p.ID}}
	}
	rules = append(rules, Rule{ResourceType: "SearchParameter", Readonly: true}, Rule{ResourceType: "StructureDefinition", Readonly: true})
	c.answer(http.StatusOK, plainJSON, map[string]any{
		"project":    map[string]any{"resourceType": "Project", "id": projectID, "name": "Sandbox", "strictMode": true},
		"membership": map[string]any{"resourceType": "ProjectMembership", "id": c.client.membership, "user": who, "profile": who},
		"profile": map[string]any{
			"resourceType": "ClientApplication", "id": c.client.ID, "name": c.client.Name, "secret": c.client.Secret,
			"meta": map[string]any{"project": projectID},
		},
		"config":       map[string]any{"resourceType": "UserConfiguration", "menu": []any{}},
		"accessPolicy": map[string]any{"resourceType": "AccessPolicy", "basedOn": basedOn, "resource": rules},
	})
}
