//go:build !windows

package driver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const denied = "add the account of labagent to the group of the port, mostly dialout"

// lockPort takes the port for us alone. The library's TIOCEXCL does not hold against root, and root's close lifts it for
// all; flock(2) on the device holds between all who ask, by whatever link they came.
func lockPort(path string) (io.Closer, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = &Error{PortBusy, path, fmt.Errorf("held by %s", holder(fd)), nextStep(PortBusy)}
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return lock(fd), nil
}

// lock is the descriptor that holds a lock. It is no os.File, which would have the runtime wake up for each byte.
type lock int

func (l lock) Close() error { return unix.Close(int(l)) }

// holder names who holds the lock of a file, as far as the system tells.
func holder(fd int) string {
	var at unix.Stat_t
	locks, err := os.ReadFile("/proc/locks")
	if err != nil || unix.Fstat(fd, &at) != nil {
		return "another process"
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(uint64(at.Dev)), unix.Minor(uint64(at.Dev)), at.Ino)
	for line := range bytes.Lines(locks) {
		// 1: FLOCK  ADVISORY  WRITE 1234 00:06:99 0 EOF
		words := strings.Fields(string(line))
		if len(words) < 6 || words[1] != "FLOCK" || words[5] != file {
			continue
		}
		if words[4] == strconv.Itoa(os.Getpid()) {
			return "another analyzer of this labagent"
		}
		return "process " + words[4]
	}
	return "another process"
}

// Ports lists the serial ports of this computer without opening any: opening one would change its settings under whoever
// uses it.
func Ports() ([]PortInfo, error) { return listPorts("/sys/class/tty", "/dev") }

func listPorts(sys, dev string) ([]PortInfo, error) {
	entries, err := os.ReadDir(sys)
	if err != nil {
		return nil, fmt.Errorf("list serial ports: %w", err)
	}
	links := linksOf(filepath.Join(dev, "serial/by-id"))
	var found []PortInfo
	for _, e := range entries {
		dir := filepath.Join(sys, e.Name())
		device, err := filepath.EvalSymlinks(filepath.Join(dir, "device"))
		if err != nil {
			continue // a console or pseudo terminal
		}
		if kind, err := os.ReadFile(filepath.Join(dir, "type")); err == nil && strings.TrimSpace(string(kind)) == "0" {
			continue // a place for a port that is not there
		}
		found = append(found, PortInfo{Path: filepath.Join(dev, e.Name()), Link: links[e.Name()], USB: usb(device)})
	}
	slices.SortFunc(found, func(a, b PortInfo) int { return strings.Compare(a.Path, b.Path) })
	return found, nil
}

// linksOf reads which stable name stands for which port.
func linksOf(dir string) map[string]string {
	links := map[string]string{}
	entries, _ := os.ReadDir(dir) // not there without a USB port
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if target, err := os.Readlink(path); err == nil {
			links[filepath.Base(target)] = path
		}
	}
	return links
}

// usb looks for the USB device a port belongs to; it stands at most a few folders above.
func usb(device string) string {
	for dir := device; len(dir) > 1; dir = filepath.Dir(dir) {
		vendor, product := word(dir, "idVendor"), word(dir, "idProduct")
		if vendor == "" || product == "" {
			continue
		}
		if number := word(dir, "serial"); number != "" {
			return vendor + ":" + product + ":" + number
		}
		return vendor + ":" + product
	}
	return ""
}

func word(dir, name string) string {
	text, _ := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(text))
}
