package auth

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SecretPlaces are where the client secret may stand. The first that is set counts.
type SecretPlaces struct {
	Value func() string // from the configuration or the environment; nil: none
	File  string        // holds nothing but the secret
	// Credentials is the directory systemd gives a service ($CREDENTIALS_DIRECTORY); the secret is its file client-secret.
	Credentials string
	Dir         string // the data directory, where Seal may have left one
}

// Where a secret was found.
const (
	FromConfig  = "configuration or environment"
	FromFile    = "auth.client_secret_file"
	FromSystemd = "systemd credential client-secret"
	FromSealed  = "sealed by labagent auth set-secret"
)

// Read finds the secret and tells where. It is asked at every use, so that a renewed secret counts without a restart.
func (p SecretPlaces) Read() (secret, from string, err error) {
	switch {
	case p.Value != nil:
		secret, from = p.Value(), FromConfig
	case p.File != "":
		from = FromFile
		secret, err = line(p.File)
	default:
		if p.Credentials != "" {
			if secret, err = line(filepath.Join(p.Credentials, "client-secret")); err == nil || !errors.Is(err, os.ErrNotExist) {
				from = FromSystemd
				break
			}
		}
		from = FromSealed
		if secret, err = Unseal(p.Dir); errors.Is(err, ErrNotSealed) {
			err = errors.New("there is none: give auth.client_secret_file, or seal it with labagent auth set-secret")
		}
	}
	switch {
	case err != nil:
		return "", from, err
	case secret == "":
		return "", from, fmt.Errorf("%s: it is empty", from)
	}
	return secret, from, nil
}

// line is a file's text without the end of its line.
func line(path string) (string, error) {
	data, err := os.ReadFile(path)
	return strings.TrimRight(string(data), "\r\n"), err
}
