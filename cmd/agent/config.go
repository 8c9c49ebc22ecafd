package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"labagent/config"
)

func configCommand(o *options) *cobra.Command {
	return parent("config", "Look at the configuration", &cobra.Command{
		Use:   "validate",
		Short: "Check the configuration; every fault names line and key",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			warnings := warnings(cfg)
			if o.json {
				return printJSON(out, map[string]any{"schema": "labagent.config/1", "valid": true, "analyzers": len(cfg.Analyzers), "warnings": warnings})
			}
			for _, w := range warnings {
				fmt.Fprintln(out, "warning:", w)
			}
			fmt.Fprintf(out, "%s is valid: %d analyzers, delivering to %s\n", o.config, len(cfg.Analyzers), cfg.Server.URL)
			return nil
		},
	})
}

// warnings are what is allowed and seldom wise.
func warnings(cfg *config.Config) []string {
	list := []string{}
	if len(cfg.Alarm.Command) == 0 && cfg.Alarm.Webhook == "" {
		list = append(list, "alarm: neither command nor webhook is set; what needs a person shows on status and in the log only")
	}
	if cfg.Status.Listen == "off" {
		list = append(list, "status.listen: off, so no monitoring can see that something needs a person")
	}
	if cfg.Auth.Method == "basic" {
		list = append(list, "auth.method: basic sends the secret with every request, and the server checks less than with a token; prefer client_credentials")
	}
	if cfg.Auth.BasicFallback == "if_unsupported" {
		list = append(list, "auth.basic_fallback: where the server offers no OAuth the secret goes with every request, and the server checks less")
	}
	if cfg.Log.WireFile != "" {
		list = append(list, "log.wire_file: it holds patient data; switch it off when the hunt is over")
	}
	for i := range cfg.Analyzers {
		switch pattern := cfg.Analyzers[i].Specimen.Pattern; {
		case pattern == "":
			list = append(list, fmt.Sprintf("analyzers[%d].specimen.pattern: not set, so a mistyped specimen id is delivered like any other", i))
		case !strings.HasPrefix(pattern, "^") || !strings.HasSuffix(pattern, "$"):
			list = append(list, fmt.Sprintf("analyzers[%d].specimen.pattern: not from ^ to $, so an id with more before or behind it fits too", i))
		}
	}
	return list
}
