package fhir

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What a conditional create costs of the quota fhirInteractions when the resource is new (medplum.md 0.3). One that exists
// costs 20 alone and 40 in a bundle.
const (
	CostSingle = 120
	CostEntry  = 140
)

// Limits are what Medplum's RateLimit headers say: it sends two, and never a Retry-After.
type Limits struct {
	Requests Limit // of the address, in requests
	Units    Limit // of the membership, in units of the quota fhirInteractions
}

// Limit is what is left of one limit. The zero value means that nothing was said.
type Limit struct {
	Said  bool
	Left  int           // r
	Reset time.Duration // t: until all of it is back, rounded up to seconds by the server
}

// limits reads the header lines RateLimit: "requests";r=59983;t=58
func limits(h http.Header) Limits {
	var l Limits
	for _, line := range h.Values("RateLimit") {
		for item := range strings.SplitSeq(line, ",") {
			name, limit, ok := parseLimit(item)
			switch {
			case !ok:
			case name == "requests":
				l.Requests = limit
			case name == "fhirInteractions":
				l.Units = limit
			}
		}
	}
	return l
}

func parseLimit(item string) (name string, l Limit, ok bool) {
	fields := strings.Split(item, ";")
	name, err := strconv.Unquote(strings.TrimSpace(fields[0]))
	if err != nil {
		return "", l, false
	}
	var left, reset int
	for _, f := range fields[1:] {
		f = strings.TrimSpace(f)
		if n, _ := fmt.Sscanf(f, "r=%d", &left); n == 1 {
			l.Said = true
		}
		fmt.Sscanf(f, "t=%d", &reset)
	}
	l.Left, l.Reset = max(0, left), seconds(reset)
	return name, l, l.Said
}

// retryAfter is how long a refusal asks us to wait: Retry-After in either form (RFC 9110 10.2.3), else the reset of what
// is used up.
func retryAfter(h http.Header, l Limits) time.Duration {
	said := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.Atoi(said); err == nil {
		return seconds(s)
	}
	if at, err := http.ParseTime(said); err == nil {
		now, err := http.ParseTime(h.Get("Date")) // the server's own clock; ours may be off
		if err != nil {
			now = time.Now()
		}
		return seconds(int(at.Sub(now) / time.Second))
	}
	var wait time.Duration
	for _, limit := range []Limit{l.Requests, l.Units} {
		if limit.Said && limit.Left == 0 {
			wait = max(wait, limit.Reset)
		}
	}
	return wait
}

// seconds keeps what a server says within an hour, so that a slip of its operator cannot stop a laboratory for a day.
func seconds(n int) time.Duration { return time.Duration(min(max(n, 0), 3600)) * time.Second }
