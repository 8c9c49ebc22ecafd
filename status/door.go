package status

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// ErrNotRunning says that no agent runs on this data directory.
var ErrNotRunning = errors.New("the agent is not running")

// Door lets labagent's own commands reach the running agent: an HTTP server at 127.0.0.1 on a free port. Port and a random
// token stand in control.json in the data directory, which only the account of the service and administrators can read; the
// token is checked on every call, so that no other program and no web page gets in.
type Door struct {
	Dir     string // the data directory
	Handler http.Handler
	Log     *slog.Logger
}

const controlFile = "control.json"

// control is what stands in control.json.
type control struct {
	Schema  string `json:"schema"` // "labagent.control/1"
	Address string `json:"address"`
	Token   string `json:"token"`
	PID     int    `json:"pid"`
}

// Run keeps the door open until ctx ends, then takes control.json away. On a full disk there is no room for control.json; the
// agent must start all the same, since only its deliveries make room again.
func (d *Door) Run(ctx context.Context) error {
	path := filepath.Join(d.Dir, controlFile)
	var c control
	listener := insist(ctx, d.Log, "control door", func() (net.Listener, error) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		c = control{Schema: "labagent.control/1", Address: listener.Addr().String(), Token: rand.Text(), PID: os.Getpid()}
		if err := c.write(path); err != nil {
			listener.Close()
			return nil, err
		}
		return listener, nil
	})
	if listener == nil {
		return nil
	}
	defer os.Remove(path)
	return serve(ctx, listener, c.guard(d.Handler))
}

// write replaces the file in one step, so that a reader never sees half of it.
func (c control) write(path string) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// guard lets only calls with the token in; the Host check keeps a web page out that had its name rebound to 127.0.0.1.
func (c control) guard(next http.Handler) http.Handler {
	want := []byte("Bearer " + c.Token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != c.Address || subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Caller calls the running agent.
type Caller struct{ c control }

// Dial finds the agent that runs on the data directory, or returns ErrNotRunning.
func Dial(dir string) (*Caller, error) {
	data, err := os.ReadFile(filepath.Join(dir, controlFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("reach the agent: %w", err)
	}
	var c control
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("reach the agent: %s is damaged", controlFile)
	}
	return &Caller{c}, nil
}

// Refusal is an answer of the agent that says no.
type Refusal struct {
	Status int    // HTTP
	Text   string // why
}

func (r *Refusal) Error() string { return r.Text }

// Call sends in as JSON and reads the answer into out; either may be nil.
func (c *Caller) Call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.c.Address+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.c.Token)
	resp, err := (&http.Client{Timeout: time.Minute, Transport: &http.Transport{}}).Do(req)
	var refused *net.OpError
	if errors.As(err, &refused) && refused.Op == "dial" {
		return ErrNotRunning // the file outlived a killed agent
	}
	if err != nil {
		return fmt.Errorf("reach the agent: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reach the agent: %w", err)
	}
	if resp.StatusCode >= 300 {
		return &Refusal{resp.StatusCode, string(bytes.TrimSpace(data))}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}
