package driver

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// giveUpUnacknowledged ends a connection whose peer has acknowledged nothing for a minute. Keep-alive does not run while our
// own answer is unacknowledged, and the kernel's 15 minutes of trying would fill a peer's places with dead connections.
func giveUpUnacknowledged(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		// Without the option the connection only takes longer to end.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(time.Minute.Milliseconds()))
	})
}
