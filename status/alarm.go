package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"time"
)

// Alarm rings: it tells a program and a web address what needs a person, again and again until somebody acknowledges it,
// and once more when it has ended. What it says holds counts, analyzers and reasons, never patient data.
type Alarm struct {
	Board   *Board
	Agent   string        // which agent speaks: the delivery tag
	Command []string      // program and arguments; the text comes on its standard input; empty: none
	Webhook string        // gets the bell as JSON; empty: none
	Every   time.Duration // between repetitions
	HTTP    *http.Client  // for the webhook
	Log     *slog.Logger
}

// look is how often the board is looked at: a hold must ring within 60 s, with room for a slow target.
const look = 15 * time.Second

// target is how long a program or web address may take.
const target = 20 * time.Second

// Bell is what is said, once a change.
type Bell struct {
	Schema   string    `json:"schema"` // "labagent.bell/1"
	Agent    string    `json:"agent"`
	Event    string    `json:"event"` // begins, continues, grows, ends
	ID       string    `json:"id"`
	Analyzer string    `json:"analyzer,omitempty"`
	Reason   string    `json:"reason"`
	Count    int       `json:"count"`
	Since    time.Time `json:"since,omitzero"`
	Do       string    `json:"do,omitempty"`
}

// Run rings until ctx ends.
func (a *Alarm) Run(ctx context.Context) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		for _, bell := range a.Board.due(a.Every) {
			bell.Agent = a.Agent
			a.ring(ctx, bell)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// due is what must be said now: what began, grew beyond what a person has seen, goes on unacknowledged, or ended. What grows
// before anybody has seen it is said with the next repetition: a bell that never rests is not heard.
func (b *Board) due(every time.Duration) []Bell {
	bells, _ := b.attention()
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	var due []Bell
	alive := map[string]bool{}
	for _, a := range bells {
		alive[a.ID] = true
		r := b.rung[a.ID]
		if r == nil {
			r = &ring{}
			b.rung[a.ID] = r
		}
		event := ""
		switch {
		case a.Acked:
		case r.last.IsZero():
			event = "begins"
		case r.acked >= r.said.Count: // more than the person saw
			event = "grows"
		case now.Sub(r.last) >= every:
			event = "continues"
		}
		if event != "" {
			r.last, r.said = now, a
			due = append(due, bell(event, a))
		}
	}
	for id, r := range b.rung {
		if !alive[id] {
			delete(b.rung, id)
			if !r.last.IsZero() {
				due = append(due, bell("ends", r.said))
			}
		}
	}
	return due
}

func bell(event string, a Attention) Bell {
	return Bell{
		Schema: "labagent.bell/1", Event: event, ID: a.ID, Analyzer: a.Analyzer, Reason: a.Reason,
		Count: a.Count, Since: a.Since, Do: a.Do,
	}
}

// Text is the bell in one line for people.
func (b Bell) Text() string {
	who := b.Agent
	if b.Analyzer != "" {
		who += " " + b.Analyzer
	}
	text := fmt.Sprintf("%s: %s %s (%d)", who, b.Reason, b.Event, b.Count)
	if b.Event == "ends" {
		return text
	}
	return fmt.Sprintf("%s. %s Seen: labagent ack %s", text, b.Do, b.ID)
}

func (a *Alarm) ring(ctx context.Context, bell Bell) {
	a.Log.Warn("attention", "event", bell.Event, "id", bell.ID, "analyzer", bell.Analyzer, "reason", bell.Reason, "count", bell.Count)
	ctx, cancel := context.WithTimeout(ctx, target)
	defer cancel()
	if len(a.Command) > 0 {
		cmd := exec.CommandContext(ctx, a.Command[0], a.Command[1:]...)
		cmd.Stdin = strings.NewReader(bell.Text() + "\n")
		cmd.WaitDelay = time.Second
		if err := cmd.Run(); err != nil {
			a.Log.Error("alarm.command did not work", "program", a.Command[0], "error", err)
		}
	}
	if a.Webhook != "" {
		if err := a.post(ctx, bell); err != nil {
			a.Log.Error("alarm.webhook did not take the bell", "error", err)
		}
	}
}

func (a *Alarm) post(ctx context.Context, bell Bell) error {
	body, err := json.Marshal(bell)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.Webhook, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.HTTP.Do(req)
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err // without the URL, which is a secret with most services
	}
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}
