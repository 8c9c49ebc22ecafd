package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os/user"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"labagent/queue"
	"labagent/status"
)

func queueCommand(o *options) *cobra.Command {
	return parent("queue", "Look at and decide about what lies on disk",
		queueList(o), queueShow(o), queueRetry(o), queueRelease(o), queueRefused(o))
}

// found turns "there is none" of the agent into its exit code.
func found(err error) error {
	var refusal *status.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Status == http.StatusNotFound:
		return &exit{exitNothing, err}
	case errors.As(err, &refusal) && refusal.Status == http.StatusBadRequest:
		return &exit{exitUsage, err}
	}
	return err
}

// decide sends a decision about an item and says that it was taken.
func (o *options) decide(cmd *cobra.Command, path string, decision any, done string) error {
	if err := o.call(cmd.Context(), "POST", path, decision, nil); err != nil {
		return found(err)
	}
	if o.json {
		return printJSON(cmd.OutOrStdout(), map[string]string{"schema": "labagent.done/1", "done": done})
	}
	fmt.Fprintln(cmd.OutOrStdout(), done)
	return nil
}

func queueList(o *options) *cobra.Command {
	var specimen, analyzer, state string
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List what is not delivered, part by part, with the reason and what to do",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{"specimen": {specimen}, "analyzer": {analyzer}, "state": {state}}
			var rows []row
			if err := o.call(cmd.Context(), "GET", "/queue?"+query.Encode(), nil, &rows); err != nil {
				return found(err)
			}
			if len(rows) == 0 {
				return &exit{exitNothing, errors.New("nothing in the queue matches")}
			}
			return printRows(cmd.OutOrStdout(), o.json, rows)
		},
	}
	cmd.Flags().StringVar(&specimen, "specimen", "", "only what belongs to this specimen id")
	cmd.Flags().StringVar(&analyzer, "analyzer", "", "only what came from this analyzer")
	cmd.Flags().StringVar(&state, "state", "", "waiting, held, parked, incomplete, delivered or all; without it all but delivered")
	return cmd
}

func printRows(w io.Writer, asJSON bool, rows []row) error {
	if asJSON {
		for _, r := range rows {
			if err := printJSON(w, struct {
				Schema string `json:"schema"`
				row
			}{"labagent.queue/1", r}); err != nil {
				return err
			}
		}
		return nil
	}
	var lines [][]string
	todo := map[string]string{}
	for _, r := range rows {
		what := r.Test
		if what == "" && r.Results > 0 {
			what = fmt.Sprintf("%d results", r.Results)
		}
		lines = append(lines, []string{fmt.Sprint(r.ID), r.Analyzer, string(r.State), r.Reason, r.Specimen, what, clock(r.Received)})
		if r.Do != "" {
			todo[r.Reason] = r.Do
		}
	}
	table(w, "ID ANALYZER STATE REASON SPECIMEN TEST RECEIVED", lines)
	for _, reason := range slices.Sorted(maps.Keys(todo)) {
		fmt.Fprintf(w, "%s: %s\n", reason, todo[reason])
	}
	return nil
}

func queueShow(o *options) *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show an item with its raw message; it holds patient data",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var item itemView
			if err := o.call(cmd.Context(), "GET", "/queue/"+url.PathEscape(args[0]), nil, &item); err != nil {
				return found(err)
			}
			w := cmd.OutOrStdout()
			if raw {
				_, err := w.Write(item.Raw)
				return err
			}
			if o.json {
				return printJSON(w, item)
			}
			fmt.Fprintf(w, "item %d of %s (%s), received %s: %s %s\n", item.ID, item.Analyzer, item.Protocol, clock(item.Received), item.State, item.Reason)
			if item.Problem != "" {
				fmt.Fprintln(w, "cannot be read:", item.Problem)
			}
			if len(item.Quirks) > 0 {
				fmt.Fprintln(w, "tolerated on the line:", strings.Join(item.Quirks, ", "))
			}
			for _, e := range item.Exceptions {
				if e.Decision != "" {
					fmt.Fprintf(w, "%s of part %d was decided: %s by %s at %s: %s\n", e.Reason, e.Part+1, e.Decision, e.By, clock(e.At), e.Why)
				}
			}
			if err := printRows(w, false, item.Rows); err != nil {
				return err
			}
			fmt.Fprintf(w, "\n%s\n", bytes.ReplaceAll(item.Raw, []byte("\r"), []byte("\n")))
			return nil
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "only the message as received, for a file that labagent decode reads")
	return cmd
}

func queueRetry(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "retry ID",
		Short: "Deliver a parked or held item again, as it is; what is delivered already is not made twice",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.decide(cmd, "/queue/"+url.PathEscape(args[0])+"/retry", nil, "item "+args[0]+" goes out again")
		},
	}
}

func queueRelease(o *options) *cobra.Command {
	var d releasing
	var part int
	cmd := &cobra.Command{
		Use:   "release ID --why TEXT",
		Short: "Deliver what is held all the same; a decision of a person, with a reason",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(d.Why) == "" {
				return &exit{exitUsage, errors.New("a release needs a reason: --why")}
			}
			if part > 0 {
				index := part - 1
				d.Part = &index
			}
			d.By = who()
			return o.decide(cmd, "/queue/"+url.PathEscape(args[0])+"/release", d, "item "+args[0]+" is released")
		},
	}
	cmd.Flags().StringVar(&d.Why, "why", "", "the reason, kept with the item")
	cmd.Flags().IntVar(&part, "part", 0, "only this part, counted from 1")
	cmd.Flags().StringVar(&d.Reason, "reason", "", "only what is held for this reason (unmapped, unit, specimen-id ...)")
	return cmd
}

// who is the person at the keyboard, as far as the system knows.
func who() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

func queueRefused(o *options) *cobra.Command {
	var analyzer, specimen string
	var clear bool
	cmd := &cobra.Command{
		Use:   "refused",
		Short: "List what an analyzer was refused and a person must send again; an entry goes when its specimen has come",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if clear {
				query := url.Values{"specimen": {specimen}, "analyzer": {analyzer}}
				return o.decide(cmd, "/refused/clear?"+query.Encode(), nil, "forgotten")
			}
			var list []queue.Refusal
			if err := o.call(cmd.Context(), "GET", "/refused", nil, &list); err != nil {
				return err
			}
			if len(list) == 0 {
				return &exit{exitNothing, errors.New("nothing was refused")}
			}
			var rows [][]string
			for _, r := range list {
				if o.json {
					if err := printJSON(cmd.OutOrStdout(), struct {
						Schema string `json:"schema"`
						queue.Refusal
					}{"labagent.refused/1", r}); err != nil {
						return err
					}
				}
				specimen := r.Specimen
				if specimen == "" {
					specimen = "(not read: send again what was measured then)"
				}
				rows = append(rows, []string{clock(r.Since), clock(r.At), fmt.Sprint(r.Count), r.Analyzer, r.Line, specimen, r.Reason})
			}
			if !o.json {
				table(cmd.OutOrStdout(), "FIRST LAST COUNT ANALYZER LINE SPECIMEN REASON", rows)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&clear, "clear", false, "forget the refusals of --analyzer and --specimen, because a person has dealt with them")
	cmd.Flags().StringVar(&analyzer, "analyzer", "", "with --clear: the analyzer")
	cmd.Flags().StringVar(&specimen, "specimen", "", "with --clear: the specimen id; empty: those of which it could not be read")
	return cmd
}
