package auth

import (
	"net/http"
	"strings"
)

// fallback gives tokens, and Basic while the token endpoint says that it offers none. It is entered by offersNone alone:
// never by a refusal of our credentials, a full quota, a redirect, or a network that fails. Both endpoints are https with a
// verified chain, or on this machine; New takes no others. It is left with the first token, or with the first OAuth error
// that is not about the grant; what the network does meanwhile changes nothing.
type fallback struct {
	*tokens
	basic basic
}

func (f fallback) credentials(req *http.Request) (header, error) {
	if f.instead() {
		return f.basic.credentials(req)
	}
	h, err := f.tokens.credentials(req)
	if err != nil && f.instead() {
		return f.basic.credentials(req)
	}
	return h, err
}

func (f fallback) drop(h header) bool {
	if strings.HasPrefix(*h.text, "Basic ") {
		return false
	}
	return f.tokens.drop(h)
}
