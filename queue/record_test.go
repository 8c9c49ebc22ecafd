package queue

import (
	"bytes"
	"reflect"
	"testing"

	"labagent/lab"
)

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	for name, r := range map[string]record{
		"full": {mark: lab.More, sequence: 1 << 40, first: 7, previous: 99, number: 3, offset: 1 << 20, received: 1700000000000000001,
			analyzer: "xn-1000", protocol: "astm", quirks: []string{"no-cr", "checksum"}, text: []byte("R|1|^^^WBC|5.1\r")},
		"bare":  {mark: lab.Broken, sequence: 1, first: 1},
		"bytes": {mark: lab.Whole, sequence: 2, first: 2, analyzer: "\xff\x00", text: bytes.Repeat([]byte{0, 0xff}, 5000)},
	} {
		t.Run(name, func(t *testing.T) {
			value := r.append([]byte("behind something"))[len("behind something"):]
			got, err := parseRecord(r.sequence, value)
			must(t, err)
			if !got.intact() {
				t.Error("not intact")
			}
			got.checksum, got.summable = 0, nil
			if len(got.text) == 0 {
				got.text = nil
			}
			if !reflect.DeepEqual(got, r) {
				t.Errorf("got %+v\nwant %+v", got, r)
			}
			if _, err := parseRecord(r.sequence+1, value); err != errDamaged {
				t.Errorf("under another key: %v", err)
			}
			for i := range value {
				value[i] ^= 0x40
				if got, err := parseRecord(r.sequence, value); err == nil && got.intact() {
					t.Errorf("byte %d may be changed", i)
				}
				value[i] ^= 0x40
			}
			for i := range min(len(value), 200) {
				if got, err := parseRecord(r.sequence, value[:i]); err == nil && got.intact() {
					t.Errorf("may be cut to %d bytes", i)
				}
			}
		})
	}
}

func FuzzRecord(f *testing.F) {
	r := record{mark: lab.Whole, sequence: 5, first: 4, previous: 4, analyzer: "xn", quirks: []string{"noise"}, text: []byte("text")}
	f.Add(r.append(nil))
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := parseRecord(5, value)
		if err != nil || !r.intact() {
			return
		}
		again, err := parseRecord(5, r.append(nil))
		if err != nil || !bytes.Equal(again.text, r.text) || again.analyzer != r.analyzer {
			t.Errorf("%+v was written as %+v, %v", r, again, err)
		}
	})
}
