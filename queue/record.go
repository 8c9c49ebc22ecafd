package queue

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"labagent/lab"
)

// A record is one piece on disk. Its key is its sequence (8 bytes, big endian), its value, all integers big endian:
//
//	 0  1  version of the record, now 1
//	 1  1  mark: = More, . Whole, ! Broken
//	 2  8  sequence, the same as the key
//	10  8  first: the sequence of the message's first piece
//	18  8  previous: the sequence of the piece before it in the message; 0 for the first
//	26  4  number of the piece in its message, from 0
//	30  4  offset of its text in the text of the message
//	34  8  received, nanoseconds since 1970 UTC
//	42  .  analyzer, protocol: each a uvarint length and that many bytes
//	    .  quirks: a uvarint count, then each as above
//	    .  text as received, to the end but 4
//	    4  CRC-32C of everything before it
//
// Pieces of one message lie scattered among those of other lines; the way back from the last to the first goes by
// previous, so that reading a message costs its own pieces and no search.
type record struct {
	mark     lab.Mark
	sequence uint64
	first    uint64
	previous uint64
	number   uint32
	offset   uint32
	received int64
	analyzer string
	protocol string
	quirks   []string
	text     []byte
	checksum uint32 // as read
	summable []byte // what the checksum covers, as read
}

const (
	recordVersion = 1
	fixedHeader   = 42
	// overhead is what a piece costs on disk beside its text, about: header, checksum, key and its place in a page.
	// It is counted so that a flood of tiny frames fills the queue too.
	overhead = 96
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errDamaged = errors.New("the stored record is damaged")
)

// size is how much text the message has up to and with this piece.
func (r *record) size() int { return int(r.offset) + len(r.text) }

// cost is what the message takes up to and with this piece, as max_size counts.
func (r *record) cost() int64 { return cost(r.size(), int(r.number)+1) }

func cost(text, pieces int) int64 { return int64(text) + int64(pieces)*overhead }

// append writes the record behind dst.
func (r *record) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, recordVersion, byte(r.mark))
	dst = binary.BigEndian.AppendUint64(dst, r.sequence)
	dst = binary.BigEndian.AppendUint64(dst, r.first)
	dst = binary.BigEndian.AppendUint64(dst, r.previous)
	dst = binary.BigEndian.AppendUint32(dst, r.number)
	dst = binary.BigEndian.AppendUint32(dst, r.offset)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.received))
	dst = appendString(dst, r.analyzer)
	dst = appendString(dst, r.protocol)
	dst = binary.AppendUvarint(dst, uint64(len(r.quirks)))
	for _, quirk := range r.quirks {
		dst = appendString(dst, quirk)
	}
	dst = append(dst, r.text...)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// parseRecord reads the value stored under sequence. The text stays a part of value. The checksum is not looked at; that
// is what intact is for.
func parseRecord(sequence uint64, value []byte) (record, error) {
	if len(value) < fixedHeader+3+4 || value[0] != recordVersion {
		return record{}, errDamaged
	}
	body := len(value) - 4
	r := record{
		mark:     lab.Mark(value[1]),
		sequence: binary.BigEndian.Uint64(value[2:]),
		first:    binary.BigEndian.Uint64(value[10:]),
		previous: binary.BigEndian.Uint64(value[18:]),
		number:   binary.BigEndian.Uint32(value[26:]),
		offset:   binary.BigEndian.Uint32(value[30:]),
		received: int64(binary.BigEndian.Uint64(value[34:])),
		checksum: binary.BigEndian.Uint32(value[body:]),
		summable: value[:body],
	}
	rest, ok := value[fixedHeader:body], true
	text := func() string {
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > uint64(len(rest)-used) {
			ok, rest = false, nil
			return ""
		}
		s := string(rest[used : used+int(n)])
		rest = rest[used+int(n):]
		return s
	}
	r.analyzer, r.protocol = text(), text()
	quirks, used := binary.Uvarint(rest)
	if used <= 0 || quirks > uint64(len(rest)) {
		return record{}, errDamaged
	}
	rest = rest[used:]
	for range quirks {
		r.quirks = append(r.quirks, text())
	}
	r.text = rest
	if !ok || r.sequence != sequence || r.first > sequence || r.previous >= sequence {
		return record{}, errDamaged
	}
	return r, nil
}

// intact tells whether the record is as it was written.
func (r *record) intact() bool { return crc32.Checksum(r.summable, castagnoli) == r.checksum }

// key is a sequence as the key of a bucket.
func key(sequence uint64) []byte { return binary.BigEndian.AppendUint64(nil, sequence) }

func sequenceOf(key []byte) uint64 {
	if len(key) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(key)
}

// nanos is a time as it is stored; the zero time is 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
