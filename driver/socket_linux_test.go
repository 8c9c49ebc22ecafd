package driver

import (
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A peer that lost its power must be found out: while we are silent by keep-alive, while we answer by what it does not
// acknowledge.
func TestDeadPeerIsFound(t *testing.T) {
	l, err := listenTCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := dialTCP(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	for name, conn := range map[string]net.Conn{"accepted": accepted, "dialed": dialed} {
		raw, err := conn.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			option             string
			level, which, want int
		}{
			{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 30},
			{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 60000},
		} {
			raw.Control(func(fd uintptr) {
				if got, err := unix.GetsockoptInt(int(fd), c.level, c.which); err != nil || got != c.want {
					t.Errorf("%s: %s is %d, %v, want %d", name, c.option, got, err, c.want)
				}
			})
		}
	}
}
