package astm

import (
	"bytes"
	"encoding/hex"
)

// Unescape decodes the escapes in a part of a field, LIS02-A2 5.4: with & declared, &F& &S& &R& &E& are the delimiters,
// &X0D0A& is bytes, &H& and &N& (highlighting) vanish. What is no such escape stays as it is, &Z..& of a maker included,
// since a bare & is common. Raw is returned itself where there is nothing to decode.
func (d Delimiters) Unescape(raw []byte) []byte {
	if d.Escape == 0 || bytes.IndexByte(raw, d.Escape) < 0 {
		return raw
	}
	out := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		from := bytes.IndexByte(raw, d.Escape)
		if from < 0 {
			break
		}
		out = append(out, raw[:from]...)
		raw = raw[from:]
		to := 1 + bytes.IndexByte(raw[1:], d.Escape)
		var known bool
		if to > 0 {
			out, known = d.decode(out, raw[1:to])
		}
		if !known {
			to = 0
			out = append(out, d.Escape)
		}
		raw = raw[to+1:]
	}
	return append(out, raw...)
}

// decode appends what stands for the escape with the given body, and tells whether it knows it.
func (d Delimiters) decode(out, body []byte) ([]byte, bool) {
	if len(body) == 0 {
		return out, false
	}
	switch kind, rest := body[0], body[1:]; {
	case kind == 'X' && len(rest) > 0:
		if decoded, err := hex.AppendDecode(nil, rest); err == nil {
			return append(out, decoded...), true
		}
	case kind == 'Z':
		out = append(append(append(out, d.Escape), body...), d.Escape)
		return out, true
	case len(rest) > 0:
	case kind == 'F':
		return append(out, d.Field), true
	case kind == 'S':
		return append(out, d.Component), true
	case kind == 'R':
		return append(out, d.Repeat), true
	case kind == 'E':
		return append(out, d.Escape), true
	case kind == 'H', kind == 'N':
		return out, true
	}
	return out, false
}
