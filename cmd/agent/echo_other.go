//go:build !linux && !windows

package main

import (
	"errors"
	"os"
)

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func hush(*os.File) (restore func(), err error) {
	return nil, errors.New("not known how on this system")
}
