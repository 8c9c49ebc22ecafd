package main

import (
	"bytes"
	"slices"

	"labagent/queue"
)

// closeRepeated closes what broke off of an analyzer and has come again whole in this later item (filing rules 10).
func (p *plant) closeRepeated(whole *queue.Item) error {
	var closed []uint64
	err := p.queue.List(func(torn *queue.Item) bool {
		if torn.Analyzer == whole.Analyzer && torn.ID < whole.ID && recurs(torn.Text, whole.Text) {
			closed = append(closed, torn.ID)
		}
		return true
	}, true, queue.Incomplete)
	for _, id := range closed {
		if err := p.queue.Repeated(id); err != nil {
			return err
		}
		p.log.Info("what broke off has come again", "item", id, "analyzer", whole.Analyzer, "in", whole.ID)
	}
	return err
}

// recurs tells whether all records or segments of torn, the last of which may be cut, stand in whole in the same order. The
// header is new in each transmission and does not count; what has come no further than header and patient could be any
// message, and recurs in none.
func recurs(torn, whole []byte) bool {
	there := lines(whole)
	told := false
	for _, line := range lines(torn) {
		if starts(line, "H", "MSH") {
			continue
		}
		at := slices.IndexFunc(there, func(other []byte) bool {
			return bytes.Equal(other, line) || cut(line, torn) && bytes.HasPrefix(other, line)
		})
		if at < 0 {
			return false
		}
		there = there[at+1:]
		told = told || !cut(line, torn) && !starts(line, "P", "PID", "PV1", "C", "NTE", "M")
	}
	return told
}

func lines(text []byte) [][]byte {
	return bytes.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' })
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
