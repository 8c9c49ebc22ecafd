package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"labagent/auth"
	"labagent/config"
	"labagent/driver"
	"labagent/fhir"
	"labagent/filing"
	"labagent/lab"
	"labagent/queue"
	"labagent/status"
	"labagent/upload"
)

func runCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the agent in the foreground",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.load()
			if err != nil {
				return err
			}
			return run(cmd.Context(), cfg, outside{log: logger(&cfg.Log)})
		},
	}
}

// logger writes to standard error, where journald and the service manager look.
func logger(c *config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

// outside is what stands around the agent and can be replaced: by the demo, which watches, and by tests, which put pipes in
// place of ports and a server in place of the network.
type outside struct {
	log     *slog.Logger
	network http.RoundTripper                 // in place of TCP and TLS, to the server and to alarm.webhook; nil: those
	port    func(analyzer string) driver.Port // in place of the configured ports; nil: those
	quiet   bool                              // no sockets of our own: neither control door nor health
	bound   func(health net.Addr)             // told where health and metrics listen
	lines   func(*driver.Analyzer)            // told each analyzer before it runs
	store   func(driver.Store) driver.Store   // put around the disk of each line
	disk    func(sync func() error) error     // put around each sync of the queue; nil: nothing
	built   func(*plant)                      // told the agent before it runs
}

// plant is a running agent: all rooms, built from one configuration.
type plant struct {
	cfg       *config.Config
	analyzers map[string]*analyzer
	queue     *queue.Queue
	board     *status.Board
	uploader  *upload.Uploader
	log       *slog.Logger
}

// run lives until ctx ends. The queue is opened first and closed last; in between everything runs side by side: what fails
// for good ends all, what is weather each room waits out by itself.
func run(ctx context.Context, cfg *config.Config, out outside) error {
	built, faults := analyzers(cfg)
	if len(faults) > 0 {
		return faults
	}
	letIn := access(cfg)
	letIn.Network = out.network
	q, err := queue.Open(dataDir(cfg), queue.Options{
		MaxSize: int64(cfg.Queue.MaxSize), KeepDelivered: time.Duration(cfg.Queue.KeepDelivered), Log: out.log, Disk: out.disk,
	})
	if err != nil {
		return err
	}
	p := &plant{cfg: cfg, analyzers: built, queue: q, log: out.log}
	p.board = &status.Board{Queue: p.numbers, Conditions: p.conditions}
	letIn.Watch = watch{p}.Token
	entry, err := auth.New(letIn)
	if err != nil {
		return errors.Join(fmt.Errorf("auth: %w", err), q.Close())
	}
	p.board.Update(func(s *status.Server) { s.URL, s.Method = cfg.Server.URL, cfg.Auth.Method })
	p.uploader = p.newUploader(entry.Client)
	if out.built != nil {
		out.built(p)
	}

	writer := newGroup(context.WithoutCancel(ctx)) // outlives the lines: what they were told is safe must be
	writer.run("queue", q.Run)
	all := newGroup(ctx)
	var wire *driver.WireFile
	if cfg.Log.WireFile != "" {
		wire = driver.NewWireFile(cfg.Log.WireFile, time.Duration(cfg.Log.WireKeep), out.log)
		writer.run("wire log", wire.Run)
	}
	for _, a := range p.analyzers {
		line := p.line(a, wire, out)
		all.run("analyzer "+a.name, line.Run)
	}
	all.run("remap", p.remap)
	all.run("auth", entry.Run)
	all.run("upload", p.uploader.Run)
	all.run("alarm", p.alarm(out.network).Run)
	if !out.quiet {
		all.run("control", (&status.Door{Dir: dataDir(cfg), Handler: p.control(), Log: out.log}).Run)
		if cfg.Status.Listen != "off" {
			all.run("status", (&status.Listener{Board: p.board, Version: version, Listen: cfg.Status.Listen, Bound: out.bound, Log: out.log}).Run)
		}
	}
	out.log.Info("labagent runs", "version", version, "analyzers", len(p.analyzers), "server", cfg.Server.URL, "data", dataDir(cfg))
	err = all.wait()
	writer.stop()
	err = errors.Join(err, writer.wait(), q.Close())
	out.log.Info("labagent stopped")
	return err
}

// line puts one analyzer's driver together.
func (p *plant) line(a *analyzer, wire *driver.WireFile, out outside) *driver.Analyzer {
	watch := p.board.Add(a.name, a.label)
	watch.OnRefused = func(line string, text []byte, reason string) {
		p.queue.Refuse(queue.Refusal{At: time.Now(), Analyzer: a.name, Line: line, Specimen: a.dialect.Specimen(text, a.setup), Reason: reason})
	}
	d := &driver.Analyzer{
		Name: a.name, Port: a.port, NewTalk: a.newTalk, Watch: watch, Log: out.log,
		NewStore: func(string) driver.Store {
			var store driver.Store = p.queue.Line(a.name, a.protocol)
			if out.store != nil {
				store = out.store(store)
			}
			return store
		},
	}
	if wire != nil {
		d.Wire = wire
	}
	if out.port != nil {
		d.Port = out.port(a.name)
	}
	if out.lines != nil {
		out.lines(d)
	}
	return d
}

// newUploader puts the way to the server together.
func (p *plant) newUploader(client *http.Client) *upload.Uploader {
	u := &upload.Uploader{
		Queue: p.queue, Server: &fhir.Client{HTTP: client, Base: p.cfg.Server.URL}, Watch: watch{p}, Log: p.log,
	}
	for _, c := range p.cfg.Analyzers { // the order of the file is the order of the turns
		a := p.analyzers[c.Name]
		u.Lanes = append(u.Lanes, upload.Lane{
			Analyzer: a.name, Rules: a.rules, Setting: a.setting,
			Decode: func(item *queue.Item) (lab.Report, error) {
				rep, err := a.read(item)
				if err == nil {
					p.board.Asked(a.name, len(rep.Queries))
				}
				return rep, err
			},
		})
	}
	if p.cfg.Auth.RequireMinimal {
		u.Server = &minimal{Server: u.Server, check: func(ctx context.Context) ([]auth.Finding, error) {
			return auth.Check(ctx, client, p.cfg.Server.URL, need(p.cfg))
		}}
	}
	return u
}

// watch tells the board how delivery and tokens are.
type watch struct{ *plant }

// Server is told how the way to the server is.
func (w watch) Server(state upload.State) {
	w.board.Update(func(s *status.Server) {
		s.Reachable, s.Problem, s.Ours = state.Well, cmp.Or(state.Fault, state.Text), state.Fault != ""
		s.ClockSkew = state.Skew.String()
	})
}

// Delivered is told what is on the server. A specimen that has come is no longer missing, however it was refused before it
// came; what was refused of it since still is.
func (w watch) Delivered(analyzer string, id uint64, at time.Time, stored int) {
	if stored > 0 {
		w.board.Update(func(s *status.Server) { s.LastDelivery = at; s.Delivered++ })
	}
	if len(w.queue.Refusals()) == 0 && w.queue.Stats().Incomplete == 0 {
		return
	}
	item, err := w.queue.Get(id)
	if err != nil {
		return
	}
	if err := w.closeRepeated(item); err != nil {
		w.log.Error("what broke off and came again could not be closed", "analyzer", analyzer, "error", err)
	}
	rep, err := w.analyzers[analyzer].read(item)
	if err != nil {
		return
	}
	for _, part := range rep.Parts {
		if part.Specimen != "" {
			w.queue.ClearRefusal(analyzer, part.Specimen, item.Received)
		}
	}
}

// Token is told of each attempt to get a token.
func (w watch) Token(state auth.State) {
	entered, left := false, false
	w.board.Update(func(s *status.Server) {
		entered, left = state.Basic && !s.BasicFallback, !state.Basic && s.BasicFallback
		if entered {
			s.BasicSince = state.At
		} else if left {
			s.BasicSince = time.Time{}
		}
		s.TokenUntil, s.BasicFallback = state.Until, state.Basic
		s.AuthProblem, s.AuthRefused = "", false
		if state.Err != nil && !state.Basic {
			s.AuthProblem, s.AuthRefused = state.Err.Text, state.Err.Refused
		}
	})
	switch {
	case entered:
		w.log.Warn("the server offers no OAuth: Basic takes its place, as auth.basic_fallback says", "cause", state.Err.Text)
	case left:
		w.log.Info("Basic no longer takes the place of OAuth")
	}
}

func (p *plant) alarm(network http.RoundTripper) *status.Alarm {
	return &status.Alarm{
		Board: p.board, Agent: p.cfg.Deliver.Tag, Command: p.cfg.Alarm.Command, Webhook: p.cfg.Alarm.Webhook,
		Every: time.Duration(p.cfg.Alarm.Every), Log: p.log,
		HTTP: &http.Client{Transport: network, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// remap lets go what a mended configuration no longer holds. What is held is mapped anew at every start; that costs nothing
// and asks no analyzer again. It runs beside the lines, which wait for nothing at the start.
func (p *plant) remap(ctx context.Context) error {
	var free []uint64
	err := p.queue.List(func(item *queue.Item) bool {
		if a := p.analyzers[item.Analyzer]; a != nil && a.frees(item) {
			free = append(free, item.ID)
		}
		return ctx.Err() == nil
	}, true, queue.Held)
	for _, id := range free {
		err = errors.Join(err, p.queue.Retry(id))
	}
	if err != nil {
		p.log.Error("not all that is held could be mapped anew; labagent queue retry does it for one item", "error", err)
	}
	return nil
}

// frees tells whether something of a held item is not held any more.
func (a *analyzer) frees(item *queue.Item) bool {
	parts, err := a.parts(item)
	if err != nil {
		return false
	}
	now := holds(parts)
	return slices.ContainsFunc(item.Exceptions, func(e queue.Exception) bool {
		return e.Decision == "" && heldByConfig[e.Reason] && !now[place{e.Part, e.Result, e.Reason}]
	})
}

// place is where something is held, and why.
type place struct {
	part, result int
	reason       string
}

// holds lists what filing holds of the parts of a message.
func holds(parts []filing.Part) map[place]bool {
	found := map[place]bool{}
	for _, p := range parts {
		if p.Hold != "" {
			found[place{p.Index, -1, p.Hold}] = true
		}
		for _, r := range p.Results {
			if r.Hold != "" {
				found[place{p.Index, r.Index, r.Hold}] = true
			}
		}
	}
	return found
}

// heldByConfig are the holds that a mended configuration can lift.
var heldByConfig = map[string]bool{
	filing.NoSpecimen: true, filing.SpecimenID: true, filing.Unmapped: true, filing.Unit: true, filing.QC: true,
}

// group runs things side by side; the first that fails ends all.
type group struct {
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
	mu   sync.Mutex
	err  error
}

func newGroup(ctx context.Context) *group {
	g := &group{}
	g.ctx, g.stop = context.WithCancel(ctx)
	return g
}

func (g *group) run(name string, f func(context.Context) error) {
	g.wg.Go(func() {
		if err := f(g.ctx); err != nil {
			g.fail(name, err)
		}
	})
}

func (g *group) fail(name string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = errors.Join(g.err, fmt.Errorf("%s: %w", name, err))
	g.stop()
}

func (g *group) wait() error {
	g.wg.Wait()
	g.stop()
	return g.err
}
