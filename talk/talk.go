// Package talk reads and writes .talk files, conversations between an analyzer and labagent written as text. The same files
// play on every rung: package talktest plays them against the bare machine and the loop, package simulate on a wire.
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
package talk

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
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
