//go:build linux

package main_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"labagent/auth"
	"labagent/sandbox"
	"labagent/simulate"
	"labagent/status"
)

// remote is a server that is not ours: the agent comes as a client with the minimal policy, the test reads as somebody
// who may see everything.
type remote struct {
	url   string // with a final slash
	agent sandbox.Client
	tag   string // the one the client's policy is limited to
	admin string // a bearer token
}

// A real Medplum. The ClientApplication needs the policy of packaging/access-policy.json, with its tag or with that of
// LABAGENT_TEST_TAG. What the test creates stays there, under analyzers named after the moment.
func TestMedplum(t *testing.T) {
	r := remote{tag: cmp.Or(os.Getenv("LABAGENT_TEST_TAG"), "urn:labagent|lab-7")}
	var missing []string
	for name, to := range map[string]*string{
		"LABAGENT_TEST_URL": &r.url, "LABAGENT_TEST_CLIENT_ID": &r.agent.ID, "LABAGENT_TEST_CLIENT_SECRET": &r.agent.Secret,
		"LABAGENT_TEST_ADMIN_TOKEN": &r.admin,
	} {
		if *to = os.Getenv(name); *to == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		t.Skipf("no real Medplum server is named for this test: %s must be set", strings.Join(missing, ", "))
	}
	r.url = strings.TrimSuffix(r.url, "/") + "/"
	medplum(t, r)
}

// The same against the sandbox over HTTP, so that the test above is known to work when a real server is there.
func TestMedplumOnSandbox(t *testing.T) {
	t.Parallel()
	server := sandbox.New(sandbox.Options{})
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	var policy sandbox.Policy
	if err := json.Unmarshal(auth.Policy(auth.Need{Tag: "urn:labagent|lab-7", Report: true}).JSON(), &policy); err != nil {
		t.Fatal(err)
	}
	r := remote{url: web.URL + "/", tag: "urn:labagent|lab-7"}
	r.agent = server.AddClient(sandbox.Client{Name: "labagent", Policy: &policy})
	admin := server.AddClient(sandbox.Client{Name: "admin"})
	answer, err := http.PostForm(r.url+"oauth2/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {admin.ID}, "client_secret": {admin.Secret},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&token); err != nil || token.AccessToken == "" {
		t.Fatalf("no token: %d %v", answer.StatusCode, err)
	}
	r.admin = token.AccessToken
	medplum(t, r)
}

// search reads all a search finds, page by page.
func (r remote) search(t *testing.T, resourceType string, query url.Values) []json.RawMessage {
	t.Helper()
	query.Set("_count", "100")
	var all []json.RawMessage
	for next := query.Encode(); next != ""; {
		request, err := http.NewRequestWithContext(t.Context(), "GET", r.url+"fhir/R4/"+resourceType+"?"+next, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+r.admin)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("search %s: %s %v %s", resourceType, answer.Status, err, data)
		}
		var page struct {
			Link  []struct{ Relation, URL string }
			Entry []struct{ Resource json.RawMessage }
		}
		if err := json.Unmarshal(data, &page); err != nil {
			t.Fatal(err)
		}
		next = ""
		for _, l := range page.Link {
			if to, err := url.Parse(l.URL); err == nil && l.Relation == "next" {
				next = to.RawQuery // asked where we were told to ask, whatever the server calls itself
			}
		}
		for _, e := range page.Entry {
			all = append(all, e.Resource)
		}
	}
	return all
}

// observations are those of an analyzer's tests.
func (r remote) observations(t *testing.T, analyzer string, panel []simulate.Test) []json.RawMessage {
	t.Helper()
	var all []json.RawMessage
	for _, test := range panel {
		all = append(all, r.search(t, "Observation", url.Values{"code": {"urn:labagent:code:" + analyzer + "|" + test.Code}})...)
	}
	return all
}

// reports are the sheets on which the Observations stand, one of each specimen.
func (r remote) reports(t *testing.T, observations []json.RawMessage) []json.RawMessage {
	t.Helper()
	var all []json.RawMessage
	seen := map[string]bool{}
	for _, o := range read(t, observations) {
		if specimen := o.specimens()[0]; !seen[specimen] {
			seen[specimen] = true
			all = append(all, r.search(t, "DiagnosticReport", url.Values{"result": {"Observation/" + o.ID}})...)
		}
	}
	return all
}

// medplum plays the flows against a server and reads back what is there.
func medplum(t *testing.T, r remote) {
	run := strconv.FormatInt(time.Now().Unix(), 36)
	astmName, hl7Name := "test-"+run+"-astm", "test-"+run+"-hl7"
	s := siteAt(t, r.url, r.agent, r.tag)
	toASTM, toHL7 := free(t), free(t)
	s.configure("", analyzer(astmName, "astm", listenKey(toASTM), simulate.Hematology), analyzer(hl7Name, "hl7", listenKey(toHL7), simulate.Chemistry))

	// Wrong credentials: everything is kept, and a person is called.
	s.secret("not the secret")
	s.start()
	fixed := astmMessage("2000000001", "WBC=6.41 10*9/L", "HGB=139 g/L")
	s.open(toASTM)
	if !connect(t, toASTM).astm(fixed) {
		t.Fatal("not accepted")
	}
	s.await("the credentials are known to be wrong", time.Minute, func(now status.Snapshot) bool { return now.Server.Ours && now.Queue.Waiting == 1 })
	s.command(9, "status")
	s.stop()
	s.secret(r.agent.Secret)
	s.start()

	// Two analyzers with bad cables, and an agent that is killed in the middle.
	const messages = 12
	faults := simulate.Faults{BadChecksum: 0.05, Garbage: 0.05, Repeat: 0.1, Resend: 0.2}
	first := int(time.Now().Unix() % 1e8) // other specimens than in earlier runs
	hematology := &simulate.Analyzer{
		Name: "XN", Protocol: "astm", Dial: simulate.TCP(toASTM), Seed: 3, First: first, Messages: messages, Panel: simulate.Hematology,
		Pause: 100 * time.Millisecond, Faults: faults, Timing: simulate.Timing{Retry: 100 * time.Millisecond}, Ledger: &simulate.Ledger{},
	}
	chemistry := &simulate.Analyzer{
		Name: "COBAS", Protocol: "hl7", Dial: simulate.TCP(toHL7), Seed: 4, First: first, Messages: messages, Panel: simulate.Chemistry,
		Pause: 100 * time.Millisecond, Faults: faults, Timing: simulate.Timing{Retry: 100 * time.Millisecond}, Ledger: &simulate.Ledger{},
	}
	var measuring sync.WaitGroup
	for _, a := range []*simulate.Analyzer{hematology, chemistry} {
		measuring.Go(func() {
			if err := a.Run(t.Context()); err != nil {
				t.Errorf("%s: %v", a.Name, err)
			}
		})
	}
	s.await("some items are delivered", time.Minute, func(now status.Snapshot) bool { return now.Server.Delivered >= 4 })
	s.kill()
	s.start()
	measuring.Wait()
	s.drained(5 * time.Minute)

	if got := r.observations(t, astmName, simulate.Hematology); len(got) != messages*len(simulate.Hematology)+2 {
		t.Errorf("%d Observations of %s, want %d", len(got), astmName, messages*len(simulate.Hematology)+2)
	}
	for name, a := range map[string]*simulate.Analyzer{astmName: hematology, hl7Name: chemistry} {
		var own []json.RawMessage
		for _, o := range r.observations(t, name, a.Panel) {
			if !bytes.Contains(o, []byte(`"2000000001"`)) {
				own = append(own, o)
			}
		}
		if tally := wantAll(t, a.Ledger, own); tally.Acknowledged != messages*len(a.Panel) {
			t.Errorf("%s: %d results acknowledged, want %d", name, tally.Acknowledged, messages*len(a.Panel))
		}
		wantSheets(t, own, r.reports(t, own))
		for _, o := range read(t, own) {
			if o.Status != "preliminary" {
				t.Errorf("an Observation is %s, want preliminary", o.Status)
			}
		}
		_, code, _ := strings.Cut(r.tag, "|")
		for _, o := range own {
			if !bytes.Contains(o, []byte(fmt.Sprintf(`"code":%q`, code))) {
				t.Error("an Observation without our tag")
			}
		}
	}

	// A code that nobody mapped is held until somebody decides.
	unknown := []simulate.Test{{Code: "NEW"}}
	if !connect(t, toHL7).hl7(hl7Message("1", "2000000002", "GLU=5.4 mmol/L", "NEW=1 U/L")) {
		t.Fatal("not accepted")
	}
	s.await("a result is held", time.Minute, func(now status.Snapshot) bool { return now.Queue.Held == 1 })
	if n := len(r.observations(t, hl7Name, unknown)); n != 0 {
		t.Errorf("%d Observations of a held result", n)
	}
	held := lines[row](t, s.command(0, "queue", "ls", "--specimen", "2000000002", "--json"))
	s.command(0, "queue", "release", fmt.Sprint(held[0].ID), "--why", "test")
	s.await("it is delivered", time.Minute, func(now status.Snapshot) bool { return now.Queue.Held+now.Queue.Waiting == 0 })
	if n := len(r.observations(t, hl7Name, unknown)); n != 1 {
		t.Errorf("%d Observations of a released result, want 1", n)
	}
	s.stop()

	// The same result from a computer that never saw it: the server has it already, and once.
	s.data = filepath.Join(s.dir, "another")
	s.configure("", analyzer(astmName, "astm", listenKey(toASTM), simulate.Hematology))
	s.start()
	s.open(toASTM)
	if !connect(t, toASTM).astm(fixed) {
		t.Fatal("not accepted")
	}
	s.await("it is delivered", time.Minute, func(now status.Snapshot) bool { return now.Server.Delivered == 1 })
	again := 0
	for _, o := range r.observations(t, astmName, simulate.Hematology) {
		if bytes.Contains(o, []byte(`"2000000001"`)) {
			again++
		}
	}
	if again != 2 {
		t.Errorf("%d Observations of two results sent twice", again)
	}
	s.stop()
}
