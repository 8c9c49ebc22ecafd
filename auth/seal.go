package auth

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The sealed secret and the key it is sealed under, in the data directory, both readable by the service alone. The key
// stands in a file of its own so that neither a copy of the configuration nor one of the sealed file gives the secret away;
// it is no defence against somebody who reads the whole directory.
const (
	sealedFile = "client-secret.sealed"
	keyFile    = "client-secret.key"
)

// sealedHead is the first line of a sealed secret, and bound to it (AES-256-GCM's additional data).
const sealedHead = "labagent sealed secret 1\n"

// ErrNotSealed tells that no secret was sealed in a directory.
var ErrNotSealed = errors.New("no sealed secret")

// Seal keeps a client secret in dir, sealed with AES-256-GCM under a key that is made when there is none. What was sealed
// before is replaced whole or not at all.
func Seal(dir, secret string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("seal secret: %w", err)
	}
	key, err := os.ReadFile(filepath.Join(dir, keyFile))
	if errors.Is(err, os.ErrNotExist) || err == nil && len(key) != 32 {
		key = make([]byte, 32)
		rand.Read(key) // never fails
		err = replace(filepath.Join(dir, keyFile), key)
	}
	if err != nil {
		return fmt.Errorf("seal secret: %w", err)
	}
	box, err := sealer(key)
	if err != nil {
		return fmt.Errorf("seal secret: %w", err)
	}
	text := base64.StdEncoding.EncodeToString(box.Seal(nil, nil, []byte(secret), []byte(sealedHead)))
	if err := replace(filepath.Join(dir, sealedFile), []byte(sealedHead+text+"\n")); err != nil {
		return fmt.Errorf("seal secret: %w", err)
	}
	return nil
}

// Unseal is the secret that was sealed in dir, or ErrNotSealed.
func Unseal(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, sealedFile))
	if errors.Is(err, os.ErrNotExist) {
		return "", ErrNotSealed
	}
	if err != nil {
		return "", fmt.Errorf("open sealed secret: %w", err)
	}
	key, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		return "", fmt.Errorf("open sealed secret: %w", err)
	}
	damaged := fmt.Errorf("open sealed secret: %s and %s do not fit together; seal it again with labagent auth set-secret", sealedFile, keyFile)
	text, ok := bytes.CutPrefix(data, []byte(sealedHead))
	if !ok {
		return "", damaged
	}
	sealed, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil {
		return "", damaged
	}
	box, err := sealer(key)
	if err != nil {
		return "", damaged
	}
	secret, err := box.Open(nil, nil, sealed, []byte(sealedHead))
	if err != nil {
		return "", damaged
	}
	return string(secret), nil
}

// sealer is AES-256-GCM with a random nonce in front of what it seals.
func sealer(key []byte) (cipher.AEAD, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("a key of %d bytes, 32 are wanted", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// replace writes a file that nobody else may read, whole or not at all, synced, and owned like its directory: set by root,
// it must be readable for the service.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing by that name
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = ownLike(f.Name(), filepath.Dir(path))
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
