package driver

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

const denied = "see which program holds the port, and that the service account may use it"

// lockPort has nothing to do: Windows opens a serial port for one process only.
func lockPort(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// Ports lists the serial ports of this computer without opening any.
func Ports() ([]PortInfo, error) {
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `HARDWARE\DEVICEMAP\SERIALCOMM`, registry.QUERY_VALUE)
	if errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
		return nil, nil // no port was ever there
	}
	if err != nil {
		return nil, fmt.Errorf("list serial ports: %w", err)
	}
	defer key.Close()
	names, err := key.ReadValueNames(0)
	if err != nil {
		return nil, fmt.Errorf("list serial ports: %w", err)
	}
	var found []PortInfo
	for _, name := range names {
		if path, _, err := key.GetStringValue(name); err == nil && path != "" {
			found = append(found, PortInfo{Path: path})
		}
	}
	slices.SortFunc(found, func(a, b PortInfo) int { return strings.Compare(a.Path, b.Path) })
	return found, nil
}
