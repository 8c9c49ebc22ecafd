//go:build linux

package main_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"labagent/astm"
	"labagent/hl7"
	"labagent/queue"
	"labagent/sandbox"
)

// prompt is how soon an analyzer is told no when the disk is full.
const prompt = time.Second

// host is a connection to the agent, byte for byte; it knows how long the slowest answer took.
type host struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	took time.Duration
}

func connect(t *testing.T, address string) *host {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &host{t: t, conn: conn, in: bufio.NewReader(conn)}
}

// ask sends bytes and reads the answer up to one of its last bytes.
func (h *host) ask(p []byte, last byte) []byte {
	h.t.Helper()
	start := time.Now()
	h.conn.SetDeadline(start.Add(20 * time.Second))
	if _, err := h.conn.Write(p); err != nil {
		h.t.Fatal(err)
	}
	var answer []byte
	for {
		b, err := h.in.ReadByte()
		if err != nil {
			h.t.Fatalf("no answer: %v", err)
		}
		if answer = append(answer, b); b == last || last == 0 {
			h.took = max(h.took, time.Since(start))
			return answer
		}
	}
}

// enquire asks for the line and tells whether it was given.
func (h *host) enquire() bool { return h.ask([]byte{astm.ENQ}, 0)[0] == astm.ACK }

// offer sends a frame and tells whether it was accepted.
func (h *host) offer(frame []byte) bool { return h.ask(frame, 0)[0] == astm.ACK }

// hangUp ends a session.
func (h *host) hangUp() { h.conn.Write([]byte{astm.EOT}) }

// astm sends a message as one frame in a session of its own and tells whether it was accepted.
func (h *host) astm(text string) bool {
	h.t.Helper()
	if !h.enquire() {
		return false
	}
	defer h.hangUp()
	return h.offer(astm.Frame(nil, 1, []byte(text), true))
}

// hl7 sends a message and tells whether it was accepted.
func (h *host) hl7(text string) bool {
	h.t.Helper()
	answer := h.ask(hl7.Frame(nil, []byte(text)), '\r')
	for !bytes.HasSuffix(answer, []byte("\x1c\r")) {
		answer = append(answer, h.ask(nil, '\r')...)
	}
	return bytes.Contains(answer, []byte("MSA|AA|"))
}

// bulk makes messages big enough to fill a disk with few.
var bulk = strings.Repeat("nothing to be seen ", 400)

func astmMessage(specimen string, results ...string) string {
	text := `H|\^&|||XN|||||||P|LIS2-A2|20260301080000` + "\rP|1\rO|1|" + specimen + "||^^^ALL|R\r"
	for i, r := range results {
		code, value, _ := strings.Cut(r, "=")
		value, unit, _ := strings.Cut(value, " ")
		text += fmt.Sprintf("R|%d|^^^%s|%s|%s||N||F||||20260301075812\r", i+1, code, value, unit)
	}
	return text + "L|1|N\r"
}

func hl7Message(control, specimen string, results ...string) string {
	text := `MSH|^~\&|COBAS|LAB|LIS|HOSP|20260301080000||ORU^R01|` + control + "|P|2.5.1\rOBR|1||" + specimen + "|ALL\r"
	for i, r := range results {
		code, value, _ := strings.Cut(r, "=")
		value, unit, _ := strings.Cut(value, " ")
		text += fmt.Sprintf("OBX|%d|NM|%s||%s|%s||N|||F|||20260301075812\r", i+1, code, value, unit)
	}
	return text
}

// The disk is full: within a second the analyzers are told no and a person is told which specimens were refused; what is
// stored already goes on to the server; and when there is room again everything is accepted again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if err := os.Mkdir(s.data, 0o700); err != nil {
		t.Fatal(err)
	}
	err := syscall.Mount("tmpfs", s.data, "tmpfs", 0, "size=6m")
	if errors.Is(err, syscall.EPERM) {
		t.Skip("a small disk cannot be mounted without the right to mount, so this machine cannot show a full one")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		if err := syscall.Unmount(s.data, 0); err != nil {
			t.Error(err)
		}
	})
	addresses := []string{free(t), free(t)}
	s.configure("deliver: {tag: "+siteTag+", unmapped: deliver}",
		analyzer("hematology-1", "astm", listenKey(addresses[0]), nil), analyzer("chemistry-1", "hl7", listenKey(addresses[1]), nil))
	s.start()
	s.open(addresses...)
	hematology, chemistry := connect(t, addresses[0]), connect(t, addresses[1])

	var accepted []string // specimens
	n := 0
	send := func(protocol string) (specimen string, ok bool) {
		n++
		specimen = fmt.Sprintf("%s%06d", protocol, n)
		if protocol == "A" {
			text := strings.TrimSuffix(astmMessage(specimen, "WBC=6.41 10*9/L"), "L|1|N\r")
			ok = hematology.astm(text + "C|1|I|" + bulk + "|G\rL|1|N\r")
		} else {
			ok = chemistry.hl7(hl7Message(specimen, specimen, "GLU=5.4 mmol/L") + "NTE|1|L|" + bulk + "\r")
		}
		if ok {
			accepted = append(accepted, specimen)
		}
		return specimen, ok
	}
	send("A")
	s.drained(60 * time.Second) // so there is a token
	s.server.Switch(func(sw *sandbox.Switches) { sw.Off = true })
	for range 10 {
		for _, protocol := range []string{"A", "H"} {
			if _, ok := send(protocol); !ok {
				t.Fatal("refused while there is room")
			}
		}
	}
	ballast := filepath.Join(s.data, "ballast")
	fill(t, ballast)
	hematology.took, chemistry.took = 0, 0

	// There may be free pages inside the file: go on until both are told no.
	refused := map[string]string{}
	for _, protocol := range []string{"A", "H"} {
		for try := 0; refused[protocol] == ""; try++ {
			if try == 2000 {
				t.Fatal("2000 messages were accepted on a full disk")
			}
			if specimen, ok := send(protocol); !ok {
				refused[protocol] = specimen
			}
		}
	}
	t.Logf("%d messages accepted before the first refusal; the slowest answers took %s (ASTM) and %s (HL7)",
		len(accepted), hematology.took.Round(time.Millisecond), chemistry.took.Round(time.Millisecond))
	if hematology.took > prompt || chemistry.took > prompt {
		t.Errorf("an answer took %s, want %s at most", max(hematology.took, chemistry.took), prompt)
	}
	listed := lines[queue.Refusal](t, s.command(0, "queue", "refused", "--json"))
	has := func(specimen string) bool {
		return slices.ContainsFunc(listed, func(r queue.Refusal) bool { return r.Specimen == specimen })
	}
	for _, specimen := range refused {
		if !has(specimen) {
			t.Errorf("the refused specimen %s is not listed in %+v", specimen, listed)
		}
	}
	s.command(9, "status")

	s.server.Switch(func(sw *sandbox.Switches) { sw.Off = false })
	s.drained(120 * time.Second) // the token endpoint is asked once a minute
	wantSpecimens(t, s, accepted)
	if free := room(t, s.data); free > 256<<10 {
		t.Errorf("%d bytes were free: that was no full disk", free)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []string{"A", "H"} {
		s.eventually("messages are accepted again", 20*time.Second, func() bool {
			_, ok := send(protocol)
			return ok
		})
	}
	if !hematology.astm(astmMessage(refused["A"], "WBC=6.41 10*9/L")) || !chemistry.hl7(hl7Message("again", refused["H"], "GLU=5.4 mmol/L")) {
		t.Error("what was refused is refused again")
	}
	accepted = append(accepted, refused["A"], refused["H"])
	s.drained(60 * time.Second)
	wantSpecimens(t, s, accepted)
	s.command(10, "queue", "refused") // what was refused has come, and is no longer listed
	s.stop()
}

// fill takes all room that is left.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for size := 64 << 10; size > 0; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// room is how many bytes a file system has free.
func room(t *testing.T, path string) int64 {
	t.Helper()
	var stat syscall.Statfs_t
	if err := syscall.Statfs(path, &stat); err != nil {
		t.Fatal(err)
	}
	return int64(stat.Bavail) * stat.Bsize
}

// wantSpecimens wants one Observation for each specimen, and no other.
func wantSpecimens(t *testing.T, s *site, want []string) {
	t.Helper()
	var got []string
	for _, o := range read(t, s.server.Resources("Observation")) {
		got = append(got, o.specimens()...)
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%d specimens were accepted, at the server are %d", len(want), len(got))
	}
}
