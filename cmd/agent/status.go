package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"labagent/status"
)

// call reaches the running agent.
func (o *options) call(ctx context.Context, method, path string, in, out any) error {
	cfg, err := o.load()
	if err != nil {
		return err
	}
	caller, err := status.Dial(dataDir(cfg))
	if err != nil {
		return err
	}
	return caller.Call(ctx, method, path, in, out)
}

func statusCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how everything is; exit code 9 when something needs a person",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s status.Snapshot
			if err := o.call(cmd.Context(), "GET", "/status", nil, &s); err != nil {
				return err
			}
			if o.json {
				if err := printJSON(cmd.OutOrStdout(), s); err != nil {
					return err
				}
			} else {
				printStatus(cmd.OutOrStdout(), s)
			}
			if len(s.Attention) > 0 {
				return &exit{code: exitAttention}
			}
			return nil
		},
	}
}

func printStatus(w io.Writer, s status.Snapshot) {
	server := "reachable"
	if !s.Server.Reachable {
		server = "not reached yet"
	}
	if s.Server.Problem != "" {
		server = s.Server.Problem
	}
	fmt.Fprintf(w, "server    %s: %s; last delivery %s, %d delivered since the start %s ago\n",
		s.Server.URL, server, ago(s.Server.LastDelivery, s.At), s.Server.Delivered, ago(s.Started, s.At))
	if s.Server.BasicFallback {
		fmt.Fprintf(w, "auth      Basic stands in for OAuth, which the server does not offer, since %s\n", ago(s.Server.BasicSince, s.At))
	}
	fmt.Fprintf(w, "queue     %d waiting, %d held, %d parked, %d incomplete, %d delivered and kept",
		s.Queue.Waiting, s.Queue.Held, s.Queue.Parked, s.Queue.Incomplete, s.Queue.Delivered)
	if !s.Queue.OldestWaiting.IsZero() {
		fmt.Fprintf(w, "; the oldest waits for %s", ago(s.Queue.OldestWaiting, s.At))
	}
	fmt.Fprint(w, "\n\n")
	var rows [][]string
	for _, a := range s.Analyzers {
		state := fmt.Sprintf("%d open", a.Lines)
		if a.Lines == 0 {
			state = "down"
		}
		rows = append(rows, []string{a.Name, state, ago(a.LastByte, s.At), ago(a.LastMessage, s.At),
			fmt.Sprint(a.Messages), fmt.Sprint(a.Broken), fmt.Sprint(a.Refusals), a.Problem})
	}
	table(w, "ANALYZER LINE LAST-BYTE LAST-MESSAGE MESSAGES BROKEN REFUSED PROBLEM", rows)
	if len(s.Attention) == 0 {
		fmt.Fprintln(w, "\nNothing needs a person.")
	} else {
		fmt.Fprintln(w, "\nThis needs a person:")
		for _, a := range s.Attention {
			seen := ""
			if a.Acked {
				seen = " (seen)"
			}
			fmt.Fprintf(w, "  %s  %s %s: %d, since %s%s\n          %s\n", a.ID, a.Analyzer, a.Reason, a.Count, ago(a.Since, s.At), seen, a.Do)
		}
	}
	for _, n := range s.Notices {
		fmt.Fprintf(w, "Note: %s %s: %d. %s\n", n.Analyzer, n.Reason, n.Count, n.Do)
	}
}

func ackCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "ack ID",
		Short: "Say that a person has seen an attention line of status; its alarm rests until it grows",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.decide(cmd, "/ack/"+url.PathEscape(args[0]), nil, args[0]+" is acknowledged; it stays on status until it is mended")
		},
	}
}

// clock is when a thing happened, for people.
func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
