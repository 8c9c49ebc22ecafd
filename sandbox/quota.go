package sandbox

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// minute is the length of every window; it begins with the first request that falls into it and does not slide.
const minute = 60 * time.Second

// What FHIR interactions cost, in units of the quota. A conditional create searches and writes; in a bundle its search is
// made once more beforehand.
const (
	costRead   = 1
	costSearch = 20
	costWrite  = 100
)

// window counts what was spent of a limit in a minute.
type window struct {
	ends  time.Time
	spent int
}

// spendWindow takes n of the limit under a key, and says what is left and when the window ends; the lock must be held.
// What goes beyond the limit is counted too.
func (s *Server) spendWindow(key string, n, limit int) (left int, ends time.Duration, over *fault) {
	now := s.o.Clock()
	w := s.windows[key]
	first := w == nil || !now.Before(w.ends)
	if first {
		w = &window{ends: now.Add(minute)}
		s.windows[key] = w
	}
	w.spent += n
	left = max(0, limit-w.spent)
	ends = w.ends.Sub(now)
	if w.spent > limit {
		over = &fault{status: http.StatusTooManyRequests, id: "too-many-requests", code: "throttled", text: "Too Many Requests"}
		over.diagnostics = fmt.Sprintf(`{"_remainingPoints":0,"_msBeforeNext":%d,"_consumedPoints":%d,"_isFirstInDuration":%t,"limit":%d}`,
			ends.Milliseconds(), w.spent, first, limit)
	}
	return left, ends, over
}

// rateLimit is the text of a RateLimit header; there is no Retry-After.
func rateLimit(name string, left int, ends time.Duration) string {
	return fmt.Sprintf(`"%s";r=%d;t=%d`, name, left, int((ends+time.Second-1)/time.Second))
}

// limitAddress spends one request of the caller's address: the limit of /auth and /oauth2 where it applies, else the
// general one. The exact URL /auth/me counts as general.
func (c *call) limitAddress() *fault {
	path := c.r.URL.Path
	kind, limit := "requests", c.s.o.RequestLimit
	if (strings.HasPrefix(path, "/auth/") || strings.HasPrefix(path, "/oauth2/")) && c.r.URL.RequestURI() != "/auth/me" {
		kind, limit = "auth", c.s.o.AuthLimit
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	left, ends, over := c.s.spendWindow(kind+" "+c.address(), 1, limit)
	c.requests = rateLimit("requests", left, ends)
	return over
}

// address is the caller's: the last hop of X-Forwarded-For, since the server trusts one proxy.
func (c *call) address() string {
	if hops := c.r.Header.Get("X-Forwarded-For"); hops != "" {
		return strings.TrimSpace(hops[strings.LastIndexByte(hops, ',')+1:])
	}
	host, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		return c.r.RemoteAddr
	}
	return host
}

// cost spends n units of the membership's FHIR quota. Once a request has run over, the rest of it is refused without
// spending more. The lock must be held.
func (c *call) cost(n int) *fault {
	if c.over != nil {
		return c.over
	}
	left, ends, over := c.s.spendWindow("fhir "+c.client.ID, n, c.s.switches.Quota)
	c.interactions = rateLimit("fhirInteractions", left, ends)
	c.over = over
	return over
}
