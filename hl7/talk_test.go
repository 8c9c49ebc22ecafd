package hl7

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"labagent/talktest"
)

// Every conversation, cut into pieces of every size: the same messages, the same answers.
func TestTalks(t *testing.T) {
	files, err := filepath.Glob("../testdata/hl7/*.talk")
	if err != nil || len(files) == 0 {
		t.Fatalf("no .talk files: %v", err)
	}
	for _, file := range files {
		steps, err := talktest.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, chunk := range []int{1, 2, 7, 64, 0} {
			name := fmt.Sprintf("%s/%d", strings.TrimSuffix(filepath.Base(file), ".talk"), chunk)
			t.Run(name, func(t *testing.T) { talktest.Play(t, NewMLLP(Options{}), steps, chunk) })
		}
	}
}
