package dialect

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"labagent/lab"
	"labagent/talktest"
)

var received = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// captured walks the real traffic of one protocol.
func captured(t *testing.T, protocol string, visit func(t *testing.T, text []byte)) {
	root := filepath.Join(talktest.Shared(t), "captures", protocol)
	seen := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		if err != nil || entry.IsDir() || name == "index.tsv" || name == "LICENSE" || strings.HasSuffix(name, ".csv") || strings.HasSuffix(name, ".json") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		short, _ := filepath.Rel(root, path)
		t.Run(short, func(t *testing.T) { visit(t, unframed(data)) })
		return nil
	})
	if err != nil || seen < 30 {
		t.Fatalf("walked %d captures: %v", seen, err)
	}
}

var (
	frame   = regexp.MustCompile(`(?s)\x02[0-7](.*?)[\x03\x17]`)
	comment = regexp.MustCompile(`(?m)^#.*$`)
)

// unframed takes the text out of serial reads kept as lists of numbers, of ASTM frames and of MLLP blocks.
func unframed(data []byte) []byte {
	var reads [][]int
	if json.Unmarshal(data, &reads) == nil {
		data = nil
		for _, read := range reads {
			for _, b := range read {
				data = append(data, byte(b))
			}
		}
	}
	if bytes.HasPrefix(data, []byte("^E^B")) { // written by a terminal
		data = []byte(strings.NewReplacer("^B", "\x02", "^C", "\x03").Replace(string(data)))
	}
	if bytes.IndexByte(data, 0x02) >= 0 {
		var text []byte
		for _, m := range frame.FindAllSubmatch(data, -1) {
			text = append(text, m[1]...)
		}
		return text
	}
	return bytes.TrimLeft(comment.ReplaceAll(bytes.Trim(data, "\x0b\x1c\r\n"), nil), "\r\n")
}

// lines are the records or segments of a text called name, cut into fields, by the simplest reading there is.
func lines(text []byte, name string) [][]string {
	var found [][]string
	for _, line := range strings.FieldsFunc(string(text), func(r rune) bool { return r == '\r' || r == '\n' }) {
		if strings.HasPrefix(line, name+"|") {
			found = append(found, strings.Split(line, "|"))
		}
	}
	return found
}

func results(r lab.Report) int {
	n := 0
	for _, p := range r.Parts {
		n += len(p.Results)
	}
	return n
}

func TestEveryASTMCapture(t *testing.T) {
	captured(t, "astm", func(t *testing.T, text []byte) {
		report, err := Dialects["astm"].Report(text, Setup{}, received)
		if err != nil {
			t.Fatal(err)
		}
		if want := len(lines(text, "R")); results(report) != want {
			t.Errorf("%d results, the text has %d R", results(report), want)
		}
		checkAll(t, "astm", report)
		if want := len(lines(text, "Q")); len(report.Queries) != want {
			t.Errorf("%d queries, the text has %d Q", len(report.Queries), want)
		}
	})
}

func TestEveryHL7Capture(t *testing.T) {
	captured(t, "hl7", func(t *testing.T, text []byte) {
		report, err := Dialects["hl7"].Report(text, Setup{}, received)
		if err != nil {
			t.Fatal(err)
		}
		checkAll(t, "hl7", report)
		want := 0
		for _, obx := range lines(text, "OBX") {
			supplemental := strings.Contains(obx[3], "^S_OTHER^")
			twin := obx[2] == "CE" && obx[5] == "^^99ROC"
			if !supplemental && !twin {
				want++
			}
		}
		if results(report) != want {
			t.Errorf("%d results, the text has %d OBX that stand for one", results(report), want)
		}
	})
}

func checkAll(t *testing.T, protocol string, report lab.Report) {
	t.Helper()
	for _, p := range report.Parts {
		for _, r := range p.Results {
			check(t, protocol, r)
		}
	}
}
