package filing

import (
	"slices"
	"strings"
)

// join puts components and notes to the results they belong to. One that finds no result stands as a result of its own:
// nothing is dropped.
//
// An Observation goes out whole or not at all. Its identity is that of its result alone, so a component that came after it
// would never be seen again; a held component therefore holds its result.
func join(lines []Result, lifted func(line Result, hold string) bool) []Result {
	owner := make([]int, len(lines)) // index of the line each belongs to, -1: it stands alone
	for i, line := range lines {
		owner[i] = -1
		if line.As != AsResult {
			owner[i] = ownerOf(lines, i)
		}
	}
	for i, line := range lines {
		if owner[i] < 0 {
			continue
		}
		main := &lines[owner[i]]
		if line.As == AsNote {
			main.Remarks = append(main.Remarks, sentence(line))
			continue
		}
		if line.Hold != "" && main.Hold == "" && !lifted(*main, line.Hold) {
			main.Hold = line.Hold
		}
		line.Hold = ""
		main.Components = append(main.Components, line)
	}
	var results []Result
	for i, line := range lines {
		if owner[i] < 0 {
			line.As = AsResult
			results = append(results, line)
		}
	}
	return results
}

// ownerOf finds the result a component or note belongs to: of the same code and run, else of the same code, else any; before
// it, else behind it.
func ownerOf(lines []Result, at int) int {
	line := lines[at]
	same := func(other Result) bool { return bare(other.Test.Code) == bare(line.Test.Code) }
	for _, fits := range []func(Result) bool{
		func(other Result) bool { return same(other) && other.Run == line.Run },
		same,
		func(Result) bool { return true },
	} {
		for i := at - 1; i >= 0; i-- {
			if lines[i].As == AsResult && fits(lines[i]) {
				return i
			}
		}
		for i := at + 1; i < len(lines); i++ {
			if lines[i].As == AsResult && fits(lines[i]) {
				return i
			}
		}
	}
	return -1
}

// sentence writes a line as a note.
func sentence(line Result) string {
	name := line.Test.Text
	if name == "" {
		name = line.Test.Code
	}
	if line.Aspect != "" {
		name += " (" + line.Aspect + ")"
	}
	text := strings.TrimSpace(name + ": " + strings.TrimSpace(line.Value.Raw+" "+line.Unit))
	for _, more := range slices.Concat(line.Flags, line.Notes, line.Remarks) {
		text += "; " + more
	}
	return text
}
