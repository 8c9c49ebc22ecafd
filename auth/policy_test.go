package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"labagent/sandbox"
)

var lab7 = Need{Tag: "urn:labagent|lab-7", Report: true}

// The file that goes out with the packages is what policy generate prints for its tag.
func TestPackagedPolicy(t *testing.T) {
	want, err := os.ReadFile("../packaging/access-policy.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := Policy(lab7).JSON(); string(got) != string(want) {
		t.Errorf("policy generate prints\n%s\nand packaging/access-policy.json is\n%s", got, want)
	}
}

// checked asks a sandbox where our client has a policy.
func checked(t *testing.T, p *AccessPolicy, n Need) []Finding {
	t.Helper()
	const base = "https://lab.example/"
	server := sandbox.New(sandbox.Options{BaseURL: base})
	var policy *sandbox.Policy
	if p != nil {
		if err := json.Unmarshal(p.JSON(), &policy); err != nil {
			t.Fatal(err)
		}
	}
	server.AddClient(sandbox.Client{ID: testID, Secret: testSecret, Policy: policy})
	h, err := Client(Config{ClientID: testID, Secret: func() (string, error) { return testSecret, nil }, Server: base, Network: server})
	if err != nil {
		t.Fatal(err)
	}
	findings, err := Check(t.Context(), h, base, n)
	if err != nil {
		t.Fatal(err)
	}
	return findings
}

// words are findings in short.
func words(findings []Finding) []string {
	var list []string
	for _, f := range findings {
		list = append(list, strings.Trim(fmt.Sprintf("%s %s %s", f.Kind, f.Type, f.Reason), " "))
	}
	return list
}

func TestGeneratedPolicyIsClean(t *testing.T) {
	for _, n := range []Need{lab7, {Tag: "urn:labagent|lab-7"}, {Tag: "https://a.example/x+y;z|50%&#1", Report: true}} {
		p := Policy(n)
		if got := words(checked(t, &p, n)); len(got) > 0 {
			t.Errorf("%+v: %q", n, got)
		}
	}
}

// Every policy that is too wide, too narrow or drops data is flagged with its reason.
func TestPolicyFindings(t *testing.T) {
	both := []string{"create", "search"}
	observation := func(f func(*Rule)) func(*AccessPolicy) { return func(p *AccessPolicy) { f(&p.Resource[0]) } }
	interaction := func(list ...string) func(*AccessPolicy) {
		return observation(func(r *Rule) { r.Interaction = list })
	}
	criteria := func(text string) func(*AccessPolicy) { return observation(func(r *Rule) { r.Criteria = text }) }
	more := func(r ...Rule) func(*AccessPolicy) {
		return func(p *AccessPolicy) { p.Resource = append(p.Resource, r...) }
	}
	for _, test := range []struct {
		name string
		wide func(*AccessPolicy)
		want []string // all findings
	}{
		{"any type", more(Rule{ResourceType: "*"}), []string{"wide * any-type"}},
		{"any type to read", more(Rule{ResourceType: "*", Readonly: true}), []string{"wide * any-type"}},
		{"any type instead", func(p *AccessPolicy) { p.Resource = []Rule{{ResourceType: "*", Interaction: both}} }, []string{"wide * any-type"}},
		{"no interactions", interaction(), []string{"wide Observation no-interaction"}},
		{"update", interaction("create", "search", "update"), []string{"wide Observation interaction"}},
		{"delete", interaction("create", "search", "delete"), []string{"wide Observation interaction"}},
		{"read", interaction("create", "search", "read"), []string{"wide Observation interaction"}},
		{"vread", interaction("create", "search", "vread"), []string{"wide Observation interaction"}},
		{"history", interaction("create", "search", "history"), []string{"wide Observation interaction"}},
		{"unknown word", interaction("create", "search", "own"), []string{"wide Observation interaction"}},
		{"AccessPolicy", more(Rule{ResourceType: "AccessPolicy", Interaction: both}), []string{"wide AccessPolicy powerful-type"}},
		{"ClientApplication", more(Rule{ResourceType: "ClientApplication", Interaction: []string{"read"}}), []string{"wide ClientApplication powerful-type"}},
		{"Bot", more(Rule{ResourceType: "Bot"}), []string{"wide Bot powerful-type"}},
		{"Patient", more(Rule{ResourceType: "Patient", Interaction: []string{"search"}}), []string{"wide Patient type"}},
		{"Binary", more(Rule{ResourceType: "Binary", Interaction: []string{"create"}}), []string{"wide Binary type"}},
		{"SearchParameter to change", more(Rule{ResourceType: "SearchParameter"}), []string{"wide SearchParameter type"}},
		{"a type twice", func(p *AccessPolicy) { p.Resource = append(p.Resource, p.Resource[0]) }, []string{"wide Observation second-entry"}},
		{"a type twice, the leak", more(Rule{ResourceType: "Observation", Interaction: []string{"create"}}),
			[]string{"wide Observation no-criteria", "wide Observation second-entry"}},
		{"no criteria", criteria(""), []string{"wide Observation no-criteria"}},
		{"another tag", criteria("Observation?_tag=urn:labagent|lab-8"), []string{"wide Observation criteria", "missing Observation criteria"}},
		{"our tag or another", criteria("Observation?_tag=urn:labagent|lab-7,urn:labagent|lab-8"), []string{"wide Observation criteria", "missing Observation criteria"}},
		{"any tag but ours", criteria("Observation?_tag:not=urn:labagent|lab-7"), []string{"wide Observation criteria", "missing Observation criteria"}},
		{"a part of our tag", criteria("Observation?_tag=lab-7"), []string{"wide Observation criteria", "missing Observation criteria"}},
		{"by status", criteria("Observation?status=preliminary"), []string{"wide Observation criteria", "missing Observation criteria"}},
		{"of another type", criteria("Patient?_tag=urn:labagent|lab-7"), []string{"wide Observation criteria", "missing Observation criteria"}},
		{"our tag and more", criteria("Observation?_tag=urn:labagent|lab-7&status=final"), []string{"missing Observation criteria"}},
		{"hidden fields", observation(func(r *Rule) { r.HiddenFields = []string{"note"} }), []string{"drops Observation hidden-fields"}},
		{"readonly fields", observation(func(r *Rule) { r.ReadonlyFields = []string{"valueQuantity"} }), []string{"drops Observation readonly-fields"}},
		{"create alone", interaction("create"), []string{"missing Observation search"}},
		{"search alone", interaction("search"), []string{"missing Observation create"}},
		{"only to read", observation(func(r *Rule) { r.Interaction, r.Readonly = nil, true }),
			[]string{"wide Observation interaction", "wide Observation interaction", "wide Observation interaction", "missing Observation create"}},
		{"no sheet", func(p *AccessPolicy) { p.Resource = p.Resource[:1] }, []string{"missing DiagnosticReport create", "missing DiagnosticReport search"}},
		{"nothing", func(p *AccessPolicy) { p.Resource = nil }, []string{
			"missing Observation create", "missing Observation search", "missing DiagnosticReport create", "missing DiagnosticReport search"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := Policy(lab7)
			test.wide(&p)
			if got := words(checked(t, &p, lab7)); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	p := Policy(lab7)
	if got := words(checked(t, &p, Need{Tag: lab7.Tag})); !slices.Equal(got, []string{"wide DiagnosticReport type"}) {
		t.Errorf("a sheet that is not sent: %q", got)
	}
	if got := words(checked(t, nil, lab7)); !slices.Equal(got, []string{"wide * any-type"}) {
		t.Errorf("no policy: %q", got)
	}
}

// always is a server that always says the same.
type always struct {
	status int
	body   string
}

func (s always) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: s.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(s.body)), Request: r}, nil
}

// Administrators are flagged, every other answer says whose fault it is, and nothing that comes of one holds the secret.
func TestCheckAnswers(t *testing.T) {
	rule := func(text string) string {
		return `{"accessPolicy":{"resource":[` + text + `]},"profile":{"secret":"` + testSecret + `"}}`
	}
	var fine string
	for i, r := range Policy(lab7).Resource {
		text, _ := json.Marshal(r)
		fine += strings.Repeat(",", min(i, 1)) + string(text)
	}
	for _, test := range []struct {
		name string
		says always
		want string // findings, or error
	}{
		{"fine", always{200, rule(fine)}, "[]"},
		{"administrator", always{200, strings.Replace(rule(fine), "{", `{"membership":{"admin":true},`, 1)}, `["wide  admin"]`},
		{"super administrator", always{200, strings.Replace(rule(fine), "{", `{"project":{"superAdmin":true},`, 1)}, `["wide  super-admin"]`},
		{"no policy told", always{200, `{"profile":{"secret":"` + testSecret + `"}}`}, `["wide * any-type"]`},
		{"secret as a type", always{200, rule(fine + `,{"resourceType":"` + testSecret + `"}`)}, `["wide something unknown type"]`},
		{"secret as criteria", always{200, rule(strings.Replace(fine, "lab-7", testSecret, 1))}, `["wide Observation criteria" "missing Observation criteria"]`},
		{"secret as an interaction", always{200, rule(strings.Replace(fine, `"search"`, `"search","`+testSecret+`"`, 1))}, `["wide Observation interaction"]`},
		{"torn", always{200, `{"profile":{"secret":"` + testSecret}, "ours"},
		{"of another shape", always{200, `{"accessPolicy":"` + testSecret + `"}`}, "ours"},
		{"unauthorized", always{401, testSecret}, "ours"},
		{"forbidden", always{403, testSecret}, "ours"},
		{"gone", always{410, testSecret}, "ours"},
		{"not Medplum", always{404, testSecret}, "ours"},
		{"policy deleted", always{400, `{"issue":[{"details":{"text":"Cannot authenticate: ` + testSecret + `"}}]}`}, "ours"},
		{"database down", always{400, testSecret}, "weather"},
		{"too many requests", always{429, testSecret}, "weather"},
		{"broken", always{500, testSecret}, "weather"},
	} {
		t.Run(test.name, func(t *testing.T) {
			findings, err := Check(t.Context(), &http.Client{Transport: test.says}, "https://lab.example/", lab7)
			got := fmt.Sprintf("%q", words(findings))
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Fatalf("%T is no *Error", err)
			}
			if e != nil {
				got = "weather"
				if e.Ours {
					got = "ours"
				}
			}
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if told := fmt.Sprintf("%#v %v %#v", findings, err, e); strings.Contains(told, testSecret) {
				t.Errorf("the secret shows: %s", told)
			}
		})
	}
}
