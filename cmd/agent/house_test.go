package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// house says which rooms each room may enter. What is not listed may not be imported, so that an arrow that is new is a
// decision and not an accident.
var house = map[string][]string{
	"lab":       {},
	"astm":      {},
	"charset":   {},
	"hl7":       {"charset"},
	"dialect":   {"lab", "astm", "hl7", "charset"},
	"filing":    {"lab"},
	"fhir":      {"lab", "filing"},
	"driver":    {"lab"},
	"queue":     {"lab"},
	"auth":      {},
	"upload":    {"lab", "filing", "fhir", "queue"},
	"status":    {"lab"},
	"config":    {},
	"sandbox":   {},
	"talk":      {},
	"talktest":  {"talk"},
	"simulate":  {"astm", "hl7", "talk"},
	"bench":     {}, // nothing but tests
	"cmd/agent": {"astm", "auth", "charset", "config", "dialect", "driver", "fhir", "filing", "hl7", "lab", "queue", "sandbox", "simulate", "status", "upload"},
}

// doors says through which room each outside module comes in; golang.org/x/sys is the system itself and exempt.
var doors = map[string]string{
	"github.com/prometheus/client_golang": "status",
	"github.com/spf13/cobra":              "cmd/agent",
	"github.com/spf13/viper":              "config",
	"go.bug.st/serial":                    "driver",
	"go.etcd.io/bbolt":                    "queue",
	"go.yaml.in/yaml/v3":                  "config",
	"golang.org/x/oauth2":                 "auth",
	"golang.org/x/text":                   "charset",
}

// forbidden are packages of the standard library that would make a room do what is not its job.
var forbidden = map[string][]string{
	"astm":   {"net", "os", "log/slog"},
	"hl7":    {"net", "os", "log/slog"},
	"lab":    {"net", "os", "log/slog", "fmt"},
	"driver": {"net/http"},
}

// linkedModules is how many outside modules the binary may link.
const linkedModules = 28

func goList(t *testing.T, env []string, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestRoomsEnterOnlyWhatTheyMay(t *testing.T) {
	for _, system := range []string{"GOOS=linux", "GOOS=windows"} {
		for _, line := range goList(t, []string{system}, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "labagent/...") {
			words := strings.Fields(line)
			room := strings.TrimPrefix(words[0], "labagent/")
			allowed, known := house[room]
			if !known {
				t.Errorf("room %s is not in the house", room)
				continue
			}
			for _, path := range words[1:] {
				switch inside, ours := strings.CutPrefix(path, "labagent/"); {
				case ours && !slices.Contains(allowed, inside):
					t.Errorf("%s: %s imports %s", system, room, inside)
				case !ours && slices.Contains(forbidden[room], path):
					t.Errorf("%s: %s imports %s", system, room, path)
				case !ours && strings.Contains(strings.SplitN(path, "/", 2)[0], ".") && !strings.HasPrefix(path, "golang.org/x/sys/"):
					if door := doorOf(path); door != room {
						t.Errorf("%s: %s imports %s, whose door is %q", system, room, path, door)
					}
				}
			}
		}
	}
}

func doorOf(path string) string {
	for module, door := range doors {
		if path == module || strings.HasPrefix(path, module+"/") {
			return door
		}
	}
	return ""
}

func TestFewModulesAreLinked(t *testing.T) {
	for _, system := range []string{"GOOS=linux", "GOOS=windows"} {
		modules := goList(t, []string{system, "CGO_ENABLED=0"}, "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "labagent/cmd/agent")
		slices.Sort(modules)
		modules = slices.DeleteFunc(slices.Compact(modules), func(m string) bool { return m == "" || m == "labagent" })
		if len(modules) > linkedModules {
			t.Errorf("%s: %d modules are linked, at most %d: %v", system, len(modules), linkedModules, modules)
		}
		t.Logf("%s: %d modules are linked", system, len(modules))
	}
}
