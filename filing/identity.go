package filing

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"labagent/lab"
)

// prefixed writes each field with its length before it (4 bytes, big endian), so that no two lists of fields look alike.
func prefixed(dst []byte, fields ...[]byte) []byte {
	for _, f := range fields {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(f)))
		dst = append(dst, f...)
	}
	return dst
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// places counts the results of one message in each place.
type places map[string]uint32

// identify gives a result its slot and its version (rules 2). It looks at nothing but the analyzer's name and the raw fields
// of the message, and counts every line, also those a code list ignores: no config can change what it gives.
func (p places) identify(analyzer string, r lab.Result) (slot, version string) {
	place := string(prefixed(prefixed(nil, []byte(analyzer)), r.Slot...))
	n := p[place]
	p[place]++
	slot = hash(prefixed([]byte(place), binary.BigEndian.AppendUint32(nil, n)))
	version = hash(prefixed(prefixed(nil, []byte(slot)), r.Version...))
	return slot, version
}

// Sheet is the identity of a sheet: the hash of the sorted versions of the results on it (rules 5).
func Sheet(versions []string) string {
	sorted := slices.Sorted(slices.Values(versions))
	var text []byte
	for _, v := range sorted {
		text = prefixed(text, []byte(v))
	}
	return hash(text)
}

// accession binds all sheets of a specimen: its id and a day (rules 5). The rule wants the day the specimen was first seen,
// which needs a memory of specimens; until there is one the day is read from the message, so that a retransmission or
// another machine finds the same: of the collection, else of the earliest result, else of the message, else of receipt.
func accession(p lab.Part, sent lab.Time, received time.Time, zone *time.Location) string {
	if strings.TrimSpace(p.Specimen) == "" {
		return ""
	}
	first := p.Collected.At
	if first.IsZero() {
		for _, r := range p.Results {
			for _, t := range []time.Time{r.Observed.At, r.Analyzed.At} {
				if !t.IsZero() && (first.IsZero() || t.Before(first)) {
					first = t
				}
			}
		}
	}
	if first.IsZero() {
		first = sent.At
	}
	if first.IsZero() {
		first = received
	}
	return plain(p.Specimen) + "." + first.In(zone).Format("20060102")
}

// plain writes s in [A-Za-z0-9.-], any other byte as _XX, so that it stands in a search without escapes.
func plain(s string) string {
	var out strings.Builder
	for _, b := range []byte(s) {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '.', b == '-':
			out.WriteByte(b)
		default:
			fmt.Fprintf(&out, "_%02X", b)
		}
	}
	return out.String()
}
