package hl7

import "bytes"

// Message is one message, an index over its bytes as received. Fields are counted from 1 as the standard counts them; what
// is not there is nil, what is empty has no bytes. All bytes it gives are as sent and part of the text that was parsed: see
// Message.Text for their meaning.
type Message struct {
	Separators Separators
	Segments   []Segment
	Charset    string // the name the text is read by: the one given to ParseAs, else that of MSH-18

	text   []byte
	mask   []byte  // text with the characters of several bytes covered; text itself where nothing hides
	starts []int32 // of each field of each segment, the name being the first
}

// Segment is one segment of a message.
type Segment struct {
	message *Message
	first   int32 // of its fields in message.starts
	count   int32 // of its fields, with the name
	end     int32 // in message.text
	header  bool  // the field separator after the name is a field of its own, HL7 2.5.1 2.15.9.1
}

// Name is the segment's name, "OBX".
func (s Segment) Name() string { return string(s.split(0)) }

// Is tells whether the segment has this name.
func (s Segment) Is(name string) bool { return string(s.split(0)) == name }

// Fields is the number of the last field that was sent.
func (s Segment) Fields() int {
	if s.header {
		return int(s.count)
	}
	return int(s.count) - 1
}

// Field gives field n with all its repetitions. MSH-1 is the field separator itself.
func (s Segment) Field(n int) []byte {
	from, to, there := s.bounds(n)
	if !there {
		return nil
	}
	return s.message.text[from:to]
}

// Repeats is how often field n is there: 0 when it was not sent or is empty.
func (s Segment) Repeats(n int) int {
	from, to, there := s.bounds(n)
	if !there || from == to {
		return 0
	}
	if s.declares(n) || s.message.Separators.Repeat == 0 {
		return 1
	}
	return 1 + bytes.Count(s.message.mask[from:to], []byte{s.message.Separators.Repeat})
}

// Repeat gives repetition rep of field n.
func (s Segment) Repeat(n, rep int) []byte {
	from, to, there := s.repeat(n, rep)
	if !there {
		return nil
	}
	return s.message.text[from:to]
}

// Components is the number of components of repetition rep of field n: 0 when it was not sent or is empty.
func (s Segment) Components(n, rep int) int {
	from, to, there := s.repeat(n, rep)
	if !there || from == to {
		return 0
	}
	if s.declares(n) || s.message.Separators.Component == 0 {
		return 1
	}
	return 1 + bytes.Count(s.message.mask[from:to], []byte{s.message.Separators.Component})
}

// Component gives component comp of repetition rep of field n.
func (s Segment) Component(n, rep, comp int) []byte {
	from, to, there := s.component(n, rep, comp)
	if !there {
		return nil
	}
	return s.message.text[from:to]
}

// Sub gives subcomponent sub of component comp of repetition rep of field n.
func (s Segment) Sub(n, rep, comp, sub int) []byte {
	from, to, there := s.component(n, rep, comp)
	if !there {
		return nil
	}
	if from, to, there = s.part(n, from, to, s.message.Separators.Sub, sub); !there {
		return nil
	}
	return s.message.text[from:to]
}

// AllRepeats gives every repetition of field n, as Repeat does one by one.
func (s Segment) AllRepeats(n int) [][]byte {
	from, to, there := s.bounds(n)
	if !there || from == to {
		return nil
	}
	return s.cut(n, from, to, s.message.Separators.Repeat, func(from, to int) []byte { return s.message.text[from:to] })
}

// Divide gives the components of every repetition of field n, as Component does one by one; a repetition without bytes has
// none.
func (s Segment) Divide(n int) [][][]byte {
	from, to, there := s.bounds(n)
	if !there || from == to {
		return nil
	}
	var repeats [][][]byte
	s.cut(n, from, to, s.message.Separators.Repeat, func(from, to int) []byte {
		var components [][]byte
		if from < to {
			components = s.cut(n, from, to, s.message.Separators.Component, func(from, to int) []byte { return s.message.text[from:to] })
		}
		repeats = append(repeats, components)
		return nil
	})
	return repeats
}

// cut calls take for every part between separators, in one pass, and gives what it gave.
func (s Segment) cut(n, from, to int, separator byte, take func(from, to int) []byte) (parts [][]byte) {
	for separator != 0 && !s.declares(n) {
		at := bytes.IndexByte(s.message.mask[from:to], separator)
		if at < 0 {
			break
		}
		parts = append(parts, take(from, from+at))
		from += at + 1
	}
	return append(parts, take(from, to))
}

// declares tells whether field n holds the separators themselves and is not divided by them.
func (s Segment) declares(n int) bool { return n <= 2 && s.header }

// split gives what stands between the separators, the name being 0.
func (s Segment) split(i int) []byte {
	from, to := s.between(i)
	return s.message.text[from:to]
}

func (s Segment) between(i int) (from, to int) {
	starts := s.message.starts[s.first : s.first+s.count]
	if i+1 < len(starts) {
		return int(starts[i]), int(starts[i+1]) - 1
	}
	return int(starts[i]), int(s.end)
}

func (s Segment) bounds(n int) (from, to int, there bool) {
	if s.header {
		if n == 1 {
			_, to = s.between(0)
			return to, to + 1, true
		}
		n--
	}
	if n < 1 || n >= int(s.count) {
		return 0, 0, false
	}
	from, to = s.between(n)
	return from, to, true
}

func (s Segment) repeat(n, rep int) (from, to int, there bool) {
	if from, to, there = s.bounds(n); !there {
		return 0, 0, false
	}
	return s.part(n, from, to, s.message.Separators.Repeat, rep)
}

func (s Segment) component(n, rep, comp int) (from, to int, there bool) {
	if from, to, there = s.repeat(n, rep); !there {
		return 0, 0, false
	}
	return s.part(n, from, to, s.message.Separators.Component, comp)
}

// part narrows from and to down to part i, counted from 1, between separators.
func (s Segment) part(n, from, to int, separator byte, i int) (int, int, bool) {
	if i < 1 {
		return 0, 0, false
	}
	if separator == 0 || s.declares(n) {
		return from, to, i == 1
	}
	mask := s.message.mask
	for ; i > 1; i-- {
		at := bytes.IndexByte(mask[from:to], separator)
		if at < 0 {
			return 0, 0, false
		}
		from += at + 1
	}
	if at := bytes.IndexByte(mask[from:to], separator); at >= 0 {
		to = from + at
	}
	return from, to, true
}
