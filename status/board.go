// Package status knows what is well and what is not, now: the Board that lines and uploader report to, the bell that rings
// when a person is needed, health and metrics for machines, and the control door through which labagent's commands reach
// the running agent.
//
// Nothing here holds patient data but what passes through the control door, which only the account of the service and
// administrators can open.
package status

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"labagent/lab"
)

// Board is where everything that lives reports how it is. Its methods may be called from any goroutine.
type Board struct {
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Queue reads the numbers of the queue; set before anything runs.
	Queue func() Queue
	// Conditions reads what needs a person now, beside what the board sees itself; set before anything runs.
	Conditions func() []Condition

	mu        sync.Mutex
	started   time.Time
	analyzers map[string]*Analyzer
	server    Server
	rung      map[string]*ring // by Condition key
}

// Analyzer is how one analyzer's lines are. Counts are since the start of the agent.
type Analyzer struct {
	Name        string            `json:"name"`
	Label       string            `json:"label,omitempty"`
	Lines       int               `json:"lines"`             // open now
	Problem     string            `json:"problem,omitempty"` // why the last line went down, while none is up
	LastByte    time.Time         `json:"last_byte,omitzero"`
	LastMessage time.Time         `json:"last_message,omitzero"`
	Messages    uint64            `json:"messages"`
	Broken      uint64            `json:"broken"` // torn off
	Refusals    uint64            `json:"refusals"`
	Queries     uint64            `json:"queries"` // questions for orders, which are not served yet
	BytesIn     uint64            `json:"bytes_in"`
	BytesOut    uint64            `json:"bytes_out"`
	Remarks     map[string]uint64 `json:"remarks,omitempty"` // oddities of the protocol, by word
}

// Server is how the server and our rights there are.
type Server struct {
	URL          string    `json:"url"`
	Reachable    bool      `json:"reachable"`
	Since        time.Time `json:"since,omitzero"`    // of Reachable
	Problem      string    `json:"problem,omitempty"` // why not, or what a person must mend
	Ours         bool      `json:"ours"`              // the problem is ours to mend: credentials, rights, policy
	LastDelivery time.Time `json:"last_delivery,omitzero"`
	Delivered    uint64    `json:"delivered"` // items
	Method       string    `json:"auth_method"`
	TokenUntil   time.Time `json:"token_until,omitzero"`
	// BasicFallback tells that Basic stands in for OAuth, which the server does not offer, and BasicSince since when.
	BasicFallback bool      `json:"basic_fallback"`
	BasicSince    time.Time `json:"basic_since,omitzero"`
	AuthProblem   string    `json:"auth_problem,omitempty"` // why the last attempt to get a token failed
	AuthRefused   bool      `json:"auth_refused,omitempty"` // the server named our credentials as the reason
	ClockSkew     string    `json:"clock_skew,omitempty"`   // this machine's clock ahead of the server's
}

// Queue is the numbers of the queue.
type Queue struct {
	Waiting       int       `json:"waiting"`
	Held          int       `json:"held"`
	Parked        int       `json:"parked"`
	Incomplete    int       `json:"incomplete"`
	Delivered     int       `json:"delivered"` // still kept
	OldestWaiting time.Time `json:"oldest_waiting,omitzero"`
	Bytes         int64     `json:"bytes"`     // undelivered
	MaxBytes      int64     `json:"max_bytes"` // of what is undelivered
}

// Snapshot is the whole board at one moment.
type Snapshot struct {
	Schema    string      `json:"schema"` // "labagent.status/1"
	Version   string      `json:"version"`
	At        time.Time   `json:"at"`
	Started   time.Time   `json:"started"`
	Analyzers []Analyzer  `json:"analyzers"`
	Server    Server      `json:"server"`
	Queue     Queue       `json:"queue"`
	Attention []Attention `json:"attention"`
	Notices   []Notice    `json:"notices,omitempty"`
}

// Notice is something worth knowing that rings no bell: quality control that is kept, questions that are not answered yet.
type Notice struct {
	Analyzer string `json:"analyzer"`
	Reason   string `json:"reason"`
	Count    int    `json:"count"`
	Do       string `json:"do,omitempty"`
}

// Add makes an analyzer known before its first line is up, and returns the watcher of its lines.
func (b *Board) Add(name, label string) *Watch {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.init()
	b.analyzers[name] = &Analyzer{Name: name, Label: label, Remarks: map[string]uint64{}, Problem: "not connected yet"}
	return &Watch{board: b, analyzer: name}
}

// Asked counts questions of an analyzer that no answer but no was given to.
func (b *Board) Asked(analyzer string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.analyzers[analyzer].Queries += uint64(n)
}

func (b *Board) init() {
	if b.analyzers == nil {
		b.analyzers = map[string]*Analyzer{}
		b.rung = map[string]*ring{}
		b.started = b.now()
	}
}

func (b *Board) now() time.Time {
	if b.Now != nil {
		return b.Now()
	}
	return time.Now()
}

// Update changes what is known of the server.
func (b *Board) Update(change func(*Server)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.init()
	reachable := b.server.Reachable
	change(&b.server)
	if b.server.Reachable != reachable || b.server.Since.IsZero() {
		b.server.Since = b.now()
	}
}

// Snapshot is the board now.
func (b *Board) Snapshot(version string) Snapshot {
	attention, notices := b.attention()
	s := Snapshot{Schema: "labagent.status/1", Version: version, At: b.now(), Attention: attention, Notices: notices}
	if b.Queue != nil {
		s.Queue = b.Queue()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.init()
	s.Started, s.Server = b.started, b.server
	for _, a := range b.analyzers {
		one := *a
		one.Remarks = maps.Clone(a.Remarks)
		s.Analyzers = append(s.Analyzers, one)
	}
	slices.SortFunc(s.Analyzers, func(x, y Analyzer) int { return cmp.Compare(x.Name, y.Name) })
	return s
}

// Watch reports one analyzer's lines to the board; it satisfies driver.Watcher.
type Watch struct {
	board    *Board
	analyzer string
	// OnRefused is called for every refusal with its text, to be listed; nil: it is only counted.
	OnRefused func(line string, text []byte, reason string)
}

func (w *Watch) change(do func(*Analyzer)) {
	w.board.mu.Lock()
	defer w.board.mu.Unlock()
	do(w.board.analyzers[w.analyzer])
}

// LineUp tells that a line was opened.
func (w *Watch) LineUp(string) {
	w.change(func(a *Analyzer) { a.Lines++; a.Problem = "" })
}

// LineDown tells that a line ended; err is nil when we ended it.
func (w *Watch) LineDown(_ string, err error) {
	w.change(func(a *Analyzer) {
		a.Lines--
		if a.Lines == 0 && err != nil {
			a.Problem = err.Error()
		}
	})
}

// Received counts bytes from the analyzer.
func (w *Watch) Received(n int) {
	now := w.board.now()
	w.change(func(a *Analyzer) { a.BytesIn += uint64(n); a.LastByte = now })
}

// Sent counts bytes to the analyzer.
func (w *Watch) Sent(n int) {
	w.change(func(a *Analyzer) { a.BytesOut += uint64(n) })
}

// Message tells that a message was made safe, whole or broken.
func (w *Watch) Message(mark lab.Mark) {
	now := w.board.now()
	w.change(func(a *Analyzer) {
		if mark == lab.Broken {
			a.Broken++
			return
		}
		a.Messages++
		a.LastMessage = now
	})
}

// Remark counts an oddity.
func (w *Watch) Remark(word string) {
	w.change(func(a *Analyzer) { a.Remarks[word]++ })
}

// Refused counts a piece that was turned away for good.
func (w *Watch) Refused(line string, text []byte, reason string) {
	w.change(func(a *Analyzer) { a.Refusals++ })
	if w.OnRefused != nil {
		w.OnRefused(line, text, reason)
	}
}

// Trouble tells why a line cannot be opened.
func (w *Watch) Trouble(err error) {
	w.change(func(a *Analyzer) {
		if a.Lines == 0 {
			a.Problem = err.Error()
		}
	})
}
