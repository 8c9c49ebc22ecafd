package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"labagent/auth"
	"labagent/config"
	"labagent/sandbox"
	"labagent/simulate"
)

func demoCommand(*options) *cobra.Command {
	d := &demo{messages: 22, pause: 450 * time.Millisecond, offAfter: 4 * time.Second, offFor: 6 * time.Second, limit: 55 * time.Second}
	var once bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job: two simulated analyzers, a sandbox server that fails in the middle, nothing lost, nothing doubled",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !once {
				d.messages, d.limit = 0, 0
			}
			d.out = cmd.OutOrStdout()
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "end by itself within a minute; exit code 0 only when nothing is lost or doubled")
	return cmd
}

// demo is the main job on one machine, with nothing installed and nothing left behind.
type demo struct {
	out      io.Writer
	messages int           // of each analyzer, few enough for the 50,000 units a minute a project has; 0: until interrupted
	pause    time.Duration // between messages of an analyzer
	offAfter time.Duration // when the server is switched off
	offFor   time.Duration // and for how long
	limit    time.Duration // for all of it; 0: none

	start   time.Time
	ledgers []*simulate.Ledger
	names   []string
}

// tag is the delivery tag of the demo.
const demoTag = "urn:labagent|demo"

func (d *demo) run(ctx context.Context) error {
	d.start = time.Now()
	dir, err := os.MkdirTemp("", "labagent-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server := sandbox.New(sandbox.Options{})
	client, err := demoClient(server)
	if err != nil {
		return err
	}
	url, stop, err := listen(server)
	if err != nil {
		return err
	}
	defer stop()

	cfg := config.Default()
	cfg.Server.URL = url
	cfg.Auth.ClientID, cfg.Auth.ClientSecret = client.ID, config.NewSecret(client.Secret)
	cfg.Deliver.Tag = demoTag
	cfg.Queue.Dir = filepath.Join(dir, "data")
	cfg.Status.Listen = "127.0.0.1:0"
	logFile, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()

	analyzers, err := d.analyzers(&cfg)
	if err != nil {
		return err
	}
	d.say("sandbox Medplum at %s, data in %s", url, cfg.Queue.Dir)

	agentCtx, stopAgent := context.WithCancel(context.WithoutCancel(ctx))
	agent := make(chan error, 1)
	go func() { agent <- run(agentCtx, &cfg, outside{log: slog.New(slog.NewTextHandler(logFile, nil))}) }()
	err = d.play(ctx, server, analyzers)
	stopAgent()
	if err := errors.Join(err, <-agent); err != nil {
		return err
	}
	return d.conclude(server)
}

// demoClient makes a client on the server with no more rights than the minimal policy gives.
func demoClient(server *sandbox.Server) (sandbox.Client, error) {
	var policy sandbox.Policy
	if err := json.Unmarshal(auth.Policy(auth.Need{Tag: demoTag, Report: true}).JSON(), &policy); err != nil {
		return sandbox.Client{}, err
	}
	return server.AddClient(sandbox.Client{Name: "labagent demo", Policy: &policy}), nil
}

// listen serves on a free port of this machine.
func listen(handler http.Handler) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	var done sync.WaitGroup
	done.Go(func() { server.Serve(l) })
	return "http://" + l.Addr().String() + "/", func() { server.Close(); done.Wait() }, nil
}

// analyzers configures the two analyzers and the machines that play them.
func (d *demo) analyzers(cfg *config.Config) ([]*simulate.Analyzer, error) {
	hematology := config.Analyzer{Name: "hematology-1", Protocol: "astm", Timezone: "UTC", Codes: demoCodes(simulate.Hematology)}
	play := &simulate.Analyzer{Name: "XN", Protocol: "astm", Seed: 1, Panel: simulate.Hematology}
	path, port, err := virtualSerial()
	if err == nil {
		hematology.Serial = &config.Serial{Port: path}
		play.Dial = simulate.Once(port)
		d.say("hematology-1: ASTM on the virtual serial port %s", path)
	} else {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		hematology.TCP = &config.TCP{Listen: address}
		play.Dial = simulate.TCP(address)
		d.say("hematology-1: ASTM over TCP at %s, because there are no virtual serial ports here", address)
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	chemistry := config.Analyzer{
		Name: "chemistry-1", Protocol: "hl7", Timezone: "UTC", Codes: demoCodes(simulate.Chemistry), TCP: &config.TCP{Listen: address},
	}
	d.say("chemistry-1:  HL7 v2 over MLLP at %s", address)
	cfg.Analyzers = []config.Analyzer{hematology, chemistry}
	list := []*simulate.Analyzer{play, {Name: "COBAS", Protocol: "hl7", Seed: 2, Panel: simulate.Chemistry, Dial: simulate.TCP(address)}}
	for i, a := range list {
		a.Messages, a.Pause, a.Ledger = d.messages, d.pause, &simulate.Ledger{}
		a.Timing = simulate.Timing{Retry: 200 * time.Millisecond}
		d.ledgers, d.names = append(d.ledgers, a.Ledger), append(d.names, cfg.Analyzers[i].Name)
	}
	return list, nil
}

// freeAddress is a port nobody has just now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// demoCodes is a code list for a panel.
func demoCodes(panel []simulate.Test) []config.Code {
	loinc := map[string]string{
		"WBC": "6690-2", "RBC": "789-8", "HGB": "718-7", "HCT": "4544-3", "MCV": "787-2", "PLT": "777-3",
		"GLU": "15074-8", "CREA": "14682-9", "K": "2823-3", "CRP": "1988-5", "HBSAG": "5195-3",
	}
	var codes []config.Code
	for _, t := range panel {
		codes = append(codes, config.Code{Code: t.Code, LOINC: loinc[t.Code], Unit: t.Unit})
	}
	return codes
}

// play lets the analyzers measure, switches the server off in the middle, and waits until all that was acknowledged is
// delivered.
func (d *demo) play(ctx context.Context, server *sandbox.Server, analyzers []*simulate.Analyzer) error {
	if d.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.limit)
		defer cancel()
	}
	var measuring sync.WaitGroup
	for _, a := range analyzers {
		measuring.Go(func() {
			if err := a.Run(ctx); err != nil {
				d.say("%s: %v", a.Name, err)
			}
		})
	}
	measured := make(chan struct{})
	go func() { measuring.Wait(); close(measured) }()

	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	state, done := "on", measured
	for {
		select {
		case <-tick.C:
		case <-done:
			done = nil
			d.say("the analyzers have sent everything")
		}
		switch up := time.Since(d.start); {
		case state == "on" && up > d.offAfter:
			state = "off"
			server.Switch(func(s *sandbox.Switches) { s.Off = true })
			d.say("the server is switched off; the analyzers do not notice")
		case state == "off" && up > d.offAfter+d.offFor:
			state = "back"
			server.Switch(func(s *sandbox.Switches) { s.Off = false })
			d.say("the server is on again")
		}
		t, err := d.tally(server)
		if err != nil {
			return err
		}
		d.say("%4d results sent, %4d acknowledged, %4d in FHIR", t.Sent, t.Acknowledged, t.InFHIR)
		if done == nil && state == "back" && t.InFHIR >= t.Acknowledged {
			return nil
		}
		if ctx.Err() != nil && (d.limit > 0 || t.InFHIR >= t.Acknowledged) {
			return nil
		}
		if ctx.Err() != nil && state == "off" { // interrupted while the server was off: let the rest go out
			d.offFor = 0
		}
	}
}

// tally is all ledgers held against the server.
func (d *demo) tally(server *sandbox.Server) (simulate.Tally, error) {
	var sum simulate.Tally
	for i := range d.ledgers {
		t, err := d.compare(server, i)
		if err != nil {
			return sum, err
		}
		sum.Sent += t.Sent
		sum.Acknowledged += t.Acknowledged
		sum.InFHIR += t.InFHIR
		sum.Lost += t.Lost
		sum.Doubled += t.Doubled
		sum.Changed += t.Changed
	}
	return sum, nil
}

// compare holds one ledger against what the server has of its analyzer.
func (d *demo) compare(server *sandbox.Server, i int) (simulate.Tally, error) {
	var own []json.RawMessage
	mark := []byte(`"urn:labagent:code:` + d.names[i] + `"`)
	for _, o := range server.Resources("Observation") {
		if bytes.Contains(o, mark) {
			own = append(own, o)
		}
	}
	return d.ledgers[i].Compare(own)
}

// conclude prints the table and says whether all is well.
func (d *demo) conclude(server *sandbox.Server) error {
	var rows [][]string
	good := true
	for i, name := range d.names {
		t, err := d.compare(server, i)
		if err != nil {
			return err
		}
		good = good && t.Good() && t.Acknowledged > 0 && t.InFHIR >= t.Acknowledged
		rows = append(rows, []string{
			name, fmt.Sprint(t.Sent), fmt.Sprint(t.Acknowledged), fmt.Sprint(t.InFHIR), fmt.Sprint(t.Lost), fmt.Sprint(t.Doubled), fmt.Sprint(t.Changed),
		})
	}
	fmt.Fprintln(d.out)
	table(d.out, "RESULTS SENT ACKNOWLEDGED IN-FHIR LOST DOUBLED CHANGED", rows)
	fmt.Fprintf(d.out, "%d sheets (DiagnosticReport) on the server\n", len(server.Resources("DiagnosticReport")))
	if !good {
		return &exit{exitOther, errors.New("results are lost, doubled, changed or not delivered yet")}
	}
	return nil
}

// say writes a line of progress.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%4.0f s  %s\n", time.Since(d.start).Seconds(), fmt.Sprintf(format, args...))
}
