// Package talktest reads .talk files, conversations between an analyzer and labagent written as text, and plays them
// against a protocol machine. The same files play on every rung: the bare machine, the loop, the wire.
//
//	# a comment; the first one is the title
//	< <ENQ>                          the analyzer sends
//	> <ACK>                          labagent must answer; <*> stands for any bytes but | and CR
//	@ 30s                            that much time passes
//	= text                           handed up: = More, =. Whole, =! Broken, =? Open, =x Refused
//	! ok                             verdict on what was handed up: ok | no | late
//	* word                           an oddity that must have been remarked by now
//
// Control characters are written by name (<STX>, <CR>, <x1F>); <SUM> is the ASTM checksum of what stands between the last
// <STX> and here. Lines of one kind that follow each other are joined, so that a long message can be broken.
package talktest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Step is one step of a conversation.
type Step struct {
	Line int           // of the file, for messages
	Op   byte          // < > @ = ! *
	Mark byte          // for =: the mark
	Data []byte        // bytes sent, expected or handed up
	Wild bool          // Data holds <*>
	Wait time.Duration // for @
	Word string        // for ! and *
}

// wild stands for <*> in Step.Data; no protocol of ours can carry it.
const wild = "\xff*\xff"

var names = map[string]byte{
	"NUL": 0, "SOH": 1, "STX": 2, "ETX": 3, "EOT": 4, "ENQ": 5, "ACK": 6, "BEL": 7, "TAB": 9, "LF": 10, "VT": 11, "CR": 13,
	"DLE": 16, "NAK": 21, "SYN": 22, "ETB": 23, "ESC": 27, "FS": 28, "GS": 29, "RS": 30, "US": 31, "LT": '<', "GT": '>', "SP": ' ',
}

var token = regexp.MustCompile(`<([A-Z]{2,3}|x[0-9A-F]{2}|\*)>`)

// Bytes turns the text of a .talk line into bytes.
func Bytes(text string) ([]byte, error) {
	var out []byte
	stx := -1
	for text != "" {
		at := token.FindStringSubmatchIndex(text)
		if at == nil {
			return append(out, text...), nil
		}
		out = append(out, text[:at[0]]...)
		name := text[at[2]:at[3]]
		text = text[at[1]:]
		switch {
		case name == "*":
			out = append(out, wild...)
		case name == "SUM":
			if stx < 0 {
				return nil, fmt.Errorf("<SUM> without <STX>")
			}
			var sum byte
			for _, b := range out[stx:] {
				sum += b
			}
			out = fmt.Appendf(out, "%02X", sum)
		case name[0] == 'x':
			b, err := strconv.ParseUint(name[1:], 16, 8)
			if err != nil {
				return nil, err
			}
			out = append(out, byte(b))
		default:
			b, known := names[name]
			if !known {
				return nil, fmt.Errorf("unknown control character <%s>", name)
			}
			out = append(out, b)
			if name == "STX" {
				stx = len(out)
			}
		}
	}
	return out, nil
}

// Text writes bytes as a .talk line does.
func Text(p []byte) string {
	var out strings.Builder
	for _, b := range p {
		name := ""
		for n, c := range names {
			if c == b && c < ' ' {
				name = n
			}
		}
		switch {
		case name != "":
			fmt.Fprintf(&out, "<%s>", name)
		case b < ' ' || b > '~':
			fmt.Fprintf(&out, "<x%02X>", b)
		default:
			out.WriteByte(b)
		}
	}
	return out.String()
}

// Read reads a .talk file.
func Read(path string) ([]Step, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var steps []Step
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimRight(line, "\r")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		step, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		step.Line = i + 1
		if n := len(steps); n > 0 && (step.Op == '<' || step.Op == '>') && steps[n-1].Op == step.Op {
			steps[n-1].Data = append(steps[n-1].Data, step.Data...)
			steps[n-1].Wild = steps[n-1].Wild || step.Wild
			continue
		}
		steps = append(steps, step)
	}
	return steps, nil
}

func parse(line string) (Step, error) {
	step := Step{Op: line[0]}
	rest := line[1:]
	if step.Op == '=' {
		step.Mark = '='
		if rest != "" && strings.IndexByte(".!?x", rest[0]) >= 0 {
			step.Mark, rest = rest[0], rest[1:]
		}
	}
	rest = strings.TrimPrefix(rest, " ")
	var err error
	switch step.Op {
	case '<', '>', '=':
		step.Data, err = Bytes(rest)
		step.Wild = bytes.Contains(step.Data, []byte(wild))
	case '@':
		step.Wait, err = time.ParseDuration(strings.TrimSpace(rest))
	case '!', '*':
		step.Word = strings.TrimSpace(rest)
	default:
		err = fmt.Errorf("unknown step %q", line)
	}
	return step, err
}

// Match tells whether got is what the step expects.
func (s Step) Match(got []byte) bool {
	if !s.Wild {
		return bytes.Equal(s.Data, got)
	}
	var pattern strings.Builder
	pattern.WriteString(`\A(?s:`)
	for i, lit := range strings.Split(string(s.Data), wild) {
		if i > 0 {
			pattern.WriteString(`[^|\r]*`)
		}
		pattern.WriteString(regexp.QuoteMeta(toLatin1(lit)))
	}
	pattern.WriteString(`)\z`)
	return regexp.MustCompile(pattern.String()).MatchString(toLatin1(string(got)))
}

// toLatin1 widens bytes to runes, since regexp reads UTF-8.
func toLatin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// Shared returns the folder of real analyzer traffic that may stand beside the checkout, and skips the test where it does
// not: the traffic is not ours to copy.
func Shared(t testing.TB) string {
	t.Helper()
	for _, dir := range []string{os.Getenv("LABAGENT_SHARED"), "../shared", "../../shared", "../../../shared"} {
		if info, err := os.Stat(filepath.Join(dir, "captures")); dir != "" && err == nil && info.IsDir() {
			return dir
		}
	}
	t.Skip("the real captures (../shared/captures) are not beside this checkout")
	return ""
}

// Machine is what a .talk file is played against; driver.Talk satisfies it.
type Machine interface {
	Feed(now time.Time, p []byte)
	Output() []byte
	Take() (piece []byte, mark byte, ok bool)
	Verdict(now time.Time, safe bool)
	Deadline() time.Time
	Remarks() []string
}

// Play plays the conversation against m, feeding at most chunk bytes at a time (0: all at once). Pieces are taken as soon
// as they are there. A file that gives no verdict for what it hands up gets ok at the next step that is not an =.
func Play(t *testing.T, m Machine, steps []Step, chunk int) {
	t.Helper()
	p := &player{t: t, m: m, now: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC), remarks: map[string]bool{}}
	for _, s := range steps {
		p.step(s, chunk)
	}
	p.settle()
	if len(p.out) > 0 {
		t.Errorf("at the end: answered %s, which the file does not expect", Text(p.out))
	}
	for _, piece := range p.taken {
		t.Errorf("at the end: handed up %c %s, which the file does not expect", piece.mark, Text(piece.text))
	}
}

type taken struct {
	text []byte
	mark byte
}

type player struct {
	t       *testing.T
	m       Machine
	now     time.Time
	out     []byte // written and not yet expected
	taken   []taken
	owed    bool // something taken waits for a verdict
	remarks map[string]bool
}

func (p *player) collect() {
	p.out = append(p.out, p.m.Output()...)
	for {
		text, mark, ok := p.m.Take()
		if !ok {
			break
		}
		p.taken = append(p.taken, taken{bytes.Clone(text), mark})
		if mark != 'x' {
			p.owed = true
		}
	}
	p.out = append(p.out, p.m.Output()...)
	for _, word := range p.m.Remarks() {
		p.remarks[word] = true
	}
}

func (p *player) verdict(safe bool) {
	p.owed = false
	p.m.Verdict(p.now, safe)
	p.collect()
}

// settle gives the verdict ok that the file left out, as often as bytes kept behind one lead to the next.
func (p *player) settle() {
	for p.owed {
		p.verdict(true)
	}
}

func (p *player) step(s Step, chunk int) {
	p.t.Helper()
	switch s.Op {
	case '<':
		p.settle()
		for data := s.Data; len(data) > 0; {
			n := len(data)
			if chunk > 0 && chunk < n {
				n = chunk
			}
			p.m.Feed(p.now, data[:n])
			data = data[n:]
			p.collect()
		}
	case '@':
		p.pass(s.Wait)
	case '=':
		if len(p.taken) == 0 && p.owed {
			p.settle()
		}
		if len(p.taken) == 0 {
			p.t.Fatalf("line %d: nothing was handed up, want %c %s", s.Line, s.Mark, Text(s.Data))
		}
		got := p.taken[0]
		p.taken = p.taken[1:]
		if got.mark != s.Mark || !s.Match(got.text) {
			p.t.Fatalf("line %d: handed up\n  %c %s\nwant\n  %c %s", s.Line, got.mark, Text(got.text), s.Mark, Text(s.Data))
		}
	case '!':
		if !p.owed {
			p.t.Fatalf("line %d: a verdict, but nothing waits for one", s.Line)
		}
		p.verdict(s.Word == "ok")
	case '>':
		p.settle()
		if !s.Match(p.out) {
			p.t.Fatalf("line %d: answered\n  %s\nwant\n  %s", s.Line, Text(p.out), Text(s.Data))
		}
		p.out = nil
	case '*':
		if !p.remarks[s.Word] {
			p.t.Fatalf("line %d: %q was not remarked, only %v", s.Line, s.Word, p.remarks)
		}
	}
}

// pass lets time go by, stopping at each deadline on the way as the loop would.
func (p *player) pass(d time.Duration) {
	end := p.now.Add(d)
	for range 1000 {
		due := p.m.Deadline()
		if due.IsZero() || due.After(end) {
			break
		}
		if due.After(p.now) {
			p.now = due
		}
		p.m.Feed(p.now, nil)
		p.collect()
	}
	p.now = end
	p.m.Feed(p.now, nil)
	p.collect()
}
