package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Listener answers /healthz and /metrics. It holds no patient data and changes nothing.
type Listener struct {
	Board   *Board
	Version string
	Listen  string // host:port
	// Bound is told the address once it listens; nil: nobody is.
	Bound func(net.Addr)
	Log   *slog.Logger
}

// Handler is the listener without its socket.
func (l *Listener) Handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics{l}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", l.health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

// Run listens until ctx ends. An address that somebody else holds is waited for: no result may stay in an analyzer because
// a port for monitoring is taken.
func (l *Listener) Run(ctx context.Context) error {
	listener := insist(ctx, l.Log, "status.listen", func() (net.Listener, error) { return net.Listen("tcp", l.Listen) })
	if listener == nil {
		return nil
	}
	if l.Bound != nil {
		l.Bound(listener.Addr())
	}
	return serve(ctx, listener, l.Handler())
}

// again is how often what could not be opened is tried.
const again = 10 * time.Second

// insist opens until it succeeds and says a failure once; nil: ctx ended before.
func insist(ctx context.Context, log *slog.Logger, what string, open func() (net.Listener, error)) net.Listener {
	tick := time.NewTicker(again)
	defer tick.Stop()
	for said := false; ; {
		listener, err := open()
		if err == nil {
			if said {
				log.Info("open again", "what", what)
			}
			return listener
		}
		if !said {
			log.Error("cannot be opened; it is tried again and again, results are carried all the same", "what", what, "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// serve answers on listener until ctx ends.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Health is the answer of /healthz.
type Health struct {
	Schema  string   `json:"schema"` // "labagent.health/1"
	Status  string   `json:"status"` // ok or attention
	Reasons []string `json:"reasons,omitempty"`
}

func (l *Listener) health(w http.ResponseWriter, _ *http.Request) {
	h := Health{Schema: "labagent.health/1", Status: "ok"}
	bells, _ := l.Board.attention()
	for _, a := range bells {
		h.Status = "attention"
		reason := a.Reason
		if a.Analyzer != "" {
			reason = a.Analyzer + ": " + reason
		}
		h.Reasons = append(h.Reasons, reason)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if h.Status != "ok" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(h)
}

// metrics turns a snapshot into Prometheus metrics; the board is the only truth, so that numbers never disagree.
type metrics struct{ l *Listener }

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("labagent_"+name, help, labels, nil)
}

var (
	descLines       = gauge("lines", "Open lines of an analyzer.", "analyzer")
	descLastByte    = gauge("last_byte_timestamp_seconds", "When an analyzer last sent a byte.", "analyzer")
	descLastMessage = gauge("last_message_timestamp_seconds", "When an analyzer's last whole message was made safe.", "analyzer")
	descMessages    = gauge("messages_total", "Messages made safe.", "analyzer", "kind")
	descRefusals    = gauge("refusals_total", "Pieces turned away for good.", "analyzer")
	descBytes       = gauge("bytes_total", "Bytes on the wire.", "analyzer", "direction")
	descRemarks     = gauge("remarks_total", "Oddities of the protocol.", "analyzer", "word")
	descItems       = gauge("queue_items", "Items in the queue.", "state")
	descQueueBytes  = gauge("queue_bytes", "Bytes of what is undelivered.")
	descOldest      = gauge("queue_oldest_waiting_seconds", "Age of the oldest waiting item.")
	descReachable   = gauge("server_reachable", "1 while the server answers.")
	descBasic       = gauge("auth_basic_fallback", "1 while Basic stands in for OAuth, which the server does not offer.")
	descDelivered   = gauge("delivered_total", "Items delivered.")
	descAttention   = gauge("attention", "What needs a person, by reason.", "analyzer", "reason", "acked")
)

// Describe sends the descriptions of all metrics.
func (metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descLines, descLastByte, descLastMessage, descMessages, descRefusals, descBytes, descRemarks, descItems, descQueueBytes,
		descOldest, descReachable, descBasic, descDelivered, descAttention,
	} {
		ch <- d
	}
}

// Collect sends the metrics of now.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.l.Board.Snapshot(m.l.Version)
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	since := func(d *prometheus.Desc, t time.Time, labels ...string) {
		if !t.IsZero() {
			send(d, prometheus.GaugeValue, float64(t.UnixMilli())/1000, labels...)
		}
	}
	for _, a := range s.Analyzers {
		send(descLines, prometheus.GaugeValue, float64(a.Lines), a.Name)
		since(descLastByte, a.LastByte, a.Name)
		since(descLastMessage, a.LastMessage, a.Name)
		send(descMessages, prometheus.CounterValue, float64(a.Messages), a.Name, "whole")
		send(descMessages, prometheus.CounterValue, float64(a.Broken), a.Name, "broken")
		send(descRefusals, prometheus.CounterValue, float64(a.Refusals), a.Name)
		send(descBytes, prometheus.CounterValue, float64(a.BytesIn), a.Name, "in")
		send(descBytes, prometheus.CounterValue, float64(a.BytesOut), a.Name, "out")
		for word, n := range a.Remarks {
			send(descRemarks, prometheus.CounterValue, float64(n), a.Name, word)
		}
	}
	for state, n := range map[string]int{
		"waiting": s.Queue.Waiting, "held": s.Queue.Held, "parked": s.Queue.Parked, "incomplete": s.Queue.Incomplete, "delivered": s.Queue.Delivered,
	} {
		send(descItems, prometheus.GaugeValue, float64(n), state)
	}
	send(descQueueBytes, prometheus.GaugeValue, float64(s.Queue.Bytes))
	oldest := 0.0
	if !s.Queue.OldestWaiting.IsZero() {
		oldest = s.At.Sub(s.Queue.OldestWaiting).Seconds()
	}
	send(descOldest, prometheus.GaugeValue, oldest)
	reachable := 0.0
	if s.Server.Reachable {
		reachable = 1
	}
	send(descReachable, prometheus.GaugeValue, reachable)
	basic := 0.0
	if s.Server.BasicFallback {
		basic = 1
	}
	send(descBasic, prometheus.GaugeValue, basic)
	send(descDelivered, prometheus.CounterValue, float64(s.Server.Delivered))
	for _, a := range s.Attention {
		send(descAttention, prometheus.GaugeValue, float64(a.Count), a.Analyzer, a.Reason, fmt.Sprint(a.Acked))
	}
}
