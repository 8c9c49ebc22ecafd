package filing

// What may be said of a result's status, in the words of FHIR's observation-status.
const (
	Registered     = "registered"
	Partial        = "partial" // of sheets
	Preliminary    = "preliminary"
	Final          = "final"
	Amended        = "amended"
	Corrected      = "corrected"
	Cancelled      = "cancelled"
	EnteredInError = "entered-in-error"
	Unknown        = "unknown"
)

// astmStatus is what R.9 says (LIS02-A2 10.1.9). R, sent before, is what it was: final. M, N and Q say what kind of result it
// is, not how it stands.
var astmStatus = map[string]string{
	"F": Final, "V": Final, "R": Final,
	"P": Preliminary, "S": Preliminary, "W": Preliminary,
	"C": Corrected, "X": Cancelled, "I": Registered,
}

// hl7Status is what OBX-11 says (table 0085). U changes a status to final, B and V are final with a remark; D and W take the
// result back. N, not asked for, has no value and will have none.
var hl7Status = map[string]string{
	"F": Final, "U": Final, "B": Final, "V": Final,
	"P": Preliminary, "R": Preliminary, "S": Preliminary,
	"C": Corrected, "A": Amended,
	"D": EnteredInError, "W": EnteredInError,
	"X": Cancelled, "N": Cancelled, "I": Registered, "O": Registered,
}

// standing is what may be said of a result: the analyzer's own word under release as_sent; else nothing that claims a release
// (rules 3). A result taken back, cancelled or only announced claims none, and stays what it is. A missing or unknown status
// is never final.
func standing(protocol, status string, asSent bool) string {
	table := hl7Status
	if protocol == "ASTM" {
		table = astmStatus
	}
	said, known := table[status]
	if !known {
		said = Unknown
	}
	if asSent || said == EnteredInError || said == Cancelled || said == Registered {
		return said
	}
	return Preliminary
}

// doubtful tells whether the analyzer itself doubts a result, which no status of FHIR says.
func doubtful(protocol, status string) bool { return protocol == "ASTM" && status == "W" }

// Standing is what may be said of the sheet that lists these results while others are held: the worst of its members and of
// the order's own status (O.26, OBR-25). Without a release it is partial (rules 3), and so it is while anything is held, of a
// message torn off (rules 10), and where the order's own status is missing.
func (p *Part) Standing(listed []Result, held int) string {
	if !p.AsSent || held > 0 || p.Incomplete || len(listed) == 0 {
		return Partial
	}
	count := map[string]int{}
	for _, r := range listed {
		count[r.Standing]++
	}
	switch all := len(listed); {
	case count[EnteredInError] == all:
		return EnteredInError
	case count[Cancelled] == all:
		return Cancelled
	case count[Final]+count[Corrected]+count[Amended]+count[Cancelled] < all:
		return Partial
	}
	switch p.Status {
	case "C":
		return Corrected
	case "P":
		return Preliminary
	case "F":
		if count[Corrected]+count[Amended] > 0 {
			return Corrected
		}
		return Final
	}
	return Partial
}
