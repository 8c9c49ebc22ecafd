package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"labagent/filing"
	"labagent/queue"
	"labagent/status"
	"labagent/upload"
)

// backlog is how old the oldest waiting item may be before a person is called.
const backlog = 10 * time.Minute

// do says for each reason what a person does next.
var do = map[string]string{
	filing.NoSpecimen:     "No specimen id came with the result. Enter it at the analyzer and send again; labagent queue ls shows which.",
	filing.SpecimenID:     "The specimen id does not look like one. Check the label, then send again or labagent queue release.",
	filing.Unmapped:       "A test code is not in the code list. Add it to codes and restart; labagent queue ls shows which.",
	filing.Unit:           "The unit is not the one the code list expects. Check the analyzer's settings and the code list.",
	filing.QC:             "Quality control is kept here and not delivered.",
	queue.ReasonBroken:    "A message broke off. Send it again at the analyzer, or labagent queue release it as partial.",
	queue.ReasonRestart:   "A message broke off when the agent stopped. Send it again at the analyzer, or labagent queue release it.",
	queue.ReasonDamaged:   "An item on disk is damaged. Send it again at the analyzer, and check the disk.",
	upload.Incomplete:     "The analyzer itself gave the message up. Send it again at the analyzer, or labagent queue release it as partial.",
	upload.Unreadable:     "A message cannot be read. labagent queue show tells why; the raw message is kept.",
	upload.Refused:        "The server refused the content. labagent queue show tells why; then labagent queue retry.",
	upload.RefusedUnclear: "The server refused again and again without saying why. labagent queue show tells what it said.",
	upload.Differs:        "The server has another value under the same identity. labagent queue show tells which.",
	"refused-at-the-line": "The analyzer was refused and may not offer the result again. labagent queue refused lists what to send again.",
	"backlog":             "%d messages wait for delivery. The server line of labagent status tells why.",
	"not-configured":      "%d messages wait of an analyzer that is not configured, and are not delivered. Give its entry its old name back.",
	"full":                "The queue is full or the disk does not answer; analyzers are refused. Make room or mend the way to the server.",
}

// conditions reads from the queue what needs a person now.
func (p *plant) conditions() []status.Condition {
	type key struct{ analyzer, reason string }
	found := map[key]*status.Condition{}
	add := func(analyzer, reason string, since time.Time) {
		k := key{analyzer, reason}
		c := found[k]
		if c == nil {
			c = &status.Condition{Analyzer: analyzer, Reason: reason, Since: since, Do: do[reason]}
			c.Quiet = reason == filing.QC
			if c.Do == "" {
				c.Do = "labagent queue ls shows which."
			}
			found[k] = c
		}
		c.Count++
		if since.Before(c.Since) {
			c.Since = since
		}
	}
	err := p.queue.List(func(item *queue.Item) bool {
		open := 0
		for _, e := range item.Exceptions {
			if e.Decision == "" {
				add(item.Analyzer, e.Reason, item.Received)
				open++
			}
		}
		if open == 0 {
			add(item.Analyzer, cmp.Or(item.Reason, string(item.State)), item.Received)
		}
		return true
	}, false, queue.Held, queue.Parked, queue.Incomplete)
	if err != nil {
		found[key{"", "full"}] = &status.Condition{Reason: "full", Count: 1, Since: time.Now(), Do: "The queue cannot be read: " + err.Error()}
	}
	for _, r := range p.queue.Refusals() {
		add(r.Analyzer, "refused-at-the-line", r.At)
	}
	if err := p.queue.Well(); err != nil {
		found[key{"", "full"}] = &status.Condition{Reason: "full", Count: 1, Since: time.Now(), Do: fmt.Sprintf("%s (%v)", do["full"], err)}
	}
	for name, counts := range p.queue.Stats().Analyzers {
		reason := ""
		switch {
		case counts.Waiting == 0:
			continue
		case p.analyzers[name] == nil:
			reason = "not-configured"
		case time.Since(counts.Oldest) > backlog:
			reason = "backlog"
		default:
			continue
		}
		// One, however many wait: who has seen it is not called again with each message.
		found[key{name, reason}] = &status.Condition{
			Analyzer: name, Reason: reason, Count: 1, Since: counts.Oldest, Do: fmt.Sprintf(do[reason], counts.Waiting),
		}
	}
	list := make([]status.Condition, 0, len(found))
	for c := range maps.Values(found) {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b status.Condition) int {
		return cmp.Or(cmp.Compare(a.Analyzer, b.Analyzer), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// numbers is the queue in numbers, for the board.
func (p *plant) numbers() status.Queue {
	s := p.queue.Stats()
	return status.Queue{
		Waiting: s.Waiting, Held: s.Held, Parked: s.Parked, Incomplete: s.Incomplete, Delivered: s.Delivered,
		OldestWaiting: s.Oldest, Bytes: s.Bytes, MaxBytes: int64(p.cfg.Queue.MaxSize),
	}
}
