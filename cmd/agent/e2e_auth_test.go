//go:build linux

package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"labagent/sandbox"
	"labagent/status"
)

// auth puts other keys in place of the site's auth block.
func (s *site) auth(keys string) {
	s.t.Helper()
	data, err := os.ReadFile(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	for i := range lines {
		if strings.HasPrefix(lines[i], "auth:") {
			lines[i] = fmt.Sprintf("auth: {client_id: %q, %s}", s.client.ID, keys)
		}
	}
	if err := os.WriteFile(s.config, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// told runs a command with a text on its standard input and wants its exit code.
func (s *site) told(code int, input string, args ...string) answer {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), s.binary, append(args, "--config", s.config)...)
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &stderr
	var ended *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &ended) {
		s.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		s.t.Fatalf("labagent %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, out.String(), stderr.String())
	}
	return answer{out.String(), stderr.String(), code}
}

// silent wants no secret in what a command said.
func (s *site) silent(answers ...answer) {
	s.t.Helper()
	for _, a := range answers {
		if strings.Contains(a.out+a.err, s.client.Secret) {
			s.t.Errorf("the secret shows:\n%s%s", a.out, a.err)
		}
	}
}

// tested is the answer of auth test --json.
type tested struct {
	Schema, Method, Secret, Problem string
	OK, Refused                     bool
	Fallback                        bool `json:"basic_fallback"`
	Status                          int
}

// The secret is sealed from a pipe, used, replaced and refused; each outcome has its exit code, and nothing shows it.
func TestAuthCommands(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	address := free(t)
	s.configure("", analyzer("hematology-1", "astm", listenKey(address), panel))
	s.auth("scope: openid") // no secret anywhere
	s.command(0, "config", "validate")
	if a := s.command(5, "auth", "test"); !strings.Contains(a.out, "auth set-secret") {
		t.Errorf("without a secret:\n%s", a.out)
	}
	s.told(2, "", "auth", "set-secret")
	s.told(2, strings.Repeat("x", 5000), "auth", "set-secret")
	s.command(2, "auth", "set-secret", s.client.Secret)
	s.command(2, "auth", "set-secret", "--set", "auth.client_secret=x")
	s.silent(s.told(0, s.client.Secret+"\n", "auth", "set-secret"))
	for _, name := range []string{"client-secret.sealed", "client-secret.key"} {
		info, err := os.Stat(filepath.Join(s.data, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
		if data, _ := os.ReadFile(filepath.Join(s.data, name)); bytes.Contains(data, []byte(s.client.Secret)) {
			t.Errorf("%s shows the secret", name)
		}
	}
	a := s.command(0, "auth", "test")
	s.silent(a)
	if !strings.Contains(a.out, "sealed by labagent auth set-secret") || !strings.Contains(a.out, "lets us in") {
		t.Errorf("auth test:\n%s", a.out)
	}
	if j := lines[tested](t, s.command(0, "auth", "test", "--json"))[0]; !j.OK || j.Status != 200 || j.Schema != "labagent.auth-test/1" || j.Method != "client_credentials" {
		t.Errorf("auth test --json: %+v", j)
	}

	// The running agent has one token, shows until when, and takes a new secret without a restart.
	s.command(4, "auth", "status")
	s.start()
	s.open(address)
	if !connect(t, address).astm(astmMessage("1000000001", "WBC=6.41 10*9/L")) {
		t.Fatal("not accepted")
	}
	s.await("delivered", 20*time.Second, func(now status.Snapshot) bool { return now.Queue.Delivered == 1 })
	if a := s.command(0, "auth", "status"); !strings.Contains(a.out, "serves until") {
		t.Errorf("auth status:\n%s", a.out)
	}

	// Each fault has its exit code.
	s.server.Change(s.client.ID, func(c *sandbox.Client) { c.Secret = "another" })
	if j := lines[tested](t, s.command(5, "auth", "test", "--json"))[0]; j.OK || !j.Refused || !strings.Contains(j.Problem, "Invalid secret") {
		t.Errorf("a wrong secret: %+v", j)
	}
	s.told(0, "another", "auth", "set-secret")
	s.command(0, "auth", "test")
	s.server.Change(s.client.ID, func(c *sandbox.Client) { c.PolicyGone = true })
	s.command(7, "auth", "test")
	s.server.Change(s.client.ID, func(c *sandbox.Client) { c.PolicyGone = false })
	s.server.Switch(func(sw *sandbox.Switches) { sw.Off = true })
	s.command(6, "auth", "test")
	s.server.Switch(func(sw *sandbox.Switches) { sw.Off, sw.DatabaseDown = false, true })
	s.command(6, "auth", "test")
	s.server.Switch(func(sw *sandbox.Switches) { sw.DatabaseDown = false })

	// A token lost and a secret refused: the board says whose fault it is.
	s.server.Change(s.client.ID, func(c *sandbox.Client) { c.Secret = "a third" })
	s.server.DropTokens()
	if !connect(t, address).astm(astmMessage("1000000002", "WBC=6.41 10*9/L")) {
		t.Fatal("not accepted")
	}
	s.await("refused", 20*time.Second, func(now status.Snapshot) bool { return now.Server.AuthRefused })
	if a := s.command(5, "auth", "status"); !strings.Contains(a.out, "Invalid secret") {
		t.Errorf("auth status:\n%s", a.out)
	}
	if strings.Contains(s.log(1000), s.client.Secret) {
		t.Error("the secret shows in the log")
	}
}

// systemd gives the secret as a file of a directory that it names.
func TestAuthSystemdCredential(t *testing.T) {
	s := newSite(t)
	s.configure("", analyzer("hematology-1", "astm", listenKey(free(t)), panel))
	s.auth("scope: openid")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "client-secret"), []byte(s.client.Secret), 0o400); err != nil {
		t.Fatal(err)
	}
	s.command(5, "auth", "test")
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if a := s.command(0, "auth", "test"); !strings.Contains(a.out, "systemd credential") {
		t.Errorf("auth test:\n%s", a.out)
	}
}

// A key is made, its public half given to the server, and the agent delivers with signatures alone.
func TestAuthPrivateKey(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	address, key := free(t), filepath.Join(s.dir, "key.pem")
	s.configure("", analyzer("hematology-1", "astm", listenKey(address), panel))
	s.auth(fmt.Sprintf("method: private_key_jwt, private_key_file: %q", key))
	s.command(5, "auth", "test") // no key yet
	made := s.command(0, "auth", "keygen")
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	again := s.command(0, "auth", "keygen", key)
	if made.out != again.out || !strings.Contains(again.err, "kept") {
		t.Errorf("a key that is there was not kept:\n%s%s", again.out, again.err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal([]byte(made.out), &set); err != nil || len(set.Keys) != 1 || set.Keys[0]["d"] != "" || set.Keys[0]["alg"] != "ES384" {
		t.Fatalf("JWKS %s: %v", made.out, err)
	}
	s.command(5, "auth", "test") // the server does not know it
	s.server.Change(s.client.ID, func(c *sandbox.Client) { c.JWKS = func() ([]byte, error) { return []byte(made.out), nil } })
	s.command(0, "auth", "test")
	s.told(2, "hush", "auth", "set-secret")
	s.start()
	s.open(address)
	if !connect(t, address).astm(astmMessage("1000000001", "WBC=6.41 10*9/L")) {
		t.Fatal("not accepted")
	}
	s.await("delivered", 20*time.Second, func(now status.Snapshot) bool { return now.Queue.Delivered == 1 })
	s.command(0, "auth", "status")
}

// A server without OAuth: Basic stands in when the configuration allows it, and status, metric and log say so.
func TestAuthFallback(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var none atomic.Bool
	none.Store(true)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/oauth2/") && none.Load() {
			http.NotFound(w, r)
			return
		}
		s.server.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	s.url = front.URL + "/"
	address, health := free(t), free(t)
	s.configure(fmt.Sprintf("status: {listen: %q}", health), analyzer("hematology-1", "astm", listenKey(address), panel))
	secret := fmt.Sprintf("client_secret_file: %q", filepath.Join(s.dir, "secret"))
	if j := lines[tested](t, s.command(6, "auth", "test", "--json"))[0]; j.OK || j.Fallback {
		t.Errorf("without leave: %+v", j)
	}
	s.auth(secret + ", basic_fallback: if_unsupported")
	if a := s.command(0, "config", "validate"); !strings.Contains(a.out, "warning: auth.basic_fallback") {
		t.Errorf("config validate:\n%s", a.out)
	}
	if j := lines[tested](t, s.command(0, "auth", "test", "--json"))[0]; !j.OK || !j.Fallback {
		t.Errorf("with leave: %+v", j)
	}
	s.start()
	s.open(address)
	if !connect(t, address).astm(astmMessage("1000000001", "WBC=6.41 10*9/L")) {
		t.Fatal("not accepted")
	}
	s.await("delivered", 20*time.Second, func(now status.Snapshot) bool {
		return now.Queue.Delivered == 1 && now.Server.BasicFallback && !now.Server.BasicSince.IsZero() && now.Server.AuthProblem == ""
	})
	if a := s.command(0, "status"); !strings.Contains(a.out, "Basic stands in for OAuth") {
		t.Errorf("status:\n%s", a.out)
	}
	if a := s.command(0, "auth", "status"); !strings.Contains(a.out, "Basic stands in") {
		t.Errorf("auth status:\n%s", a.out)
	}
	if _, body := get(t, "http://"+health+"/metrics"); !strings.Contains(body, "labagent_auth_basic_fallback 1") {
		t.Error("the metric does not say so")
	}
	if log := s.log(100); !strings.Contains(log, "Basic takes its place") || strings.Contains(log, s.client.Secret) {
		t.Errorf("the log does not say so, or too much:\n%s", log)
	}
}

// policyChecked is the answer of policy check --json.
type policyChecked struct {
	Schema, Transactions, Problem string
	OK                            bool
	Findings                      []struct{ Kind, Type, Reason, Text string }
}

// What policy generate prints is enough and no more; each way of being wrong has its exit code, and nothing shows the secret.
func TestPolicyCommands(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.configure("", analyzer("hematology-1", "astm", listenKey(free(t)), panel))
	made := s.command(0, "policy", "generate")
	var policy sandbox.Policy
	if err := json.Unmarshal([]byte(made.out), &policy); err != nil || len(policy.Resource) != 2 || !strings.Contains(made.out, `"resourceType": "AccessPolicy"`) {
		t.Fatalf("policy generate: %v\n%s", err, made.out)
	}
	if !strings.Contains(made.err, "ClientApplication") || !strings.Contains(made.err, "ProjectMembership") {
		t.Errorf("no steps:\n%s", made.err)
	}
	var none sandbox.Policy
	if a := s.command(0, "policy", "generate", "--set", "deliver.report=none"); json.Unmarshal([]byte(a.out), &none) != nil || len(none.Resource) != 1 {
		t.Errorf("without a sheet:\n%s", a.out)
	}
	s.server.Change(s.client.ID, func(c *sandbox.Client) { c.Policy = &policy })
	answers := []answer{made, s.command(0, "policy", "check")}
	if a := answers[1]; !strings.Contains(a.out, "allows what is needed and no more") || !strings.Contains(a.out, "as batches") {
		t.Errorf("policy check:\n%s", a.out)
	}
	check := func(code int, change func(*sandbox.Client)) policyChecked {
		t.Helper()
		s.server.Change(s.client.ID, change)
		answers = append(answers, s.command(code, "policy", "check"))
		a := s.command(code, "policy", "check", "--json")
		answers = append(answers, a)
		return lines[policyChecked](t, a)[0]
	}
	if c := check(0, func(*sandbox.Client) {}); !c.OK || c.Transactions != "batch" || c.Schema != "labagent.policy-check/1" || c.Findings == nil {
		t.Errorf("fine: %+v", c)
	}
	if c := check(7, func(c *sandbox.Client) { c.Policy = nil }); c.OK || len(c.Findings) != 1 || c.Findings[0].Reason != "any-type" {
		t.Errorf("no policy: %+v", c)
	}
	if c := check(7, func(c *sandbox.Client) { c.Policy = &sandbox.Policy{Resource: policy.Resource[:1]} }); len(c.Findings) != 2 || c.Findings[0].Kind != "missing" {
		t.Errorf("one entry: %+v", c)
	}
	if c := check(7, func(c *sandbox.Client) { c.PolicyGone = true }); c.Problem == "" {
		t.Errorf("policy deleted: %+v", c)
	}
	check(5, func(c *sandbox.Client) { c.PolicyGone, c.Secret = false, "another" })
	s.server.Change(s.client.ID, func(c *sandbox.Client) { c.Secret = s.client.Secret })
	s.server.Switch(func(sw *sandbox.Switches) { sw.Off = true })
	check(6, func(*sandbox.Client) {})
	s.server.Switch(func(sw *sandbox.Switches) { sw.Off = false })
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // a server that tells no rights
		if r.URL.Path == "/auth/me" {
			http.NotFound(w, r)
			return
		}
		s.server.ServeHTTP(w, r)
	}))
	t.Cleanup(other.Close)
	if a := s.command(1, "policy", "check", "--set", "server.url="+other.URL); !strings.Contains(a.out, "rights cannot be checked") {
		t.Errorf("without /auth/me:\n%s", a.out)
	}
	s.silent(answers...)
}
