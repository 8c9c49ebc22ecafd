//go:build linux

package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is typed into a terminal is read and not echoed, and the terminal is as before.
func TestSecretIsNotEchoed(t *testing.T) {
	path, analyzer, err := virtualSerial()
	if err != nil {
		t.Fatal(err)
	}
	keyboard := analyzer.(*cable)
	defer keyboard.Close()
	terminal, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	state.Lflag |= unix.ECHO | unix.ICANON
	state.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(int(terminal.Fd()), unix.TCSETS, state); err != nil {
		t.Fatal(err)
	}
	if !isTerminal(terminal) {
		t.Fatal("a virtual terminal is none")
	}
	restore, err := hush(terminal)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyboard.Write([]byte("hush hush\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := firstLine(terminal); got != "hush hush" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	restore()
	after, _ := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if after.Lflag != state.Lflag {
		t.Errorf("the terminal is left with flags %x, was %x", after.Lflag, state.Lflag)
	}
	if _, err := keyboard.Write([]byte("seen\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := firstLine(terminal); err != nil {
		t.Fatal(err)
	}
	shown := make([]byte, 100)
	_ = keyboard.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _ := keyboard.Read(shown)
	if text := string(shown[:n]); strings.Contains(text, "hush") || !strings.Contains(text, "seen") {
		t.Errorf("the terminal showed %q", text)
	}
}
