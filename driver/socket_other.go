//go:build !linux

package driver

import "syscall"

// giveUpUnacknowledged does nothing here: Windows gives up by itself after some 20 s.
func giveUpUnacknowledged(_, _ string, _ syscall.RawConn) error { return nil }
