package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"labagent/simulate"
)

func simulateCommand(o *options) *cobra.Command {
	a := &simulate.Analyzer{Ledger: &simulate.Ledger{}}
	var to string
	var faults float64
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "simulate astm|hl7 --to HOST:PORT|PATH",
		Short: "Play an analyzer with invented results, and tell what was acknowledged",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.Name, a.Protocol = "simulator", args[0]
			if a.Protocol != "astm" && a.Protocol != "hl7" {
				return &exit{exitUsage, fmt.Errorf("%q is neither astm nor hl7", a.Protocol)}
			}
			switch {
			case to == "":
				return &exit{exitUsage, errors.New("where to? --to 127.0.0.1:5001, or the path of a virtual serial port")}
			case to[0] == '/':
				a.Dial = simulate.File(to)
			default:
				a.Dial = simulate.TCP(to)
			}
			a.Faults = simulate.All(faults)
			start := time.Now()
			ctx := cmd.Context()
			if limit > 0 {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, limit)
				defer stop()
			}
			if err := a.Run(ctx); err != nil {
				return err
			}
			sent, acknowledged := 0, 0
			for _, e := range a.Ledger.Entries() {
				if e.Sent > 0 {
					sent++
				}
				if e.Acknowledged {
					acknowledged++
				}
			}
			counts := a.Ledger.Counts()
			var wanting error
			if acknowledged < sent || sent == 0 {
				wanting = &exit{exitOther, fmt.Errorf("not everything was acknowledged within %s; is somebody listening at %s, and with this protocol?", limit, to)}
			}
			if o.json {
				return errors.Join(printJSON(cmd.OutOrStdout(), map[string]any{
					"schema": "labagent.simulate/1", "results_sent": sent, "results_acknowledged": acknowledged, "counts": counts,
				}), wanting)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d results sent, %d acknowledged in %s; %d refusals, %d timeouts\n",
				sent, acknowledged, time.Since(start).Round(time.Millisecond), counts.Refusals, counts.Timeouts)
			return wanting
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "host:port, or the path of a virtual serial port")
	cmd.Flags().IntVar(&a.Messages, "messages", 10, "how many messages; 0: until interrupted")
	cmd.Flags().Uint64Var(&a.Seed, "seed", 1, "what is measured; the same seed gives the same")
	cmd.Flags().DurationVar(&limit, "limit", 2*time.Minute, "for all of it; 0: none")
	cmd.Flags().DurationVar(&a.Pause, "pause", 0, "between messages")
	cmd.Flags().Float64Var(&faults, "faults", 0, "probability of each fault of analyzer and cable, 0 to 1")
	return cmd
}
