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
	err = control(master, func(fd int) error {
		if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
			return err
		}
		n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
		path = fmt.Sprintf("/dev/pts/%d", n)
		return err
	})
	var port *os.File
	if err == nil {
		port, err = os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return "", nil, fmt.Errorf("virtual serial port: %w", err)
	}
	c := &cable{master, port}
	if err := control(port, raw); err != nil {
		c.Close()
		return "", nil, fmt.Errorf("virtual serial port: %w", err)
	}
	return path, c, nil
}

// control asks the system about an open file without Fd, which would make its reads impossible to end.
func control(file *os.File, ask func(fd int) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var answer error
	if err := conn.Control(func(fd uintptr) { answer = ask(int(fd)) }); err != nil {
		return err
	}
	return answer
}

// raw switches off what a terminal does to bytes: echo, line ends, signals.
func raw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
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
