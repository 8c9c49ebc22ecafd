//go:build !linux

package main

import (
	"errors"
	"io"
)

// virtualSerial is not to be had here; the demo takes TCP and says so.
func virtualSerial() (path string, analyzer io.ReadWriteCloser, err error) {
	return "", nil, errors.New("no virtual serial ports on this system")
}
