package driver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.bug.st/serial"
)

// cable is a pair of pseudo terminals that stands for a serial cable: ours is opened by the agent, theirs is the analyzer.
type cable struct {
	t            *testing.T
	ours, theirs string
	socat        *exec.Cmd
}

func newCable(t *testing.T) *cable {
	t.Helper()
	if _, err := exec.LookPath("socat"); err != nil {
		t.Skip("socat, which makes the pseudo terminals for this test, is not installed")
	}
	dir := t.TempDir()
	c := &cable{t: t, ours: filepath.Join(dir, "ours"), theirs: filepath.Join(dir, "theirs")}
	c.plug()
	t.Cleanup(c.unplug)
	return c
}

// plug waits until both ends are there.
func (c *cable) plug() {
	c.t.Helper()
	c.socat = exec.Command("socat", "-d", "-d", "pty,rawer,link="+c.ours, "pty,rawer,link="+c.theirs)
	says, err := c.socat.StderrPipe()
	if err == nil {
		err = c.socat.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	lines := bufio.NewScanner(says)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "starting data transfer loop") {
			go io.Copy(io.Discard, says)
			return
		}
	}
	c.t.Fatal("socat ended before the ports were there")
}

// unplug takes both ends away.
func (c *cable) unplug() {
	c.socat.Process.Signal(syscall.SIGTERM) // lets it remove the links
	c.socat.Wait()
}

// analyzer opens the other end as the raw file it is.
func (c *cable) analyzer() *os.File {
	c.t.Helper()
	f, err := os.OpenFile(c.theirs, os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { f.Close() })
	f.SetDeadline(time.Now().Add(20 * time.Second))
	return f
}

func (c *cable) open() *port {
	c.t.Helper()
	p, err := openPort(c.ours, &serial.Mode{BaudRate: 9600, DataBits: 8})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { p.Close() })
	return p
}

func TestSerialLine(t *testing.T) {
	c := newCable(t)
	analyzer := c.analyzer()
	// Sent before anyone listens: the system keeps it, and it may be a result.
	io.WriteString(analyzer, "early\n")
	log := &journal{}
	store := &fakeStore{}
	a := &Analyzer{
		Name: "a", Port: &Serial{Path: c.ours}, Log: slog.New(slog.NewTextHandler(log, nil)),
		NewTalk: func() Talk { return &fakeTalk{} }, NewStore: func(string) Store { return store },
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	exchange := func(send string) {
		t.Helper()
		io.WriteString(analyzer, send)
		answer := make([]byte, 3)
		if _, err := io.ReadFull(analyzer, answer); err != nil || string(answer) != "ok\n" {
			t.Fatalf("answered %q, %v", answer, err)
		}
	}
	exchange("")
	exchange("one\n")

	analyzer.Close()
	c.unplug()
	log.await(t, "line down")
	c.plug()
	plugged := time.Now()
	analyzer = c.analyzer()
	exchange("two\n")
	if took := time.Since(plugged); took > 2*time.Second {
		t.Errorf("served %v after the cable was plugged in again, want 2s at most", took)
	}
	if got := strings.Join(store.texts(), " "); got != ".early .one .two" {
		t.Errorf("stored %s", got)
	}
	log.await(t, "line up again")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines of log, want the begin and the end of the outage:\n%s", n, log)
	}
}

// The library's own Write would put the ACK into the new file.
func TestNoWriteAfterClose(t *testing.T) {
	p := newCable(t).open()
	p.Close()
	path := filepath.Join(t.TempDir(), "victim")
	victim, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	if n, err := p.Write([]byte{6}); n != 0 || codeOf(err) != PortClosed {
		t.Errorf("Write after Close: %d, %v, want %s", n, err, PortClosed)
	}
	if n, err := p.Read(make([]byte, 1)); n != 0 || codeOf(err) != PortClosed {
		t.Errorf("Read after Close: %d, %v, want %s", n, err, PortClosed)
	}
	if got, _ := os.ReadFile(path); len(got) != 0 {
		t.Errorf("%q was written into a file that has nothing to do with the port", got)
	}
	if err := p.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestCloseEndsRead(t *testing.T) {
	c := newCable(t)
	for _, how := range []struct {
		name string
		end  func(*port)
		want Code
	}{
		{"closed", func(p *port) { p.Close() }, PortClosed},
		{"unplugged", func(*port) { c.unplug() }, PortGone},
	} {
		t.Run(how.name, func(t *testing.T) {
			p := c.open()
			got := make(chan error)
			go func() {
				_, err := p.Read(make([]byte, 16))
				got <- err
			}()
			for waits := false; !waits; runtime.Gosched() {
				p.mu.Lock()
				waits = p.calls > 0
				p.mu.Unlock()
			}
			how.end(p)
			if err := <-got; codeOf(err) != how.want {
				t.Errorf("Read returned %v, want %s", err, how.want)
			}
		})
	}
}

func TestDescriptorTooHigh(t *testing.T) {
	c := newCable(t)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 1100 {
		t.Skipf("this account may open %d files only, so that no descriptor can be too high", limit.Cur)
	}
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Fd() >= 1024 {
			break
		}
	}
	p, err := openPort(c.ours, &serial.Mode{BaudRate: 9600, DataBits: 8})
	if codeOf(err) != PortDescriptors {
		t.Fatalf("open above descriptor 1023: %v, want %s", err, PortDescriptors)
	}
	if p != nil {
		t.Error("a port beside the error")
	}
}

func TestPortIsOurs(t *testing.T) {
	c := newCable(t)
	p := c.open()
	_, err := openPort(c.ours, &serial.Mode{BaudRate: 19200, DataBits: 8})
	if codeOf(err) != PortBusy || !strings.Contains(err.Error(), "another analyzer of this labagent") || !strings.Contains(err.Error(), c.ours) {
		t.Errorf("second open in this process: %v, want %s naming who and what", err, PortBusy)
	}
	p.Close()
	p = c.open() // free again
	p.Close()

	// Another process, by another name of the same port.
	link := filepath.Join(t.TempDir(), "by-id")
	if err := os.Symlink(c.ours, link); err != nil {
		t.Fatal(err)
	}
	other := exec.Command(os.Args[0], "-test.run=^TestHoldPort$")
	other.Env = append(os.Environ(), "LABAGENT_TEST_HOLD="+link)
	says, _ := other.StdoutPipe()
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(says).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	_, err = openPort(c.ours, &serial.Mode{BaudRate: 9600, DataBits: 8})
	if codeOf(err) != PortBusy || !strings.Contains(err.Error(), "held by ") {
		t.Errorf("open beside another process: %v, want %s", err, PortBusy)
	}
	other.Process.Kill()
	other.Wait()
	c.open() // what is killed holds nothing
}

// TestHoldPort is the other process of TestPortIsOurs.
func TestHoldPort(t *testing.T) {
	path := os.Getenv("LABAGENT_TEST_HOLD")
	if path == "" {
		t.Skip("this is the second process of TestPortIsOurs and tests nothing by itself")
	}
	if _, err := openPort(path, &serial.Mode{BaudRate: 9600, DataBits: 8}); err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("held\n")
	select {}
}

func TestWriteDeadline(t *testing.T) {
	c := newCable(t)
	p := c.open()
	// Nobody reads at the other end: the system takes some and then no more.
	full := bytes.Repeat([]byte("x"), 1<<20)
	p.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := p.Write(full); codeOf(err) != WriteTimeout {
		t.Errorf("Write: %v, want %s", err, WriteTimeout)
	}
	start := time.Now()
	p.Close()
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("Close took %v beside a write that hangs", took)
	}
	if _, err := p.Write([]byte{6}); err == nil {
		t.Error("Write after Close succeeded")
	}
	c.unplug() // ends the write that hangs
	<-p.gone
}

func TestOpenErrors(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		want       Code
	}{
		{"no such port", filepath.Join(t.TempDir(), "ttyUSB7"), PortAbsent},
		{"not a serial port", plain, PortInvalid},
		{"not a port at all", t.TempDir(), PortInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := openPort(c.path, &serial.Mode{BaudRate: 9600, DataBits: 8})
			var ours *Error
			if !errors.As(err, &ours) || ours.Code != c.want || ours.Next == "" || ours.Port != c.path {
				t.Errorf("got %v, want %s with a next step", err, c.want)
			}
		})
	}
}

func TestListPorts(t *testing.T) {
	sys, dev := filepath.Join(t.TempDir(), "sys"), filepath.Join(t.TempDir(), "dev")
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(sys, "devices/usb1/1-1/idVendor"), "0403\n")
	write(filepath.Join(sys, "devices/usb1/1-1/idProduct"), "6001\n")
	write(filepath.Join(sys, "devices/usb1/1-1/serial"), "LAB-0001\n")
	write(filepath.Join(sys, "devices/usb1/1-1/1-1:1.0/ttyUSB0/port_number"), "0\n")
	link(filepath.Join(sys, "devices/usb1/1-1/1-1:1.0/ttyUSB0"), filepath.Join(sys, "tty/ttyUSB0/device"))
	write(filepath.Join(sys, "devices/serial8250/uevent"), "")
	for name, kind := range map[string]string{"ttyS0": "4\n", "ttyS1": "0\n"} {
		link(filepath.Join(sys, "devices/serial8250"), filepath.Join(sys, "tty", name, "device"))
		write(filepath.Join(sys, "tty", name, "type"), kind)
	}
	write(filepath.Join(sys, "tty/tty1/uevent"), "")
	link("../../ttyUSB0", filepath.Join(dev, "serial/by-id/usb-FTDI_LAB-0001-if00-port0"))

	found, err := listPorts(filepath.Join(sys, "tty"), dev)
	if err != nil {
		t.Fatal(err)
	}
	want := []PortInfo{
		{Path: filepath.Join(dev, "ttyS0")},
		{Path: filepath.Join(dev, "ttyUSB0"), Link: filepath.Join(dev, "serial/by-id/usb-FTDI_LAB-0001-if00-port0"), USB: "0403:6001:LAB-0001"},
	}
	if len(found) != len(want) || found[0] != want[0] || found[1] != want[1] {
		t.Errorf("found %v, want %v", found, want)
	}
}
