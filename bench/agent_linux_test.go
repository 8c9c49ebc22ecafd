package bench

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// build makes the binary as a release has it.
func build(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "labagent")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "labagent/cmd/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// agent is the program with two analyzers and a server that cannot be reached.
type agent struct {
	cmd *exec.Cmd
	hl7 string // where it listens for HL7
	log bytes.Buffer
}

// begin starts the program on a data directory of its own.
func begin(t *testing.T, binary string) *agent {
	t.Helper()
	dir := t.TempDir()
	a := &agent{hl7: free(t)}
	config := fmt.Sprintf(`
server: {url: "http://%s/"}
auth: {client_id: bench, client_secret: bench}
deliver: {tag: "urn:labagent|bench"}
queue: {dir: %q}
status: {listen: %q}
analyzers:
  - {name: hematology, protocol: hl7, timezone: UTC, tcp: {listen: %q}, specimen: {pattern: "^[0-9]+$"}}
  - {name: chemistry, protocol: astm, timezone: UTC, tcp: {listen: %q}, specimen: {pattern: "^[0-9]+$"}}
`, free(t), filepath.Join(dir, "data"), free(t), a.hl7, free(t))
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	a.cmd = exec.Command(binary, "run", "--config", path)
	a.cmd.Stderr = &a.log
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return a
}

// free is an address nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// first sends one message and waits for its answer, which comes when the message is synced.
func (a *agent) first(t *testing.T) {
	t.Helper()
	one := connect(t, a.hl7, 1, 1).conns[0]
	err := one.send(1)
	for err == nil && one.answered == 0 {
		_, err = one.receive()
	}
	if err != nil {
		t.Fatalf("%v: %s", err, a.log.String())
	}
}

func (a *agent) end(t *testing.T) {
	t.Helper()
	a.cmd.Process.Signal(syscall.SIGTERM)
	if err := a.cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, a.log.String())
	}
}

// resident is the memory the program holds, in MiB.
func (a *agent) resident(t *testing.T) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	text, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(errors.Join(err, errors.New("VmRSS is not readable")))
	}
	return float64(kib) / 1024
}

func TestBenchAgent(t *testing.T) {
	benchOnly(t)
	binary := build(t)
	var starts, sizes []float64
	for range 9 {
		begun := time.Now()
		a := begin(t, binary)
		a.first(t)
		starts = append(starts, float64(time.Since(begun).Microseconds())/1000)
		time.Sleep(500 * time.Millisecond) // what a start leaves behind comes to rest
		sizes = append(sizes, a.resident(t))
		a.end(t)
	}
	t.Logf("starts: %.0f ms, resident: %.1f MiB", starts, sizes)
	report("agent/start_ms", median(starts), 0, "ms")
	report("agent/rss_idle", median(sizes), 1, "MiB")
	if got := median(starts); got > 100 {
		t.Errorf("%.0f ms from start to the first answer, want 100", got)
	}
	if got := median(sizes); got > 30 {
		t.Errorf("%.1f MiB are held, want 30", got)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	size := float64(info.Size()) / 1e6
	report("agent/binary", size, 1, "MB")
	if size > 16 {
		t.Errorf("the program has %.1f MB, want 16", size)
	}
}
