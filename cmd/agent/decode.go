package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"labagent/astm"
	"labagent/charset"
	"labagent/config"
	"labagent/fhir"
	"labagent/filing"
	"labagent/hl7"
	"labagent/lab"
	"labagent/queue"
)

func decodeCommand(o *options) *cobra.Command {
	var protocol, name string
	var asFHIR bool
	cmd := &cobra.Command{
		Use:   "decode FILE",
		Short: "Read a capture and show its messages, records and, with --fhir, what would be sent",
		Long: "Read a capture (framed as on the wire, or records only) and show its messages, records and what is taken from them.\n" +
			"With --config and --analyzer it is read as that analyzer's, else by the standard in UTC with unmapped codes delivered.\n" +
			"What it prints holds patient data.",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := o.decoder(protocol, name)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			messages := messagesOf(a, data)
			if len(messages) == 0 {
				return &exit{exitNothing, fmt.Errorf("no %s message in %s", a.protocol, args[0])}
			}
			d := decoding{analyzer: a, w: cmd.OutOrStdout(), json: o.json, fhir: asFHIR}
			for i, text := range messages {
				if err := d.message(i+1, text); err != nil {
					return err
				}
			}
			return d.failed
		},
	}
	cmd.Flags().StringVar(&protocol, "protocol", "", "astm or hl7; needed without --analyzer")
	cmd.Flags().StringVar(&name, "analyzer", "", "read it as this analyzer of the configuration does")
	cmd.Flags().BoolVar(&asFHIR, "fhir", false, "show the resources that would be created")
	return cmd
}

// decoder is the analyzer of the config, or one that keeps to the standard.
func (o *options) decoder(protocol, name string) (*analyzer, error) {
	if name != "" {
		cfg, err := o.load()
		if err != nil {
			return nil, err
		}
		all, _ := analyzers(cfg)
		if all[name] == nil {
			return nil, &exit{exitUsage, fmt.Errorf("no analyzer %q in %s", name, o.config)}
		}
		return all[name], nil
	}
	if protocol != "astm" && protocol != "hl7" {
		return nil, &exit{exitUsage, errors.New("give --protocol astm or hl7, or --analyzer")}
	}
	cfg := config.Default()
	cfg.Deliver.Tag, cfg.Deliver.Unmapped = "urn:labagent|decode", "deliver"
	c := config.Analyzer{Name: "decode", Protocol: protocol, Timezone: "UTC"}
	return newAnalyzer(&cfg, &c, func(string, error) {}), nil
}

// messagesOf cuts a capture into messages: through the receiver where it is framed, at the headers where it is not.
func messagesOf(a *analyzer, data []byte) [][]byte {
	start, header := byte(astm.STX), "H"
	if a.protocol == "hl7" {
		start, header = hl7.VT, "MSH"
	}
	if bytes.IndexByte(data, start) < 0 {
		return headed(data, header)
	}
	var messages [][]byte
	var open []byte
	talk := a.newTalk()
	now := time.Now()
	take := func() {
		for text, mark, ok := talk.Take(); ok; text, mark, ok = talk.Take() {
			open = append(open, text...)
			if m := lab.Mark(mark); (m == lab.Whole || m == lab.Broken) && len(open) > 0 {
				messages, open = append(messages, open), nil
			}
		}
		talk.Verdict(now, true)
		talk.Output()
	}
	for _, b := range data {
		talk.Feed(now, []byte{b})
		take()
	}
	talk.Feed(now.Add(time.Hour), nil) // nothing more comes: what is open is torn off
	take()
	return messages
}

// headed cuts lines into messages, each beginning with the header.
func headed(data []byte, header string) [][]byte {
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\r"))
	data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r"))
	var messages [][]byte
	for _, line := range bytes.SplitAfter(data, []byte("\r")) {
		switch {
		case bytes.HasPrefix(line, []byte(header)):
			messages = append(messages, bytes.Clone(line))
		case len(messages) > 0:
			last := len(messages) - 1
			messages[last] = append(messages[last], line...)
		}
	}
	return messages
}

// decoding shows messages.
type decoding struct {
	*analyzer
	w      io.Writer
	json   bool
	fhir   bool
	failed error
}

// record is one record or segment with what was taken from it.
type record struct {
	Schema  string            `json:"schema"` // "labagent.record/1"
	Message int               `json:"message"`
	Type    string            `json:"type"`
	Fields  map[string]string `json:"fields"`
	Taken   *taken            `json:"taken,omitempty"`
}

// taken is what was understood of a result line.
type taken struct {
	Specimen string   `json:"specimen,omitempty"`
	Test     string   `json:"test"`
	Aspect   string   `json:"aspect,omitempty"`
	Value    string   `json:"value,omitempty"`
	Unit     string   `json:"unit,omitempty"`
	Range    string   `json:"range,omitempty"`
	Flags    []string `json:"flags,omitempty"`
	Status   string   `json:"status,omitempty"`
	Time     string   `json:"time,omitempty"`
	Absent   string   `json:"absent,omitempty"`
	LOINC    string   `json:"loinc,omitempty"`
	Held     string   `json:"held,omitempty"`
	QC       string   `json:"qc,omitempty"`
}

func (d *decoding) message(n int, text []byte) error {
	item := &queue.Item{Text: text, Received: time.Now()}
	rep, err := d.read(item)
	if err != nil {
		d.failed = &exit{exitOther, fmt.Errorf("message %d: %w", n, err)}
		if !d.json {
			fmt.Fprintf(d.w, "message %d cannot be read: %v\n", n, err)
		}
		return nil
	}
	parts := d.rules.File(rep, filing.Item{Received: item.Received})
	if !d.json {
		fmt.Fprintf(d.w, "message %d: %s from %q, %d parts\n", n, rep.Type, rep.Sender, len(parts))
	}
	lines, err := d.records(text, results(rep, parts))
	if err != nil {
		return err
	}
	for _, r := range lines {
		r.Schema, r.Message = "labagent.record/1", n
		if err := d.show(r); err != nil {
			return err
		}
	}
	if d.fhir {
		return d.resources(parts)
	}
	return nil
}

// reading is a result with the raw bytes that tell which line it came from.
type reading struct {
	slot [][]byte
	taken
}

// results lists what was taken, in the order of the message.
func results(rep lab.Report, parts []filing.Part) []reading {
	var list []reading
	for i, p := range rep.Parts {
		decided := map[int]filing.Result{}
		for _, r := range parts[i].Results {
			decided[r.Index] = r
		}
		for j, r := range p.Results {
			at := r.Analyzed
			if at.At.IsZero() {
				at = r.Observed
			}
			t := taken{
				Specimen: p.Specimen, Test: r.Test.Code, Aspect: r.Aspect, Value: r.Value.Raw, Unit: r.Unit, Range: r.Range, Flags: r.Flags,
				Status: r.Status, Time: at.Raw, Absent: r.Value.Absent, QC: p.QC, LOINC: decided[j].LOINC, Held: decided[j].Hold,
			}
			if parts[i].Hold != "" {
				t.Held = parts[i].Hold
			}
			list = append(list, reading{r.Slot, t})
		}
	}
	return list
}

// records lists the records or segments of a message, each result line with what was taken from it.
func (d *decoding) records(text []byte, results []reading) ([]record, error) {
	var lines []record
	add := func(kind string, count int, field func(int) string, isResult func(reading) bool) {
		r := record{Type: kind, Fields: map[string]string{}}
		for n := 1; n <= count; n++ {
			if text := field(n); text != "" {
				r.Fields[fmt.Sprint(n)] = text
			}
		}
		if len(results) > 0 && isResult(results[0]) {
			r.Taken = &results[0].taken
			results = results[1:]
		}
		lines = append(lines, r)
	}
	if d.protocol == "hl7" {
		m, err := hl7.ParseAs(text, d.encoding())
		if err != nil {
			return nil, err
		}
		for _, s := range m.Segments {
			field := func(n int) string { t, _ := m.Text(s.Field(n)); return t }
			// A line that only says the one before again, or speaks about it, has no result of its own.
			add(s.Name(), s.Fields(), field, func(f reading) bool {
				return s.Is("OBX") && bytes.Equal(f.slot[6], s.Field(3)) && bytes.Equal(f.slot[7], s.Field(4))
			})
		}
		return lines, nil
	}
	m, err := astm.Parse(text)
	if err != nil {
		return nil, err
	}
	for _, r := range m.Records {
		if r.Type() == 0 {
			continue
		}
		field := func(n int) string { return d.text(r.Field(n)) }
		add(string(r.Type()), r.Fields(), field, func(reading) bool { return r.Type() == 'R' })
	}
	return lines, nil
}

func (d *decoding) show(r record) error {
	if d.json {
		return printJSON(d.w, r)
	}
	var fields []string
	for n := 2; n < 100; n++ {
		if text := r.Fields[fmt.Sprint(n)]; text != "" {
			fields = append(fields, fmt.Sprintf("%d=%s", n, text))
		}
	}
	fmt.Fprintf(d.w, "  %-3s %s\n", r.Type, strings.Join(fields, "  "))
	if t := r.Taken; t != nil {
		text, err := json.Marshal(t)
		if err != nil {
			return err
		}
		fmt.Fprintf(d.w, "      -> %s\n", text)
	}
	return nil
}

// resources shows what the uploader would create.
func (d *decoding) resources(parts []filing.Part) error {
	for _, r := range d.created(parts) {
		if err := d.resource(r); err != nil {
			return err
		}
	}
	return nil
}

// created is what the uploader would create. The sheet's references are the versions, since there are no ids yet.
func (a *analyzer) created(parts []filing.Part) (list []fhir.Resource) {
	for _, p := range parts {
		if p.Hold != "" {
			continue
		}
		ids := map[string]string{}
		for _, r := range p.Results {
			if r.Hold == "" {
				ids[r.Version] = r.Version
				list = append(list, fhir.Observation(p, r, a.setting))
			}
		}
		if len(ids) > 0 && !a.setting.NoSheet {
			list = append(list, fhir.Sheet(p, ids, p.Held(), a.setting))
		}
	}
	return list
}

func (d *decoding) resource(r fhir.Resource) error {
	if d.json {
		return printJSON(d.w, map[string]any{"schema": "labagent.create/1", "type": r.Type, "ifNoneExist": r.IfNoneExist, "resource": r.Body})
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, r.Body, "  ", "  "); err != nil {
		return err
	}
	fmt.Fprintf(d.w, "  create %s if none exists with %s\n  %s\n", r.Type, r.IfNoneExist, pretty.Bytes())
	return nil
}

// text is a field for people.
func (d *decoding) text(raw []byte) string {
	text, _ := charset.Decode(cmp.Or(d.encoding(), "latin-1"), raw)
	return string(text)
}

// encoding is the configured character set; empty: as the message declares.
func (d *decoding) encoding() string {
	if d.setup.Encoding == "from-message" {
		return ""
	}
	return d.setup.Encoding
}
