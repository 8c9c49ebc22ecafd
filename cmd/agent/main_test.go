package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labagent/config"
	"labagent/status"
)

// TestInterrupted: a command that a person ends while it waits for the agent says so by its exit code.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf(`server: {url: "https://medplum.example/"}
auth: {client_id: agent, client_secret: hush}
deliver: {tag: "urn:labagent|lab-7"}
queue: {dir: %q}
analyzers: [{name: hema, protocol: astm, serial: {port: /dev/ttyUSB0}, timezone: UTC}]
`, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	waits := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		interrupt()
		<-r.Context().Done()
	})
	opened, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- (&status.Door{Dir: dir, Handler: waits, Log: slog.New(slog.DiscardHandler)}).Run(opened)
	}()
	for _, err := status.Dial(dir); err != nil; _, err = status.Dial(dir) {
		time.Sleep(time.Millisecond) // a real socket: no fake clock
	}
	if code := execute(ctx, []string{"status", "--config", file}); code != exitInterrupt {
		t.Errorf("exit code %d, want %d", code, exitInterrupt)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWarningOfSpecimenPattern(t *testing.T) {
	for pattern, want := range map[string]string{"": "not set", "[0-9]{9}": "not from ^ to $", "^[0-9]{9}$": ""} {
		cfg := config.Default()
		cfg.Analyzers = []config.Analyzer{{Specimen: config.Specimen{Pattern: pattern}}}
		said := strings.Join(warnings(&cfg), "\n")
		if got := strings.Contains(said, "specimen.pattern"); got != (want != "") || !strings.Contains(said, want) {
			t.Errorf("%q: %s", pattern, said)
		}
	}
}
