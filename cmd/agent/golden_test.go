package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labagent/config"
	"labagent/filing"
	"labagent/lab"
	"labagent/queue"
	"labagent/talk"
)

var update = flag.Bool("update", false, "rewrite the expected bundles beside the conversations")

// TestBundles holds what becomes in FHIR of the whole messages of each conversation, and of each list of records, against the
// case.bundle.json beside it. A case has none when nothing is created of it, or when it is one more way to send the
// message of plain.talk, whose bundle it must then give.
func TestBundles(t *testing.T) {
	for _, protocol := range []string{"astm", "hl7"} {
		cfg := config.Default()
		cfg.Deliver.Tag, cfg.Deliver.Unmapped = "urn:labagent|golden", "deliver"
		a := newAnalyzer(&cfg, &config.Analyzer{
			Name: protocol + "-1", Protocol: protocol, Timezone: "Europe/Zurich", Codes: []config.Code{
				{Code: "WBC", LOINC: "6690-2"}, {Code: "HGB", LOINC: "718-7", Unit: "g/dL"}, {Code: "GLU", LOINC: "15074-8"},
			},
		}, func(key string, err error) { t.Fatalf("%s: %v", key, err) })
		paths, err := filepath.Glob(filepath.Join("..", "..", "testdata", protocol, "*.talk"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("no conversations of %s: %v", protocol, err)
		}
		records, err := filepath.Glob(filepath.Join("..", "..", "testdata", protocol, "*."+protocol))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range append(paths, records...) {
			t.Run(protocol+"/"+filepath.Base(path), func(t *testing.T) {
				golden(t, strings.TrimSuffix(path, filepath.Ext(path))+".bundle.json", bundle(t, a, messages(t, path)))
			})
		}
	}
}

// messages are those of a conversation, or the one whose records stand in a file.
func messages(t *testing.T, path string) [][]byte {
	t.Helper()
	if filepath.Ext(path) != ".talk" {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return headed(text, "H")
	}
	steps, err := talk.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return whole(verdicts(steps))
}

// whole lists the whole messages of all pieces that were safe.
func whole(pieces []judged) (messages [][]byte) {
	var text []byte
	for _, p := range pieces {
		if p.verdict != "ok" || p.Mark == lab.Open {
			continue
		}
		text = append(text, p.Text...)
		if p.Mark == lab.Whole {
			messages = append(messages, text)
		}
		if p.Mark != lab.More {
			text = nil
		}
	}
	return messages
}

// bundle is what would be created of the messages, as one bundle; nil when that is nothing. What cannot be read creates
// nothing.
func bundle(t *testing.T, a *analyzer, messages [][]byte) []byte {
	t.Helper()
	type request struct {
		Method      string `json:"method"`
		URL         string `json:"url"`
		IfNoneExist string `json:"ifNoneExist"`
	}
	type entry struct {
		Request  request         `json:"request"`
		Resource json.RawMessage `json:"resource"`
	}
	var entries []entry
	for _, text := range messages {
		received := time.Date(2026, 3, 1, 8, 5, 0, 0, time.UTC)
		rep, err := a.read(&queue.Item{Text: text, Received: received})
		if err != nil {
			continue
		}
		for _, r := range a.created(a.rules.File(rep, filing.Item{Received: received})) {
			entries = append(entries, entry{request{"POST", r.Type, r.IfNoneExist}, r.Body})
		}
	}
	if len(entries) == 0 {
		return nil
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(map[string]any{"resourceType": "Bundle", "type": "batch", "entry": entries}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// golden compares with a file; without one, with nothing and with the bundle of plain.talk.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	plain, err := os.ReadFile(filepath.Join(filepath.Dir(path), "plain.bundle.json"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	usual := got == nil || bytes.Equal(got, plain) && filepath.Base(path) != "plain.bundle.json"
	if *update {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if !usual {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	want, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && usual:
	case err != nil && !errors.Is(err, os.ErrNotExist):
		t.Fatal(err)
	case !bytes.Equal(got, want):
		t.Errorf("not as in %s; run with -update and read the difference:\n%s", path, got)
	}
}
