package driver

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"time"

	"labagent/lab"
)

var (
	errStuck = errors.New("the disk has not yet answered for what came before")
	errLate  = errors.New("the disk did not answer in time")
)

// turn goes on until the Talk has nothing to write and nothing to hand up, or waits for a verdict. It tells whether it has
// taken pieces that are to be stored now.
func (l *line) turn() bool {
	for {
		l.write()
		if l.busy {
			return false
		}
		l.take()
		l.write()
		switch {
		case len(l.pieces) > 0 && l.stray:
			l.verdict(errStuck)
		case len(l.pieces) > 0:
			l.busy = true
			l.giveUp = l.now.Add(l.patience)
			if l.over {
				l.giveUp = l.now.Add(min(grace, l.patience))
			}
			return true
		case l.asked:
			l.verdict(nil)
		default:
			l.waiting = 0
			return false
		}
	}
}

// write sends what the Talk wants to send.
func (l *line) write() {
	p := l.talk.Output()
	if len(p) == 0 || l.broken {
		return
	}
	if l.writeBy.Sub(l.now) < writeWait/2 { // setting it costs as much as a small write
		l.writeBy = l.now.Add(writeWait)
		l.conn.SetWriteDeadline(l.writeBy)
	}
	n, err := l.conn.Write(p)
	if n > 0 {
		l.watch.Sent(n)
		if l.wire != nil {
			l.wire.Record(l.wireName, '>', time.Now(), p[:n])
		}
	}
	if err != nil {
		l.blame(err)
		l.broken, l.over = true, true
		l.conn.Close()
	}
}

// take collects what the Talk hands up for one verdict.
func (l *line) take() {
	l.pieces, l.asked = l.pieces[:0], false
	size := 0
	for {
		text, mark, ok := l.talk.Take()
		l.remark()
		if !ok {
			break
		}
		switch lab.Mark(mark) {
		case lab.Open:
			l.asked = true
		case lab.Refused:
			if !l.torn {
				text = slices.Concat(l.head, text)
			}
			l.tellRefused(text, l.reason())
		default:
			size += len(text)
			l.pieces = append(l.pieces, lab.Piece{Text: text, Mark: lab.Mark(mark), Received: l.now, Quirks: l.quirks})
			l.quirks = nil
		}
	}
	if l.added = l.torn && (l.asked || len(l.pieces) > 0 || !l.now.Before(l.mend)); l.added {
		l.pieces = slices.Insert(l.pieces, 0, lab.Piece{Mark: lab.Broken, Received: l.now})
	}
	// Exact would need the framing around each piece. This is never too little, and it is put right whenever nothing waits.
	l.waiting = max(l.waiting, size)
}

// verdict answers for what was taken last; stored is nil when its bytes are synced.
func (l *line) verdict(stored error) {
	for _, p := range l.pieces {
		l.waiting = max(0, l.waiting-len(p.Text))
	}
	if len(l.pieces) > 0 {
		l.denied = stored != nil
	}
	why := stored
	if stored == nil {
		l.accepted()
		if l.asked {
			why = l.ready()
		}
	} else {
		l.turnedAway()
	}
	if why != nil {
		l.failing.begin(why)
		l.note("! no")
	} else {
		l.failing.end()
		l.note("! ok")
		l.refused = nil // what comes again after this was offered anew, and is told anew
	}
	if l.asked || len(l.pieces) > 1 || !l.added {
		l.talk.Verdict(l.now, why == nil)
	}
}

// accepted tells of the messages that are stored and keeps the beginning of the open one.
func (l *line) accepted() {
	l.torn = false
	for _, p := range l.pieces {
		if p.Mark == lab.Whole || p.Mark == lab.Broken {
			l.head = l.head[:0]
			l.watch.Message(p.Mark)
			continue
		}
		l.head = append(l.head, p.Text[:min(len(p.Text), headSize-len(l.head))]...)
	}
}

// turnedAway tells of the messages that are not stored. Of the open one all is as before, but when it broke off, that must
// be stored before anything else.
func (l *line) turnedAway() {
	broke, open := false, slices.Clone(l.head)
	for _, p := range l.pieces {
		broke = broke || p.Mark == lab.Broken
		open = append(open, p.Text...)
		if p.Mark != lab.Whole && p.Mark != lab.Broken {
			continue
		}
		// The last frame of a message of which some is stored is mostly offered again; the Talk tells if it is not.
		if len(p.Text) > 0 && (p.Mark == lab.Broken || len(l.head) == 0) {
			l.tellRefused(open, notStored)
		}
		open = nil
	}
	if l.torn = broke && len(l.head) > 0; l.torn {
		l.mend = l.now.Add(tornWait)
	}
}

func (l *line) ready() error {
	if l.stray {
		return errStuck
	}
	return l.store.Ready()
}

// remark counts the oddities met since the last call and keeps them for the next piece.
func (l *line) remark() {
	for _, word := range l.talk.Remarks() {
		l.count(word)
		if len(l.quirks) < maxQuirks && !slices.Contains(l.quirks, word) {
			l.quirks = append(l.quirks, word)
		}
	}
}

func (l *line) count(word string) {
	l.watch.Remark(word)
	l.note("* " + word)
	if l.seen[word]++; l.seen[word] == 1 {
		l.log.Info("oddity, logged once a line", "word", word)
	}
}

// notStored is why a piece was refused that the disk did not take.
const notStored = "not stored"

func (l *line) reason() string {
	switch {
	case l.denied:
		return notStored
	case len(l.quirks) == 0:
		return "refused"
	}
	return strings.Join(l.quirks, " ")
}

// tellRefused tells of a piece that was turned away, once for all its repetitions until something is accepted.
func (l *line) tellRefused(text []byte, reason string) {
	if l.refused != nil && bytes.Equal(text, l.refused) {
		return
	}
	l.refused = text
	l.watch.Refused(l.name, text, reason)
}

func (l *line) note(word string) {
	if l.wire != nil {
		l.wire.Note(l.wireName, l.now, word)
	}
}
