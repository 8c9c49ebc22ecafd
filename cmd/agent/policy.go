package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"labagent/auth"
	"labagent/config"
	"labagent/fhir"
)

func policyCommand(o *options) *cobra.Command {
	return parent("policy", "What the agent may do on the server: as little as does", policyGenerateCommand(o), policyCheckCommand(o))
}

// need is what a configuration does on the server.
func need(cfg *config.Config) auth.Need {
	return auth.Need{Tag: cfg.Deliver.Tag, Report: cfg.Deliver.Report != "none"}
}

const policySteps = `Steps on the server, as a project administrator (app.medplum.com or your own):
1. Create the AccessPolicy that was printed (resource type AccessPolicy, tab JSON).
2. Create a ClientApplication (Project Admin, Clients), choosing that AccessPolicy. Its id is auth.client_id; its secret goes
   to this PC by: labagent auth set-secret
3. Look at the ProjectMembership that came with it: profile and user are the ClientApplication, accessPolicy is the one of
   step 1 and the only one, admin is not set. Without a policy it may do everything in the project.
4. labagent policy check
`

func policyGenerateCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "generate",
		Short: "Print the smallest AccessPolicy for this configuration (JSON), and on standard error what to do with it",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			if _, err := cmd.OutOrStdout().Write(auth.Policy(need(cfg)).JSON()); err != nil {
				return err
			}
			if !o.json {
				fmt.Fprint(cmd.ErrOrStderr(), policySteps)
			}
			return nil
		},
	}
}

// checkedPolicy is the answer of policy check.
type checkedPolicy struct {
	Schema       string         `json:"schema"` // "labagent.policy-check/1"
	OK           bool           `json:"ok"`
	Findings     []auth.Finding `json:"findings"`
	Transactions string         `json:"transactions,omitempty"` // "real", "batch" or "unknown"; a matter of information
	Problem      string         `json:"problem,omitempty"`      // why it could not be checked
}

func policyCheckCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Compare what the server allows with what is needed; exit code 7 missing or too wide, 5 refused, 6 no server",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			c := checkedPolicy{Schema: "labagent.policy-check/1", Findings: []auth.Finding{}}
			code := c.ask(cmd, cfg)
			if o.json {
				if err := printJSON(cmd.OutOrStdout(), c); err != nil {
					return err
				}
			} else {
				c.print(cmd.OutOrStdout())
			}
			if code != 0 {
				return &exit{code: code}
			}
			return nil
		},
	}
}

// ask gets in as auth test does, looks at the rights, and returns the exit code.
func (c *checkedPolicy) ask(cmd *cobra.Command, cfg *config.Config) int {
	ctx := cmd.Context()
	t := tried{Method: cfg.Auth.Method}
	client, code := entrance(cfg, &t)
	if code == 0 {
		defer client.CloseIdleConnections()
		code = t.try(ctx, cfg, client)
	}
	if code != 0 {
		c.Problem = t.Problem
		return code
	}
	findings, err := auth.Check(ctx, client, cfg.Server.URL, need(cfg))
	if err != nil {
		c.Problem = err.Error()
		var e *auth.Error
		switch {
		case ctx.Err() != nil:
			return exitInterrupt
		case errors.As(err, &e) && !e.Ours:
			return exitNoServer
		}
		return exitOther
	}
	c.Findings, c.OK = append(c.Findings, findings...), len(findings) == 0
	c.Transactions = "unknown"
	system, tag, _ := strings.Cut(cfg.Deliver.Tag, "|")
	server := &fhir.Client{HTTP: client, Base: cfg.Server.URL}
	if real, known, err := server.Transactions(ctx, fhir.Setting{TagSystem: system, TagCode: tag}); err == nil && known {
		c.Transactions = "batch"
		if real {
			c.Transactions = "real"
		}
	}
	if !c.OK {
		return exitRights
	}
	return 0
}

// transactionWords say what the probe found.
var transactionWords = map[string]string{
	"real":    "carried out as such (nothing depends on it)",
	"batch":   "carried out as batches (nothing depends on it)",
	"unknown": "the server's answer does not show it (nothing depends on it)",
}

func (c *checkedPolicy) print(w io.Writer) {
	if c.Problem != "" {
		fmt.Fprintf(w, "problem       %s\n", c.Problem)
		return
	}
	if len(c.Findings) > 0 {
		var rows [][]string
		for _, f := range c.Findings {
			typ := f.Type
			if typ == "" {
				typ = "-"
			}
			rows = append(rows, []string{string(f.Kind), typ, f.Reason, f.Text})
		}
		table(w, "KIND TYPE REASON MEANING", rows)
		fmt.Fprintln(w, "\nlabagent policy generate prints the policy that does.")
	} else {
		fmt.Fprintln(w, "policy        allows what is needed and no more")
	}
	fmt.Fprintf(w, "transactions  %s\n", transactionWords[c.Transactions])
}
