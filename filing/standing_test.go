package filing

import "testing"

// Filing rules 3: nothing is released by an analyzer's F alone, and a missing status is never final.
func TestStanding(t *testing.T) {
	for _, c := range []struct{ protocol, status, asSent, unverified string }{
		{"HL7", "F", Final, Preliminary}, {"HL7", "P", Preliminary, Preliminary}, {"HL7", "C", Corrected, Preliminary},
		{"HL7", "A", Amended, Preliminary}, {"HL7", "D", EnteredInError, EnteredInError}, {"HL7", "W", EnteredInError, EnteredInError},
		{"HL7", "X", Cancelled, Cancelled}, {"HL7", "N", Cancelled, Cancelled}, {"HL7", "R", Preliminary, Preliminary},
		{"HL7", "S", Preliminary, Preliminary}, {"HL7", "I", Registered, Registered}, {"HL7", "O", Registered, Registered},
		{"HL7", "U", Final, Preliminary}, {"HL7", "B", Final, Preliminary}, {"HL7", "V", Final, Preliminary},
		{"HL7", "", Unknown, Preliminary}, {"HL7", "?", Unknown, Preliminary},
		{"ASTM", "F", Final, Preliminary}, {"ASTM", "V", Final, Preliminary}, {"ASTM", "R", Final, Preliminary},
		{"ASTM", "P", Preliminary, Preliminary}, {"ASTM", "S", Preliminary, Preliminary}, {"ASTM", "W", Preliminary, Preliminary},
		{"ASTM", "C", Corrected, Preliminary}, {"ASTM", "X", Cancelled, Cancelled}, {"ASTM", "I", Registered, Registered},
		{"ASTM", "", Unknown, Preliminary}, {"ASTM", "M", Unknown, Preliminary}, {"ASTM", "Q", Unknown, Preliminary},
	} {
		if got := standing(c.protocol, c.status, true); got != c.asSent {
			t.Errorf("%s %q as sent: %s, want %s", c.protocol, c.status, got, c.asSent)
		}
		if got := standing(c.protocol, c.status, false); got != c.unverified {
			t.Errorf("%s %q unverified: %s, want %s", c.protocol, c.status, got, c.unverified)
		}
	}
}

func TestSheetStanding(t *testing.T) {
	for _, c := range []struct {
		name    string
		order   string
		members []string
		held    int
		torn    bool
		asSent  bool
		want    string
	}{
		{"unverified", "F", []string{Final}, 0, false, false, Partial},
		{"all final", "F", []string{Final, Final}, 0, false, true, Final},
		{"something held", "F", []string{Final}, 1, false, true, Partial},
		{"torn off", "F", []string{Final}, 0, true, true, Partial},
		{"no status of the order", "", []string{Final}, 0, false, true, Partial},
		{"a preliminary member", "F", []string{Final, Preliminary}, 0, false, true, Partial},
		{"a member of unknown status", "F", []string{Final, Unknown}, 0, false, true, Partial},
		{"a corrected member", "F", []string{Final, Corrected}, 0, false, true, Corrected},
		{"a corrected order", "C", []string{Final}, 0, false, true, Corrected},
		{"a preliminary order", "P", []string{Final}, 0, false, true, Preliminary},
		{"a cancelled member among final ones", "F", []string{Final, Cancelled}, 0, false, true, Final},
		{"all cancelled", "X", []string{Cancelled}, 0, false, true, Cancelled},
		{"all taken back", "F", []string{EnteredInError}, 0, false, true, EnteredInError},
		{"one taken back", "F", []string{Final, EnteredInError}, 0, false, true, Partial},
		{"nothing listed", "F", nil, 0, false, true, Partial},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Part{AsSent: c.asSent, Incomplete: c.torn}
			p.Status = c.order
			var listed []Result
			for _, s := range c.members {
				listed = append(listed, Result{Standing: s})
			}
			if got := p.Standing(listed, c.held); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
