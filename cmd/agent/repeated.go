package main

import (
	"bytes"
	"slices"

	"labagent/queue"
)

// tornLimit is how many of the newest broken items of an analyzer are compared with one that has come whole. What is sent
// again is sent soon; a line that breaks off all the time must not keep the others from the server.
const tornLimit = 100

// closeRepeated closes what broke off of an analyzer and has come again whole in this later item (filing rules 10).
func (p *plant) closeRepeated(whole *queue.Item) error {
	broken := p.queue.Newest(whole.Analyzer, queue.Incomplete, whole.ID, tornLimit)
	if len(broken) == 0 {
		return nil
	}
	for _, id := range broken {
		torn, err := p.queue.Get(id)
		if err != nil || torn.State != queue.Incomplete || !recurs(torn.Text, whole.Text) {
			continue // a damaged one stays and is shown
		}
		if err := p.queue.Repeated(id); err != nil {
			return err
		}
		p.log.Info("what broke off has come again", "item", id, "analyzer", whole.Analyzer, "in", whole.ID)
	}
	return nil
}

// recurs tells whether all records or segments of torn, the last of which may be cut, stand in whole in the same order. The
// header is new in each transmission and does not count; what has come no further than header and patient could be any
// message, and recurs in none.
func recurs(torn, whole []byte) bool {
	told := false
	for rest := torn; len(rest) > 0; {
		var line []byte
		if line, rest = nextLine(rest); len(line) == 0 || starts(line, "H", "MSH") {
			continue
		}
		found := false
		for len(whole) > 0 && !found {
			var other []byte
			other, whole = nextLine(whole)
			found = bytes.Equal(other, line) || cut(line, torn) && bytes.HasPrefix(other, line)
		}
		if !found {
			return false
		}
		told = told || !cut(line, torn) && !starts(line, "P", "PID", "PV1", "C", "NTE", "M")
	}
	return told
}

// nextLine cuts the first line off a text.
func nextLine(text []byte) (line, rest []byte) {
	end := bytes.IndexAny(text, "\r\n")
	if end < 0 {
		return text, nil
	}
	return text[:end], text[end+1:]
}

// cut tells whether line is what text ends in without an end of its own.
func cut(line, text []byte) bool {
	return bytes.HasSuffix(text, line)
}

// starts tells whether the line is a record or segment of one of these types.
func starts(line []byte, types ...string) bool {
	end := bytes.IndexFunc(line, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '0' || r > '9') })
	if end < 0 {
		end = len(line)
	}
	return slices.Contains(types, string(line[:end]))
}
