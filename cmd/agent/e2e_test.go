//go:build linux

// The real binary, on real wires: virtual serial ports, sockets, signals, a disk of its own, and a server behind real HTTP
// in the test's process. What can be proved inside one bubble is proved there; here is what only processes can show.
package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"labagent/auth"
	"labagent/sandbox"
	"labagent/simulate"
	"labagent/status"
)

// binary is labagent, built once, by the first test that needs it.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "labagent-e2e-")
	if err != nil {
		return "", err
	}
	builtIn = dir
	args := []string{"build", "-o", filepath.Join(dir, "labagent"), "-ldflags", "-X main.version=e2e"}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-race" && s.Value == "true" {
				args = append(args, "-race") // the agent's races count, not the test's alone
			}
		}
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build labagent: %w\n%s", err, out)
	}
	return filepath.Join(dir, "labagent"), nil
})

var builtIn string

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(builtIn)
	os.Exit(code)
}

const siteTag = "urn:labagent|e2e"

// site is a laboratory of its own: a server, a configuration, a data directory, and the agent as a process.
type site struct {
	t      *testing.T
	binary string
	dir    string          // config, log and secret
	data   string          // the agent's
	server *sandbox.Server // nil: a real one
	url    string
	client sandbox.Client // as whom the agent is let in
	tag    string
	config string

	process *exec.Cmd
	ended   chan struct{} // closed when process has ended
}

// newSite makes a site with a sandbox that allows the agent no more than the minimal policy.
func newSite(t *testing.T) *site {
	t.Helper()
	const plenty = 1 << 30
	server := sandbox.New(sandbox.Options{Quota: plenty, AuthLimit: plenty, RequestLimit: plenty})
	var policy sandbox.Policy
	if err := json.Unmarshal(auth.Policy(auth.Need{Tag: siteTag, Report: true}).JSON(), &policy); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	s := siteAt(t, web.URL+"/", server.AddClient(sandbox.Client{Name: "labagent", Policy: &policy}), siteTag)
	s.server = server
	return s
}

// siteAt makes a site with the server at url.
func siteAt(t *testing.T, url string, client sandbox.Client, tag string) *site {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &site{t: t, binary: path, dir: dir, data: filepath.Join(dir, "data"), url: url, client: client, tag: tag}
	s.config = filepath.Join(dir, "config.yaml")
	s.secret(client.Secret)
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the end of the agent's log:\n%s", s.log(40))
		}
	})
	return s
}

// secret puts a secret where the configuration looks for it.
func (s *site) secret(text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "secret"), []byte(text+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// configure writes the configuration: the analyzers, each a block as analyzer makes it, and more keys of the top level.
func (s *site) configure(more string, analyzers ...string) {
	s.t.Helper()
	text := fmt.Sprintf("server: {url: %q}\nauth: {client_id: %q, client_secret_file: %q}\nqueue: {dir: %q}\n",
		s.url, s.client.ID, filepath.Join(s.dir, "secret"), s.data)
	if !strings.Contains(more, "deliver:") {
		text += fmt.Sprintf("deliver: {tag: %q}\n", s.tag)
	}
	if !strings.Contains(more, "status:") {
		text += "status: {listen: off}\n"
	}
	text += more + "\nanalyzers:\n" + strings.Join(analyzers, "")
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// analyzer is the block of one analyzer in the configuration; line is its serial or tcp key.
func analyzer(name, protocol, line string, panel []simulate.Test, more ...string) string {
	text := fmt.Sprintf("  - name: %s\n    protocol: %s\n    %s\n    timezone: UTC\n", name, protocol, line)
	for _, key := range more {
		text += "    " + key + "\n"
	}
	text += "    codes:\n"
	for i, test := range panel {
		text += fmt.Sprintf("      - {code: %q, unit: %q, loinc: %q}\n", test.Code, test.Unit, loincs[i])
	}
	return text
}

// loincs are codes that exist; what they mean does not matter here.
var loincs = []string{"6690-2", "789-8", "718-7", "4544-3", "787-2", "777-3"}

func listenKey(address string) string { return fmt.Sprintf("tcp: {listen: %q}", address) }

// free is an address nobody listens on. It lies below the ports that the system gives to outgoing connections: between a
// kill and the restart the port is nobody's, and a dial from it to itself would even succeed.
func free(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// launch starts the agent and does not wait for it.
func (s *site) launch() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.process = exec.Command(s.binary, "run", "--config", s.config)
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	process, ended := s.process, make(chan struct{})
	s.ended = ended
	go func() {
		process.Wait()
		close(ended)
	}()
}

// start starts the agent and waits until it answers.
func (s *site) start() {
	s.t.Helper()
	s.launch()
	s.await("the agent answers", 20*time.Second, func(now status.Snapshot) bool { return now.Version == "e2e" })
}

// kill ends the agent as kill -9 does, and tells whether it was still alive.
func (s *site) kill() (alive bool) {
	if s.process == nil {
		return false
	}
	s.process.Process.Signal(syscall.SIGKILL)
	<-s.ended
	state := s.process.ProcessState.Sys().(syscall.WaitStatus)
	s.process = nil
	return state.Signaled() && state.Signal() == syscall.SIGKILL
}

// stop ends the agent as a service manager does, and wants it to end well and soon.
func (s *site) stop() {
	s.t.Helper()
	s.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(15 * time.Second):
		s.t.Fatal("the agent does not stop")
	}
	if code := s.process.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("the agent ended with exit code %d", code)
	}
	s.process = nil
}

// log is the end of what the agent wrote.
func (s *site) log(lines int) string {
	data, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// answer is what a command came to.
type answer struct {
	out, err string
	code     int
}

// run runs a command of labagent to its end.
func (s *site) run(args ...string) answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		s.t.Fatal(err)
	}
	return answer{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// command runs a command against the site's agent and wants its exit code.
func (s *site) command(code int, args ...string) answer {
	s.t.Helper()
	a := s.run(append(args, "--config", s.config)...)
	if a.code != code {
		s.t.Fatalf("labagent %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), a.code, code, a.out, a.err)
	}
	return a
}

// lines reads an answer of one JSON object a line.
func lines[T any](t *testing.T, a answer) []T {
	t.Helper()
	var all []T
	for decoder := json.NewDecoder(strings.NewReader(a.out)); ; {
		var one T
		err := decoder.Decode(&one)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("not JSON: %v\n%s", err, a.out)
		}
		all = append(all, one)
	}
}

// now is the agent's own account, asked through its control door.
func (s *site) now() (snapshot status.Snapshot, err error) {
	caller, err := status.Dial(s.data)
	if err != nil {
		return snapshot, err
	}
	return snapshot, caller.Call(s.t.Context(), "GET", "/status", nil, &snapshot)
}

// eventually waits until a condition holds. Processes have no fake clock: it looks again and again.
func (s *site) eventually(what string, within time.Duration, holds func() bool) {
	s.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(within); !holds(); <-tick.C {
		if time.Now().After(end) {
			s.t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// await waits until the agent's account satisfies a condition.
func (s *site) await(what string, within time.Duration, holds func(status.Snapshot) bool) {
	s.t.Helper()
	var last status.Snapshot
	defer func() {
		if s.t.Failed() {
			s.t.Logf("the agent's last account: %+v", last)
		}
	}()
	s.eventually(what, within, func() bool {
		snapshot, err := s.now()
		last = snapshot
		return err == nil && holds(snapshot)
	})
}

// open waits until the agent listens for its analyzers.
func (s *site) open(addresses ...string) {
	s.t.Helper()
	for _, address := range addresses {
		s.eventually("the agent listens at "+address, 10*time.Second, func() bool {
			conn, err := net.Dial("tcp", address)
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
	}
}

// drained waits until nothing waits for delivery.
func (s *site) drained(within time.Duration) {
	s.t.Helper()
	s.await("everything is delivered", within, func(now status.Snapshot) bool { return now.Queue.Waiting == 0 })
}

// get asks the agent's own listener.
func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(data)
}

// resource is what the tests read of Observations and DiagnosticReports.
type resource struct {
	ID       string                       `json:"id"`
	Status   string                       `json:"status"`
	Specimen json.RawMessage              `json:"specimen"`
	Result   []struct{ Reference string } `json:"result"`
}

// specimens are the identifiers of a resource's specimens: an Observation has one, a DiagnosticReport a list.
func (r resource) specimens() []string {
	type one struct{ Identifier struct{ Value string } }
	var list []one
	if json.Unmarshal(r.Specimen, &list) != nil {
		var single one
		json.Unmarshal(r.Specimen, &single)
		list = []one{single}
	}
	var ids []string
	for _, s := range list {
		ids = append(ids, s.Identifier.Value)
	}
	return ids
}

func read(t *testing.T, raw []json.RawMessage) []resource {
	t.Helper()
	var all []resource
	for _, data := range raw {
		var r resource
		if err := json.Unmarshal(data, &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// observations are the sandbox's of one analyzer, in the order they were created.
func (s *site) observations(analyzer string) []json.RawMessage {
	var own []json.RawMessage
	mark := []byte(`"urn:labagent:code:` + analyzer + `"`)
	for _, o := range s.server.Resources("Observation") {
		if bytes.Contains(o, mark) {
			own = append(own, o)
		}
	}
	return own
}

// wantAll holds a ledger against the Observations of its analyzer: what was acknowledged is there, once and unchanged.
func wantAll(t *testing.T, ledger *simulate.Ledger, observations []json.RawMessage) simulate.Tally {
	t.Helper()
	tally, err := ledger.Compare(observations)
	if err != nil {
		t.Fatal(err)
	}
	if !tally.Good() || tally.Acknowledged == 0 {
		t.Errorf("%d acknowledged, %d lost, %d doubled, %d changed, %d foreign: %s", tally.Acknowledged, tally.Lost, tally.Doubled,
			tally.Changed, tally.Foreign, strings.Join(tally.Faults[:min(20, len(tally.Faults))], ", "))
	}
	return tally
}

// wantSheets wants one sheet for each specimen of the Observations, and on it each of them once.
func wantSheets(t *testing.T, observations, reports []json.RawMessage) {
	t.Helper()
	listed := map[string]int{}  // Observation to sheets
	results := map[string]int{} // specimen to Observations
	for _, o := range read(t, observations) {
		listed["Observation/"+o.ID] = 0
		results[o.specimens()[0]]++
	}
	sheets := map[string]int{}
	for _, report := range read(t, reports) {
		own := false
		for _, r := range report.Result {
			if _, known := listed[r.Reference]; known {
				listed[r.Reference]++
				own = true
			}
		}
		if own {
			sheets[report.specimens()[0]]++
		}
	}
	for o, n := range listed {
		if n != 1 {
			t.Errorf("%s is on %d sheets", o, n)
		}
	}
	for specimen := range results {
		if sheets[specimen] != 1 {
			t.Errorf("specimen %s has %d sheets", specimen, sheets[specimen])
		}
	}
}

// cable is a virtual serial line made by socat.
type cable struct {
	t               *testing.T
	agent, analyzer string // what to open at either end
	socat           *exec.Cmd
	ends            []*os.File
}

func newCable(t *testing.T) *cable {
	t.Helper()
	if _, err := exec.LookPath("socat"); err != nil {
		t.Skip("socat is not installed, so there is no virtual serial line to test with; make test installs it")
	}
	dir := t.TempDir()
	c := &cable{t: t, agent: filepath.Join(dir, "agent"), analyzer: filepath.Join(dir, "analyzer")}
	c.plug()
	t.Cleanup(c.pull)
	return c
}

// plug puts the cable in. Both ends are held open besides, since socat takes a port that nobody has open for a cable that
// was pulled.
func (c *cable) plug() {
	c.t.Helper()
	c.socat = exec.Command("socat", "pty,raw,echo=0,link="+c.agent, "pty,raw,echo=0,link="+c.analyzer)
	if err := c.socat.Start(); err != nil {
		c.t.Fatal(err)
	}
	for _, path := range []string{c.agent, c.analyzer} {
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
			if err == nil {
				c.ends = append(c.ends, file)
				break
			}
			if time.Now().After(end) {
				c.t.Fatalf("socat makes no %s: %v", path, err)
			}
		}
	}
}

// pull takes the cable away, ports and all, as a USB adapter goes.
func (c *cable) pull() {
	for _, end := range c.ends {
		end.Close()
	}
	c.ends = nil
	c.socat.Process.Signal(syscall.SIGTERM) // it takes its links with it
	c.socat.Wait()
}

// key is the cable in the configuration.
func (c *cable) key() string { return fmt.Sprintf("serial: {port: %q, baud: 115200}", c.agent) }

// dial opens the analyzer's end.
func (c *cable) dial(context.Context) (io.ReadWriteCloser, error) {
	return os.OpenFile(c.analyzer, os.O_RDWR|syscall.O_NOCTTY, 0)
}
