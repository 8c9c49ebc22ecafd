// Command labagent carries the results of laboratory analyzers to a Medplum server, through the disk, once and only once.
//
// This package only wires: wire.go puts the rooms together, run.go lives with them, the other files are one command each.
// Whatever decides anything about a result stands in a room of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	_ "time/tzdata" // a service may run where no zones are installed

	"github.com/spf13/cobra"

	"labagent/config"
	"labagent/status"
)

// The exit codes are interface.
const (
	exitOther      = 1
	exitUsage      = 2
	exitConfig     = 3
	exitNotRunning = 4
	exitRefused    = 5
	exitNoServer   = 6
	exitRights     = 7
	exitAttention  = 9
	exitNothing    = 10
	exitInterrupt  = 130
)

// exit is an error that knows the exit code it ends the program with. Without err nothing more is said.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// execute runs one command and returns its exit code.
func execute(ctx context.Context, args []string) int {
	root := commands()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var e *exit
	var faults config.Faults
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitInterrupt
	case errors.As(err, &e):
		if e.err != nil {
			fmt.Fprintln(os.Stderr, "error:", e.err)
		}
		return e.code
	case errors.As(err, &faults):
		fmt.Fprintln(os.Stderr, err)
		return exitConfig
	case strings.HasPrefix(err.Error(), "unknown command"): // cobra has no type for it
		fmt.Fprintln(os.Stderr, "error:", err)
		return exitUsage
	case errors.Is(err, status.ErrNotRunning):
		fmt.Fprintln(os.Stderr, "error:", err)
		fmt.Fprintln(os.Stderr, "hint: start it, or name its configuration with --config")
		return exitNotRunning
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	return exitOther
}

// options are the flags every command has.
type options struct {
	config string
	set    map[string]string
	json   bool
}

func commands() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:           "labagent",
		Short:         "Carries analyzer results to a Medplum server, through the disk, once and only once",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&o.config, "config", config.DefaultPath(), "the configuration file")
	root.PersistentFlags().StringToStringVar(&o.set, "set", nil, "a configuration value over file and environment, key=value; never a secret")
	root.PersistentFlags().BoolVar(&o.json, "json", false, "answer with JSON")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exit{exitUsage, err} })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		runCommand(o), demoCommand(o), configCommand(o), statusCommand(o), queueCommand(o), ackCommand(o), decodeCommand(o),
		simulateCommand(o), authCommand(o), policyCommand(o), versionCommand(o),
	)
	return root
}

// load reads the configuration and checks that the rooms can be built from it.
func (o *options) load() (*config.Config, error) {
	for key := range o.set {
		if key == "auth.client_secret" {
			return nil, &exit{exitUsage, errors.New("a secret is never a flag; use labagent auth set-secret, auth.client_secret_file or LABAGENT_AUTH_CLIENT_SECRET")}
		}
	}
	cfg, err := config.Load(o.config, o.set)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &exit{exitConfig, fmt.Errorf("%w; name one with --config, config.example.yaml is the manual", err)}
	}
	if err != nil {
		return nil, err
	}
	if _, faults := analyzers(&cfg); len(faults) > 0 {
		for i := range faults {
			faults[i].File = o.config
		}
		return nil, faults
	}
	return &cfg, nil
}

// parent is a command that only holds others: alone it shows them, a mistyped one is wrong usage and not success.
func parent(use, short string, members ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &exit{exitUsage, fmt.Errorf("unknown command %q; labagent %s --help lists them", args[0], use)}
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(members...)
	return cmd
}

// exactly wants n arguments, or the usage is wrong.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return &exit{exitUsage, fmt.Errorf("%w: %s", err, cmd.UseLine())}
		}
		return nil
	}
}
