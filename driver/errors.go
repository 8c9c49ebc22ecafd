package driver

import "fmt"

// Error is a trouble with a port, in words a technician can act on.
type Error struct {
	Code Code   // what kind of trouble
	Port string // path or address
	Err  error  // the cause
	Next string // what to do next
}

// Code is a kind of trouble with a port; the words are interface.
type Code string

// The kinds of trouble with a port.
const (
	PortAbsent      Code = "port-absent"      // no such port, now
	PortBusy        Code = "port-busy"        // held by another process, or another analyzer of this agent
	PortDenied      Code = "port-denied"      // the account may not open it
	PortInvalid     Code = "port-invalid"     // not a serial port, or not with these settings
	PortDescriptors Code = "port-descriptors" // too many files are open in this process
	PortGone        Code = "port-gone"        // it was open and is lost: unplugged, or switched off
	PortClosed      Code = "port-closed"      // we closed it
	WriteTimeout    Code = "write-timeout"    // the other side takes no bytes
	ListenFailed    Code = "listen-failed"    // the address cannot be bound, now
	AllowMissing    Code = "allow-missing"    // a listener beyond loopback without allow-list
	DialFailed      Code = "dial-failed"      // the analyzer does not accept a connection, now
)

func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s: %v", e.Port, e.Code, e.Err)
	if e.Next != "" {
		s += "; " + e.Next
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }
