package fhir

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// validate runs Medplum's own validator over resources.
func validate(t *testing.T, resources []Resource) {
	t.Helper()
	dir := validator(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var bodies []json.RawMessage
	for _, r := range resources {
		bodies = append(bodies, r.Body)
	}
	input, err := json.Marshal(bodies)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "node", "validate.mjs")
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(input)
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("node validate.mjs: %v", err)
	}
	var verdicts []*string
	if err := json.Unmarshal(output, &verdicts); err != nil || len(verdicts) != len(resources) {
		t.Fatalf("the validator answered %d verdicts for %d resources: %v", len(verdicts), len(resources), err)
	}
	refused := 0
	for i, verdict := range verdicts {
		if verdict == nil {
			continue
		}
		if refused++; refused <= 5 {
			t.Errorf("%s\n%s", *verdict, resources[i].Body)
		}
	}
	if refused > 5 {
		t.Errorf("%d refused in all", refused)
	}
}

// validator is the folder from which the validator runs: beside this test where its packages are installed, else a copy in
// the user's cache, installed there once.
func validator(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("Medplum's validator needs Node.js, which is not installed")
	}
	if _, err := os.Stat("validate/node_modules/@medplum/core"); err == nil {
		return "validate"
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("Medplum's validator is not installed in fhir/validate, and there is no cache to install it in: %v", err)
	}
	files := []string{"package.json", "package-lock.json", "validate.mjs"}
	sum := sha256.New()
	texts := map[string][]byte{}
	for _, name := range files {
		if texts[name], err = os.ReadFile(filepath.Join("validate", name)); err != nil {
			t.Fatal(err)
		}
		sum.Write(texts[name])
	}
	dir := filepath.Join(cache, "labagent", fmt.Sprintf("fhir-validate-%x", sum.Sum(nil)[:8]))
	if _, err := os.Stat(filepath.Join(dir, "installed")); err == nil {
		return dir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Skipf("Medplum's validator is not installed in fhir/validate, and the cache cannot be written: %v", err)
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund", "--loglevel=error")
	install.Dir = dir
	if output, err := install.CombinedOutput(); err != nil {
		t.Skipf("Medplum's validator could not be installed (npm ci: %v): %s", err, bytes.TrimSpace(output[max(0, len(output)-300):]))
	}
	if err := os.WriteFile(filepath.Join(dir, "installed"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Medplum's validator finds nothing wrong in any golden resource and in any random one.
func TestMedplumValidates(t *testing.T) {
	var all []Resource
	for _, c := range samples {
		all = append(all, render(c)...)
	}
	for seed := range uint64(500) {
		all = append(all, render(randomSample(seed))...)
	}
	validate(t, all)
}

// The validator does refuse what is wrong; a validator that takes anything proves nothing.
func TestMedplumRefuses(t *testing.T) {
	dir := validator(t)
	cmd := exec.CommandContext(t.Context(), "node", "validate.mjs")
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader([]byte(`[{"resourceType":"Observation","status":"final"},{"resourceType":"Observation","status":"final","code":{"text":"x"},"colour":"red"}]`))
	output, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var verdicts []*string
	if err := json.Unmarshal(output, &verdicts); err != nil || len(verdicts) != 2 || slices.Contains(verdicts, nil) {
		t.Errorf("got %s", output)
	}
}
