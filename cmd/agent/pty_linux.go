package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// virtualSerial makes a virtual serial port: path is what the agent opens, the other end is the analyzer's.
func virtualSerial() (path string, analyzer io.ReadWriteCloser, err error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return "", nil, fmt.Errorf("virtual serial port: %w", err)
	}
	fd := int(master.Fd())
	var port *os.File
	if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
		var n int
		if n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN); err == nil {
			path = fmt.Sprintf("/dev/pts/%d", n)
			port, err = raw(path)
		}
	}
	if err != nil {
		master.Close()
		return "", nil, fmt.Errorf("virtual serial port: %w", err)
	}
	return path, &cable{master, port}, nil
}

// cable is the analyzer's end. It holds the agent's end open too: a virtual port that nobody has open is no cable at all.
type cable struct {
	*os.File
	port *os.File
}

// Close takes the cable away.
func (c *cable) Close() error {
	c.port.Close()
	return c.File.Close()
}

// raw opens the port and switches off what a terminal does to bytes: echo, line ends, signals.
func raw(path string) (*os.File, error) {
	port, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(port.Fd()), unix.TCGETS)
	if err == nil {
		t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
		err = unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, t)
	}
	if err != nil {
		port.Close()
		return nil, err
	}
	return port, nil
}
