package auth

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestSeal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := Unseal(dir); !errors.Is(err, ErrNotSealed) {
		t.Errorf("before: %v", err)
	}
	for _, secret := range []string{testSecret, "another, longer one: \u00e4\u20ac", testSecret} {
		if err := Seal(dir, secret); err != nil {
			t.Fatal(err)
		}
		if got, err := Unseal(dir); got != secret || err != nil {
			t.Fatalf("got %q %v, want %q", got, err, secret)
		}
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 {
		t.Errorf("%d files, want the sealed secret and its key", len(entries))
	}
	for _, entry := range entries {
		data, _ := os.ReadFile(filepath.Join(dir, entry.Name()))
		if bytes.Contains(data, []byte(testSecret)) {
			t.Errorf("%s shows the secret", entry.Name())
		}
		if info, _ := entry.Info(); runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600", entry.Name(), info.Mode().Perm())
		}
	}
}

// No change of any byte goes unseen, nor does another key.
func TestSealedIsDamaged(t *testing.T) {
	dir := t.TempDir()
	if err := Seal(dir, testSecret); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{sealedFile, keyFile} {
		path := filepath.Join(dir, name)
		whole, _ := os.ReadFile(path)
		for i := range whole {
			if name == sealedFile && i == len(whole)-1 {
				continue // the end of the line
			}
			bad := bytes.Clone(whole)
			bad[i] ^= 1
			os.WriteFile(path, bad, 0o600)
			if got, err := Unseal(dir); err == nil || got != "" {
				t.Fatalf("%s with byte %d changed gives %q", name, i, got)
			}
		}
		os.WriteFile(path, whole[:len(whole)/2], 0o600)
		if _, err := Unseal(dir); err == nil || strings.Contains(err.Error(), testSecret) {
			t.Errorf("half of %s: %v", name, err)
		}
		os.WriteFile(path, whole, 0o600)
	}
	os.Remove(filepath.Join(dir, keyFile))
	if _, err := Unseal(dir); err == nil || errors.Is(err, ErrNotSealed) {
		t.Errorf("without its key: %v", err)
	}
	if err := Seal(dir, "new"); err != nil {
		t.Fatal(err)
	}
	if got, err := Unseal(dir); got != "new" || err != nil {
		t.Errorf("sealed again: %q %v", got, err)
	}
}

func TestSecretPlaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(file, []byte("of a file\r\n"), 0o600)
	credentials, none, sealed := t.TempDir(), t.TempDir(), t.TempDir()
	os.WriteFile(filepath.Join(credentials, "client-secret"), []byte("of systemd\n"), 0o600)
	if err := Seal(sealed, "sealed"); err != nil {
		t.Fatal(err)
	}
	value := func() string { return "given" }
	for _, test := range []struct {
		name         string
		places       SecretPlaces
		secret, from string
		wantErr      string
	}{
		{"given", SecretPlaces{Value: value, Credentials: credentials, Dir: sealed}, "given", FromConfig, ""},
		{"file", SecretPlaces{File: file, Credentials: credentials, Dir: sealed}, "of a file", FromFile, ""},
		{"systemd", SecretPlaces{Credentials: credentials, Dir: sealed}, "of systemd", FromSystemd, ""},
		{"systemd gives others", SecretPlaces{Credentials: none, Dir: sealed}, "sealed", FromSealed, ""},
		{"sealed", SecretPlaces{Dir: sealed}, "sealed", FromSealed, ""},
		{"none", SecretPlaces{Dir: none}, "", FromSealed, "set-secret"},
		{"no file", SecretPlaces{File: file + "x", Dir: sealed}, "", FromFile, "no such file"},
		{"empty", SecretPlaces{Value: func() string { return "" }}, "", FromConfig, "empty"},
	} {
		secret, from, err := test.places.Read()
		if secret != test.secret || from != test.from || (err == nil) != (test.wantErr == "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
			t.Errorf("%s: got %q from %s, %v", test.name, secret, from, err)
		}
	}
}

// A sealed secret that is replaced counts at the next token, without a restart.
func TestSealedSecretIsRenewed(t *testing.T) {
	dir := t.TempDir()
	Seal(dir, "first")
	p := &place{}
	h := client(t, p, func(c *Config) {
		c.Secret = func() (string, error) {
			secret, _, err := SecretPlaces{Dir: dir}.Read()
			return secret, err
		}
	})
	post(h, "x")
	Seal(dir, "second")
	h.Transport.(*transport).access.(*tokens).current = header{}
	post(h, "x")
	if !strings.Contains(p.carried[0], "client_secret=first") || !strings.Contains(p.carried[2], "client_secret=second") {
		t.Errorf("sent %d requests: %.200q", len(p.carried), p.carried)
	}
}
