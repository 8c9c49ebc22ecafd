package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"labagent/auth"
	"labagent/config"
	"labagent/status"
)

func authCommand(o *options) *cobra.Command {
	return parent("auth", "Keep the secret, and see whether the server lets us in",
		setSecretCommand(o), authTestCommand(o), authStatusCommand(o), keygenCommand(o))
}

func setSecretCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "set-secret",
		Short: "Seal the client secret in the data directory; it is read from the terminal without echo, or from a pipe",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			if cfg.Auth.Method == "private_key_jwt" {
				return &exit{exitUsage, errors.New("auth.method private_key_jwt uses no secret")}
			}
			secret, err := readSecret(cmd.Context(), cmd.InOrStdin())
			if err != nil {
				return err
			}
			if err := auth.Seal(dataDir(cfg), secret); err != nil {
				return err
			}
			_, from, _ := secretPlaces(cfg).Read()
			if o.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"schema": "labagent.secret/1", "sealed": true, "used": from == auth.FromSealed})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Sealed in %s; a running agent uses it with its next token. Try it: labagent auth test\n", dataDir(cfg))
			if from != auth.FromSealed {
				fmt.Fprintf(cmd.OutOrStdout(), "warning: it is not used while the secret comes from elsewhere: %s\n", from)
			}
			return nil
		},
	}
}

// maxSecret is more than any secret has.
const maxSecret = 4096

// readSecret reads one line, without echo where it is typed.
func readSecret(ctx context.Context, in io.Reader) (string, error) {
	if file, ok := in.(*os.File); ok && isTerminal(file) {
		fmt.Fprint(os.Stderr, "Client secret (it does not show): ")
		restore, err := hush(file)
		if err != nil {
			return "", fmt.Errorf("switch the terminal's echo off: %w; give the secret by a pipe", err)
		}
		defer fmt.Fprintln(os.Stderr)
		defer restore()
	}
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	go func() { // a read of a terminal cannot be called off; the program ends with it
		text, err := firstLine(in)
		read <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", &exit{code: exitInterrupt}
	case l := <-read:
		return l.text, l.err
	}
}

func firstLine(in io.Reader) (string, error) {
	var text []byte
	one := make([]byte, 1)
	for len(text) <= maxSecret {
		n, err := in.Read(one)
		if n == 1 && one[0] == '\n' || errors.Is(err, io.EOF) {
			secret := strings.TrimRight(string(text), "\r")
			if secret == "" {
				return "", &exit{exitUsage, errors.New("no secret came; type it, or give it by a pipe")}
			}
			return secret, nil
		}
		if err != nil {
			return "", fmt.Errorf("read the secret: %w", err)
		}
		text = append(text, one[:n]...)
	}
	return "", &exit{exitUsage, errors.New("that is too long for a secret")}
}

// tried is the answer of auth test. It holds nothing the server said beside a status.
type tried struct {
	Schema        string    `json:"schema"` // "labagent.auth-test/1"
	OK            bool      `json:"ok"`
	Method        string    `json:"method"`
	Secret        string    `json:"secret,omitempty"` // where it comes from
	TokenUntil    time.Time `json:"token_until,omitzero"`
	BasicFallback bool      `json:"basic_fallback"`
	Status        int       `json:"status,omitempty"` // of the call with our credentials
	Problem       string    `json:"problem,omitempty"`
	Refused       bool      `json:"refused"`
}

func authTestCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "test",
		Short: "Get in once with what is configured; exit code 5 refused, 6 no server, 7 no rights",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			t, code := tryAuth(cmd.Context(), cfg)
			if o.json {
				if err := printJSON(cmd.OutOrStdout(), t); err != nil {
					return err
				}
			} else {
				t.print(cmd.OutOrStdout(), cfg.Server.URL)
			}
			if code != 0 {
				return &exit{code: code}
			}
			return nil
		},
	}
}

// tryAuth gets in once and asks who we are: the one call that every right allows and no quota counts (medplum.md 4). What it
// answers holds the secret and is thrown away.
func tryAuth(ctx context.Context, cfg *config.Config) (tried, int) {
	t := tried{Schema: "labagent.auth-test/1", Method: cfg.Auth.Method}
	client, code := entrance(cfg, &t)
	if code != 0 {
		return t, code
	}
	defer client.CloseIdleConnections()
	code = t.try(ctx, cfg, client)
	return t, code
}

// entrance builds the way in for one command, and keeps in t what is known of it. A code other than 0: there is none.
func entrance(cfg *config.Config, t *tried) (*http.Client, int) {
	c := access(cfg)
	if c.Secret != nil {
		_, from, err := secretPlaces(cfg).Read()
		if err != nil {
			t.Problem = "the client secret cannot be read: " + err.Error()
			return nil, exitRefused
		}
		t.Secret = from
	}
	c.Watch = func(s auth.State) { t.TokenUntil, t.BasicFallback = s.Until, s.Basic }
	client, err := auth.Client(c)
	if err != nil {
		t.Problem = err.Error()
		return nil, exitConfig
	}
	return client, 0
}

// try makes the call and returns the exit code.
func (t *tried) try(ctx context.Context, cfg *config.Config, client *http.Client) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(cfg.Server.URL, "/")+"/auth/me", nil)
	if err != nil {
		t.Problem = "server.url is no URL"
		return exitConfig
	}
	resp, err := client.Do(req)
	if err != nil {
		return t.failed(ctx, err)
	}
	defer resp.Body.Close()
	t.Status = resp.StatusCode
	switch {
	case resp.StatusCode/100 == 2, resp.StatusCode == http.StatusNotFound: // another server than Medplum has no /auth/me
		t.OK = true
		return 0
	case resp.StatusCode == http.StatusUnauthorized:
		t.Refused, t.Problem = true, "the server does not know our credentials"
		return exitRefused
	case resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusGone:
		t.Problem = fmt.Sprintf("the server answers %d: look at the ClientApplication's membership and policy", resp.StatusCode)
		return exitRights
	case resp.StatusCode == http.StatusBadRequest && cannotAuthenticate(resp.Body):
		t.Problem = "the server says that our access policy is not valid: give the ClientApplication's membership one"
		return exitRights
	}
	t.Problem = fmt.Sprintf("the server answers %d", resp.StatusCode)
	return exitNoServer
}

// failed says why there was no answer.
func (t *tried) failed(ctx context.Context, err error) int {
	if ctx.Err() != nil {
		t.Problem = "interrupted"
		return exitInterrupt
	}
	t.Problem = "the server was not reached"
	var e *auth.Error
	if errors.As(err, &e) {
		t.Problem, t.Refused = e.Text, e.Refused
	}
	switch {
	case strings.Contains(t.Problem, "Cannot authenticate"): // the token endpoint's word for a policy that is gone
		return exitRights
	case t.Refused:
		return exitRefused
	case strings.HasPrefix(t.Problem, "the private key cannot be used"):
		return exitRefused
	}
	return exitNoServer
}

// cannotAuthenticate tells a policy that is gone from the other things Medplum says 400 to.
func cannotAuthenticate(body io.Reader) bool {
	var outcome struct {
		Issue []struct{ Details struct{ Text string } }
	}
	if json.NewDecoder(io.LimitReader(body, 64<<10)).Decode(&outcome) != nil || len(outcome.Issue) == 0 {
		return false
	}
	return strings.HasPrefix(outcome.Issue[0].Details.Text, "Cannot authenticate")
}

func (t tried) print(w io.Writer, server string) {
	fmt.Fprintf(w, "method    %s\n", t.Method)
	if t.Secret != "" {
		fmt.Fprintf(w, "secret    from %s\n", t.Secret)
	}
	if !t.TokenUntil.IsZero() {
		fmt.Fprintf(w, "token     granted, until %s\n", clock(t.TokenUntil))
	}
	if t.BasicFallback {
		fmt.Fprintln(w, "warning   the server offers no OAuth: Basic stands in, and the server checks less then")
	}
	if t.OK {
		fmt.Fprintf(w, "server    %s lets us in\n", server)
		return
	}
	fmt.Fprintf(w, "problem   %s\n", t.Problem)
}

// authState is the answer of auth status.
type authState struct {
	Schema        string    `json:"schema"` // "labagent.auth/1"
	Method        string    `json:"method"`
	TokenUntil    time.Time `json:"token_until,omitzero"`
	BasicFallback bool      `json:"basic_fallback"`
	BasicSince    time.Time `json:"basic_since,omitzero"`
	Problem       string    `json:"problem,omitempty"`
	Refused       bool      `json:"refused"`
}

func authStatusCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the running agent stands with the server; exit code 5 refused, 6 no answer",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s status.Snapshot
			if err := o.call(cmd.Context(), "GET", "/status", nil, &s); err != nil {
				return err
			}
			a := authState{
				Schema: "labagent.auth/1", Method: s.Server.Method, TokenUntil: s.Server.TokenUntil,
				BasicFallback: s.Server.BasicFallback, BasicSince: s.Server.BasicSince, Problem: s.Server.AuthProblem, Refused: s.Server.AuthRefused,
			}
			if o.json {
				if err := printJSON(cmd.OutOrStdout(), a); err != nil {
					return err
				}
			} else {
				a.print(cmd.OutOrStdout(), s.At)
			}
			switch {
			case a.Refused:
				return &exit{code: exitRefused}
			case a.Problem != "":
				return &exit{code: exitNoServer}
			}
			return nil
		},
	}
}

func (a authState) print(w io.Writer, now time.Time) {
	fmt.Fprintf(w, "method    %s\n", a.Method)
	switch {
	case a.Method == "basic":
		fmt.Fprintln(w, "token     none: id and secret go with every request")
	case a.BasicFallback:
		fmt.Fprintf(w, "token     none: Basic stands in since %s, as the server offers no OAuth\n", ago(a.BasicSince, now))
	case a.TokenUntil.After(now):
		fmt.Fprintf(w, "token     serves until %s\n", clock(a.TokenUntil))
	default:
		fmt.Fprintln(w, "token     none; one is fetched when something waits for delivery")
	}
	if a.Problem != "" {
		fmt.Fprintf(w, "problem   %s\n", a.Problem)
	}
}

func keygenCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "keygen [FILE]",
		Short: "Make the private key of private_key_jwt (auth.private_key_file, or FILE) and print its public JWKS",
		Long: "Make the private key of private_key_jwt in auth.private_key_file, or in FILE, and print its public JWKS. Put the JWKS\n" +
			"where the ClientApplication's jwksUri points to. A key that is there is never replaced: its JWKS is printed again.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return &exit{exitUsage, fmt.Errorf("one FILE at most: %s", cmd.UseLine())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			path := ""
			if len(args) == 1 {
				path = args[0]
			} else {
				cfg, err := o.load()
				if err != nil {
					return err
				}
				if path = cfg.Auth.PrivateKeyFile; path == "" {
					return &exit{exitUsage, errors.New("where to? Give a FILE, or set auth.private_key_file")}
				}
			}
			made, err := makeKey(path)
			if err != nil {
				return err
			}
			jwks, err := auth.JWKS(path)
			if err != nil {
				return err
			}
			word := "kept: it was there already"
			if made {
				word = "made"
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "private key %s: %s. Its public JWKS, for the ClientApplication's jwksUri:\n", path, word)
			fmt.Fprintln(cmd.OutOrStdout(), string(jwks))
			return nil
		},
	}
}

// makeKey writes a new private key, unless there is a file by that name.
func makeKey(path string) (made bool, err error) {
	text, err := auth.NewKey()
	if err != nil {
		return false, err
	}
	f, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("write private key: %w", err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(path)
		return false, fmt.Errorf("write private key: %w", err)
	}
	return true, nil
}
