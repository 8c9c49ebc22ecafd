package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// Fault is one thing wrong with a configuration.
type Fault struct {
	File    string // empty when it came from the environment or a flag
	Line    int    // 0: not in the file
	Path    string // the key, "analyzers[0].serial.port"
	Problem string // what is wrong and what to write instead
}

// Error is the fault in one line: file:line: key: problem.
func (f Fault) Error() string {
	where := f.File
	if f.Line > 0 {
		where += fmt.Sprintf(":%d", f.Line)
	}
	if where != "" {
		where += ": "
	}
	if f.Path != "" {
		where += f.Path + ": "
	}
	return where + f.Problem
}

// Faults is all that is wrong with a configuration, in the order of the file.
type Faults []Fault

// Error is a line a fault.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Load reads the file and layers the environment (LABAGENT_SERVER_URL) and then set ("server.url": "...", from flags) over
// its scalar keys. It returns Faults when anything is wrong, and the system's error when the file cannot be read.
func Load(path string, set map[string]string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	return Read(path, data, set)
}

// Read is Load for bytes already read; file is only for messages.
func Read(file string, data []byte, set map[string]string) (Config, error) {
	cfg := Default()
	faults := decode(data, &cfg)
	cfg.lines = map[string]int{}
	var root yaml.Node
	if yaml.Unmarshal(data, &root) == nil && len(root.Content) > 0 {
		lines(root.Content[0], "", cfg.lines)
	}
	for i := range faults {
		if faults[i].Path == "" {
			faults[i].Path = cfg.keyAt(faults[i].Line)
		}
	}
	faults = append(faults, layer(&cfg, set)...)
	if len(faults) == 0 {
		faults = cfg.Validate()
	}
	for i := range faults {
		if faults[i].Line > 0 {
			faults[i].File = file
		}
	}
	sort.SliceStable(faults, func(i, j int) bool { return faults[i].Line < faults[j].Line })
	if len(faults) > 0 {
		return cfg, faults
	}
	return cfg, nil
}

var (
	typeError  = regexp.MustCompile(`^line (\d+): (.*)$`)
	unknownKey = regexp.MustCompile(`^field (\S+) not found in type config\.(\w+)$`)
	wrongType  = regexp.MustCompile("^cannot unmarshal !!(\\w+) (?:`.*` )?into (\\S+)$")
)

// decode reads the file strictly. yaml/v3 goes on after a fault, so all are found at once.
func decode(data []byte, cfg *Config) Faults {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	err := dec.Decode(cfg)
	if err == nil || errors.Is(err, io.EOF) {
		if dec.Decode(new(yaml.Node)) == nil {
			return Faults{{Problem: "the file holds more than one YAML document; keep one"}}
		}
		return nil
	}
	messages := []string{strings.TrimPrefix(err.Error(), "yaml: ")}
	var many *yaml.TypeError
	if errors.As(err, &many) {
		messages = many.Errors
	}
	var faults Faults
	for _, message := range messages {
		faults = append(faults, explain(message))
	}
	return faults
}

// explain turns a message of yaml/v3 into a fault in our words.
func explain(message string) Fault {
	var f Fault
	if m := typeError.FindStringSubmatch(message); m != nil {
		f.Line, _ = strconv.Atoi(m[1])
		message = m[2]
	}
	f.Problem = message
	if m := unknownKey.FindStringSubmatch(message); m != nil {
		f.Path = m[1]
		f.Problem = "unknown key"
		if near := nearest(m[1], keysOf(m[2])); near != "" {
			f.Problem += fmt.Sprintf(", did you mean %s?", near)
		}
	} else if m := wrongType.FindStringSubmatch(message); m != nil {
		// The value itself is left out: it may be a secret that slipped into the wrong key.
		f.Problem = fmt.Sprintf("a %s is wanted here, not a %s", plain(m[2]), plain(m[1]))
	}
	return f
}

// plain names a type for people.
func plain(name string) string {
	name = strings.TrimPrefix(name, "config.")
	switch {
	case name == "str", name == "string":
		return "text"
	case name == "int", name == "float", name == "float64":
		return "number"
	case name == "bool":
		return "true or false"
	case name == "seq", strings.HasPrefix(name, "[]"):
		return "list"
	case name == "map" || strings.ToUpper(name[:1]) == name[:1]:
		return "block of keys"
	}
	return name
}

// keysOf lists the keys of a struct of this package.
func keysOf(name string) []string {
	var keys []string
	var find func(t reflect.Type)
	find = func(t reflect.Type) {
		for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return
		}
		for i := range t.NumField() {
			if key := t.Field(i).Tag.Get("yaml"); key != "" {
				if t.Name() == name {
					keys = append(keys, key)
				}
				find(t.Field(i).Type)
			}
		}
	}
	find(reflect.TypeFor[Config]())
	return keys
}

// nearest is the key that differs from the typo in the fewest letters, if it is near at all.
func nearest(typo string, keys []string) string {
	best, least := "", 2+len(typo)/3
	for _, key := range keys {
		if d := distance(typo, key); d < least {
			best, least = key, d
		}
	}
	return best
}

// distance counts the letters to change, add or drop between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// lines notes the line of every key below node.
func lines(node *yaml.Node, path string, into map[string]int) {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := strings.TrimPrefix(path+"."+node.Content[i].Value, ".")
			into[key] = node.Content[i].Line
			lines(node.Content[i+1], key, into)
		}
	case yaml.SequenceNode:
		for i, child := range node.Content {
			key := fmt.Sprintf("%s[%d]", path, i)
			into[key] = child.Line
			lines(child, key, into)
		}
	}
}

// keyAt is the key that stands on a line, if it is the only one there that holds a value.
func (cfg *Config) keyAt(line int) string {
	var found []string
	for path, at := range cfg.lines {
		if at == line && line > 0 && !strings.HasSuffix(path, "]") {
			found = append(found, path)
		}
	}
	sort.Strings(found)
	for i, path := range found {
		if deepest := found[len(found)-1]; i < len(found)-1 && !strings.HasPrefix(deepest, path) {
			return ""
		}
	}
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

// scalars lists the keys that environment and flags can set, each with its place in cfg.
func (cfg *Config) scalars() map[string]reflect.Value {
	all := map[string]reflect.Value{}
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		_, own := v.Addr().Interface().(yaml.Unmarshaler)
		if own || v.Kind() != reflect.Struct {
			if v.Kind() != reflect.Slice {
				all[path] = v
			}
			return
		}
		for i := range v.NumField() {
			if key := v.Type().Field(i).Tag.Get("yaml"); key != "" {
				walk(strings.TrimPrefix(path+"."+key, "."), v.Field(i))
			}
		}
	}
	walk("", reflect.ValueOf(cfg).Elem())
	return all
}

// Keys lists the scalar keys, sorted; each can also be given as LABAGENT_<PATH> and by --set.
func Keys() []string {
	cfg := Default()
	var keys []string
	for key := range cfg.scalars() {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// layer puts the environment and then set over the scalars of cfg.
func layer(cfg *Config, set map[string]string) Faults {
	scalars := cfg.scalars()
	v := viper.New()
	v.SetEnvPrefix("LABAGENT")
	v.SetEnvKeyReplacer(strings.NewReplacer(".", "_"))
	var faults Faults
	for key := range scalars {
		if err := v.BindEnv(key); err != nil {
			faults = append(faults, Fault{Path: key, Problem: err.Error()})
		}
	}
	for key, value := range set {
		if _, known := scalars[key]; !known {
			problem := "unknown key"
			if near := nearest(key, Keys()); near != "" {
				problem += fmt.Sprintf(", did you mean %s?", near)
			}
			faults = append(faults, Fault{Path: key, Problem: problem})
			continue
		}
		v.Set(key, value)
	}
	for _, key := range Keys() {
		if !v.IsSet(key) {
			continue
		}
		node := yaml.Node{Kind: yaml.ScalarNode, Value: v.GetString(key)}
		if scalars[key].Kind() == reflect.String {
			node.Tag = "!!str"
		}
		if err := node.Decode(scalars[key].Addr().Interface()); err != nil {
			f := explain(strings.TrimPrefix(err.Error(), "yaml: "))
			var many *yaml.TypeError
			if errors.As(err, &many) {
				f = explain(many.Errors[0])
			}
			faults = append(faults, Fault{Path: key, Problem: f.Problem + " (from the environment or a flag)"})
		}
	}
	return faults
}
