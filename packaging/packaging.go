// Package packaging holds what goes out beside the binary and is needed inside it too: the minimal AccessPolicy.
package packaging

import (
	_ "embed"
	"strings"
)

//go:embed access-policy.json
var accessPolicy string

// exampleTag is the tag in access-policy.json.
const exampleTag = "urn:labagent|lab-7"

// AccessPolicy is the least a Medplum server must allow an agent with this delivery tag (system|code): create and search of
// what carries the tag, no reading, no changing, no deleting.
func AccessPolicy(tag string) []byte {
	return []byte(strings.ReplaceAll(accessPolicy, exampleTag, tag))
}
