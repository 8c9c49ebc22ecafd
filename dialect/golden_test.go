package dialect

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"labagent/lab"
)

var update = flag.Bool("update", false, "rewrite the expected reports beside the fixtures")

var kinds = map[lab.Kind]string{
	lab.Number: "Number", lab.Text: "Text", lab.Coded: "Coded", lab.Interval: "Interval", lab.Ratio: "Ratio", lab.Moment: "Moment",
	lab.TimeOfDay: "TimeOfDay", lab.Period: "Period", lab.Bulk: "Bulk",
}

// readable writes a report as JSON for people: what is empty is left out, raw fields are text, kinds have their names.
func readable(t testing.TB, report lab.Report) string {
	t.Helper()
	data, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return string(compact(v))
}

func compact(v any) []byte {
	out, _ := json.MarshalIndent(thin("", v), "", "  ")
	out = []byte(strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(out)))
	return append(out, '\n')
}

func thin(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, member := range v {
			member = thin(k, member)
			if v[k] = member; member == nil {
				delete(v, k)
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		if len(v) == 0 {
			return nil
		}
		for i := range v {
			if key == "Slot" || key == "Version" {
				text, _ := v[i].(string)
				raw, _ := base64.StdEncoding.DecodeString(text)
				v[i] = string(raw)
				continue
			}
			v[i] = thin("", v[i])
		}
	case string:
		if v == "" || v == "0001-01-01T00:00:00Z" {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
		if key == "Kind" {
			return kinds[lab.Kind(v)]
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}

// TestReports reads each fixture of testdata and compares with the report beside it. A fixture holds one record or segment
// a line.
func TestReports(t *testing.T) {
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	for name, dialect := range Dialects {
		fixtures, _ := filepath.Glob(filepath.Join("testdata", name, "*."+name))
		if len(fixtures) == 0 {
			t.Errorf("no fixtures for %s", name)
		}
		for _, path := range fixtures {
			t.Run(filepath.Base(path), func(t *testing.T) {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				report, err := dialect.Report(text, Setup{Zone: zurich}, received)
				if err != nil {
					t.Fatal(err)
				}
				expected := strings.TrimSuffix(path, name) + "json"
				got := readable(t, report)
				if *update {
					if err := os.WriteFile(expected, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(expected)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("the report differs from %s (go test -update rewrites it):\n%s", expected, got)
				}
			})
		}
	}
}
