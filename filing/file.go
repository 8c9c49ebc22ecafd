package filing

import (
	"strings"
	"time"

	"labagent/lab"
)

// Item is what the queue knows of a message beside its text.
type Item struct {
	Received   time.Time
	Incomplete bool       // the message was torn off, and a person released what had come
	Decisions  []Decision // what persons released
}

// Decision is a person's word that what is held for a reason may go out all the same.
type Decision struct {
	Part   int
	Result int // -1: the part itself
	Reason string
}

// Part is a part as it may be delivered: one specimen, its results, and what is held.
type Part struct {
	lab.Part            // what the message says; the results to deliver are in Results
	Index      int      // the place in the message
	Hold       string   // why the whole part is held; empty: it is not
	Results    []Result // in the order of the message
	Ignored    int      // lines that stay in the raw message: ignored by the code list, images and other bulk
	Accession  string   // what binds the sheets of the specimen
	Protocol   string   // lab.Report.Type
	Sent       lab.Time // when the analyzer says it sent the message
	Received   time.Time
	Incomplete bool // the message was torn off: the sheet is partial
	AsSent     bool // the release rule of the analyzer
}

// Result is a result as it may be delivered: one Observation.
type Result struct {
	lab.Result          // what the message says
	Index      int      // the place in the part
	Slot       string   // the place in the world (urn:labagent:slot)
	Version    string   // this state of it (urn:labagent:observation)
	Hold       string   // why the result is held; empty: it is not
	Standing   string   // the status that may be said, in the words of FHIR's observation-status
	Distinct   string   // the aspect, where the code alone would not tell this result from its neighbours
	LOINC      string   // empty: the raw code alone
	Display    string   // of the LOINC
	UCUM       string   // of the unit; empty: not known
	Components []Result // what belongs to it (as: component)
	As         string   // result or component
	Remarks    []string // lines that became notes (as: note), and what filing has to say about it
}

// File decides about everything a message says. It never fails and never drops a result: what may not go out is held.
func (r *Rules) File(rep lab.Report, item Item) []Part {
	zone := r.Zone
	if zone == nil {
		zone = time.UTC
	}
	lifted := map[Decision]bool{}
	for _, d := range item.Decisions {
		lifted[d] = true
	}
	seen := places{}
	parts := make([]Part, 0, len(rep.Parts))
	for i, p := range rep.Parts {
		part := Part{
			Part: p, Index: i, Hold: r.holdPart(p), Protocol: rep.Type, Sent: rep.Sent, Received: item.Received,
			Accession: accession(p, rep.Sent, item.Received, zone), Incomplete: item.Incomplete, AsSent: r.AsSent,
		}
		if part.Hold == SpecimenID && lifted[Decision{i, -1, SpecimenID}] {
			part.Hold = ""
		}
		several := severalAspects(p.Results)
		var lines []Result
		for j, result := range p.Results {
			line := Result{Result: result, Index: j}
			line.Slot, line.Version = seen.identify(r.Analyzer, result)
			line.Standing = standing(rep.Type, result.Status, r.AsSent)
			if doubtful(rep.Type, result.Status) {
				line.Remarks = append(line.Remarks, "The analyzer doubts this result (status W).")
			}
			r.read(&line, several[bare(result.Test.Code)], func(hold string) bool { return lifted[Decision{i, j, hold}] })
			if line.As == AsIgnore {
				part.Ignored++
				continue
			}
			lines = append(lines, line)
		}
		part.Results = join(lines, func(line Result, hold string) bool { return lifted[Decision{i, line.Index, hold}] })
		if strings.TrimSpace(p.Specimen) == "" {
			unidentify(part.Results)
		}
		parts = append(parts, part)
	}
	return parts
}

// holdPart is why a part is held whoever says otherwise, or until a person does (specimen-id). Quality control comes first:
// a control without an id is a control.
func (r *Rules) holdPart(p lab.Part) string {
	switch id := strings.TrimSpace(p.Specimen); {
	case p.QC != "" || p.Training:
		return QC
	case id == "":
		return NoSpecimen
	case r.Pattern != nil && !r.Pattern.MatchString(id):
		return SpecimenID
	}
	return ""
}

// unidentify takes the identities from results without a specimen: such a one is never hashed (rules 2).
func unidentify(results []Result) {
	for i := range results {
		results[i].Slot, results[i].Version = "", ""
		unidentify(results[i].Components)
	}
}

// Held counts the results of a part that are held.
func (p *Part) Held() int {
	if p.Hold != "" {
		return len(p.Results)
	}
	held := 0
	for _, r := range p.Results {
		if r.Hold != "" {
			held++
		}
	}
	return held
}
