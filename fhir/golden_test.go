package fhir

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestGolden(t *testing.T) {
	for _, c := range samples {
		t.Run(c.name, func(t *testing.T) {
			var got bytes.Buffer
			for _, r := range render(c) {
				got.WriteString("// " + r.Type + "?" + r.IfNoneExist + "\n")
				if err := json.Indent(&got, r.Body, "", "  "); err != nil {
					t.Fatal(err)
				}
				got.WriteString("\n\n")
			}
			path := filepath.Join("testdata", c.name+".golden")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("not as in %s; run with -update and read the difference", path)
			}
		})
	}
}
