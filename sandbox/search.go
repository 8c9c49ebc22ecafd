package sandbox

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// query is a search as far as the sandbox knows searching: every filter must match.
type query struct {
	filters []filter
	count   int
	offset  int
	total   bool
	given   [][2]string // parameters as given, for the self link
}

// filter is one search parameter; any of its values may match.
type filter struct {
	name   string
	values []string
}

// readers say what a parameter looks at in a resource: tokens as system|code, references as they stand.
var readers = map[string]func(body map[string]any) []string{
	"_id":                 func(b map[string]any) []string { return prefixed(texts(b["id"])) },
	"_tag":                func(b map[string]any) []string { return tokens(object(b["meta"])["tag"], "code") },
	"identifier":          func(b map[string]any) []string { return tokens(b["identifier"], "value") },
	"status":              func(b map[string]any) []string { return prefixed(texts(b["status"])) },
	"code":                func(b map[string]any) []string { return codings(b["code"]) },
	"category":            func(b map[string]any) []string { return codings(b["category"]) },
	"subject":             func(b map[string]any) []string { return references(b["subject"]) },
	"patient":             func(b map[string]any) []string { return references(b["subject"]) },
	"specimen":            func(b map[string]any) []string { return references(b["specimen"]) },
	"device":              func(b map[string]any) []string { return references(b["device"]) },
	"based-on":            func(b map[string]any) []string { return references(b["basedOn"]) },
	"result":              func(b map[string]any) []string { return references(b["result"]) },
	"subject:identifier":  func(b map[string]any) []string { return logical(b["subject"]) },
	"specimen:identifier": func(b map[string]any) []string { return logical(b["specimen"]) },
	"device:identifier":   func(b map[string]any) []string { return logical(b["device"]) },
}

// parseQuery reads a query string the way a browser's URLSearchParams does: + is a space, & always parts.
func parseQuery(raw string) (query, *fault) {
	q := query{count: 20}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, value = unescape(name), unescape(value)
		q.given = append(q.given, [2]string{name, value})
		switch {
		case name == "_count":
			q.count, _ = strconv.Atoi(value)
		case name == "_offset":
			q.offset, _ = strconv.Atoi(value)
		case name == "_total":
			q.total = value != "none"
		case strings.HasPrefix(name, "_medplum-"), name == "_sort", name == "_fields", name == "_format":
		case readers[name] == nil:
			return q, badRequest("Unknown search parameter: "+name, "")
		default:
			q.filters = append(q.filters, filter{name: name, values: splitValues(value)})
		}
	}
	return q, nil
}

// parseCriteria reads TYPE?query.
func parseCriteria(criteria string) (query, *fault) {
	_, raw, _ := strings.Cut(criteria, "?")
	return parseQuery(raw)
}

func unescape(s string) string {
	s = strings.ReplaceAll(s, "+", " ")
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}

// splitValues parts a value at its commas, which mean "or" unless written \, and takes the other escapes off too.
func splitValues(value string) []string {
	var list []string
	var one strings.Builder
	for i := 0; i < len(value); i++ {
		switch {
		case value[i] == '\\' && i+1 < len(value) && strings.IndexByte(`,|$\`, value[i+1]) >= 0:
			i++
			one.WriteByte(value[i])
		case value[i] == ',':
			list = append(list, one.String())
			one.Reset()
		default:
			one.WriteByte(value[i])
		}
	}
	return append(list, one.String())
}

func (q query) matches(rec *record) bool {
	for _, f := range q.filters {
		held := readers[f.name](rec.body)
		if !slices.ContainsFunc(f.values, func(want string) bool {
			return slices.ContainsFunc(held, func(have string) bool { return matchToken(want, have) })
		}) {
			return false
		}
	}
	return true
}

// matchToken compares a searched value with a held system|code: without a bar any system will do, with nothing before it
// there must be none.
func matchToken(want, have string) bool {
	if want == have {
		return true
	}
	if !strings.Contains(want, "|") {
		_, code, barred := strings.Cut(have, "|")
		return barred && code == want || !barred && strings.HasSuffix(have, "/"+want)
	}
	if system, code, _ := strings.Cut(want, "|"); code == "" {
		return strings.HasPrefix(have, system+"|")
	}
	return false
}

// find lists what a search by the caller finds, unpaged; the lock must be held.
func (c *call) find(typ string, q query) ([]*record, *fault) {
	if f := c.cost(costSearch); f != nil {
		return nil, f
	}
	if c.s.switches.DatabaseDown {
		return nil, databaseDown()
	}
	if !c.may("search", typ) {
		return nil, forbidden()
	}
	var list []*record
	for _, rec := range c.s.store.candidates(typ, q) {
		if !q.matches(rec) {
			continue
		}
		visible, f := c.visible(rec)
		if f != nil {
			return nil, f
		}
		if visible {
			list = append(list, rec)
		}
	}
	return list, nil
}

// search answers GET Type?query with a searchset.
func (c *call) search(typ, raw string) (map[string]any, *fault) {
	q, wrong := parseQuery(raw)
	if wrong != nil {
		if f := c.cost(costSearch); f != nil {
			return nil, f
		}
		return nil, wrong
	}
	found, f := c.find(typ, q)
	if f != nil {
		return nil, f
	}
	bundle := map[string]any{"resourceType": "Bundle", "type": "searchset"}
	if q.total {
		bundle["total"] = len(found)
	}
	page := found[min(q.offset, len(found)):]
	more := len(page) > q.count
	page = page[:min(q.count, len(page))]
	var entries []any
	for _, rec := range page {
		entries = append(entries, map[string]any{
			"fullUrl": c.base() + "fhir/R4/" + typ + "/" + rec.id, "search": map[string]any{"mode": "match"}, "resource": rec.body,
		})
	}
	links := []any{link("self", c.searchURL(typ, q, q.offset))}
	if len(entries) > 0 {
		bundle["entry"] = entries
		links = append(links, link("first", c.searchURL(typ, q, 0)))
	}
	if more {
		links = append(links, link("next", c.searchURL(typ, q, q.offset+q.count)))
	}
	bundle["link"] = links
	return bundle, nil
}

func link(relation, to string) map[string]any {
	return map[string]any{"relation": relation, "url": to}
}

func (c *call) searchURL(typ string, q query, offset int) string {
	params := url.Values{"_count": {strconv.Itoa(q.count)}}
	if offset > 0 {
		params.Set("_offset", strconv.Itoa(offset))
	}
	for _, p := range q.given {
		if p[0] != "_count" && p[0] != "_offset" {
			params.Add(p[0], p[1])
		}
	}
	return fmt.Sprintf("%sfhir/R4/%s?%s", c.base(), typ, params.Encode())
}

func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// list reads a value that may stand once or repeated.
func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

func texts(v any) []string {
	var out []string
	for _, one := range list(v) {
		if s, ok := one.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func prefixed(codes []string) []string {
	for i, code := range codes {
		codes[i] = "|" + code
	}
	return codes
}

func tokens(v any, member string) []string {
	var out []string
	for _, one := range list(v) {
		system, _ := object(one)["system"].(string)
		if value, ok := object(one)[member].(string); ok {
			out = append(out, system+"|"+value)
		}
	}
	return out
}

func codings(v any) []string {
	var out []string
	for _, concept := range list(v) {
		out = append(out, tokens(object(concept)["coding"], "code")...)
	}
	return out
}

// references lists the literal references; logical ones are only found by the modifier :identifier.
func references(v any) []string {
	var out []string
	for _, one := range list(v) {
		if ref, ok := object(one)["reference"].(string); ok {
			out = append(out, ref)
		}
	}
	return out
}

func logical(v any) []string {
	var out []string
	for _, one := range list(v) {
		out = append(out, tokens(object(one)["identifier"], "value")...)
	}
	return out
}
