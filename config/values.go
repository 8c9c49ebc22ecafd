package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Duration is a length of time with a unit: 500ms, 30s, 10m, 8h, 90d. A number without a unit is refused.
type Duration time.Duration

var days = regexp.MustCompile(`^(\d+)d$`)

// ParseDuration reads a duration; a d is a day of 24 hours.
func ParseDuration(s string) (Duration, error) {
	if m := days.FindStringSubmatch(s); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n > 36500 {
			return 0, fmt.Errorf("%q is too long", s)
		}
		return Duration(time.Duration(n) * 24 * time.Hour), nil
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return 0, fmt.Errorf("a duration needs a unit: %q, did you mean %ss?", s, s)
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration; write 500ms, 30s, 10m, 8h or 90d", s)
	}
	return Duration(d), nil
}

// String writes whole days as d, so that what is printed can be read again.
func (d Duration) String() string {
	if t := time.Duration(d); t >= 48*time.Hour && t%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", t/(24*time.Hour))
	}
	return time.Duration(d).String()
}

// UnmarshalYAML reads a duration from a scalar.
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	return scalar(node, d, ParseDuration)
}

// MarshalYAML writes what UnmarshalYAML reads.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// Size is a number of bytes with a unit: 512KiB, 64MiB, 4GiB.
type Size int64

var size = regexp.MustCompile(`^(\d{1,9})(KiB|MiB|GiB|TiB)$`)

// ParseSize reads a size.
func ParseSize(s string) (Size, error) {
	m := size.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is no size; write 512KiB, 64MiB or 4GiB", s)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, err
	}
	shift := map[string]uint{"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[m[2]]
	if n > (1<<62)>>shift {
		return 0, fmt.Errorf("%q is too large", s)
	}
	return Size(n << shift), nil
}

// String writes the size in its largest whole unit.
func (s Size) String() string {
	for _, u := range []struct {
		shift uint
		name  string
	}{{40, "TiB"}, {30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if s != 0 && int64(s)%(1<<u.shift) == 0 {
			return fmt.Sprintf("%d%s", int64(s)>>u.shift, u.name)
		}
	}
	return fmt.Sprintf("%dKiB", int64(s)>>10)
}

// UnmarshalYAML reads a size from a scalar.
func (s *Size) UnmarshalYAML(node *yaml.Node) error { return scalar(node, s, ParseSize) }

// MarshalYAML writes what UnmarshalYAML reads.
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }

// Secret is a text that shows itself to nobody. It holds a pointer, because a plain string type still leaks through fmt
// when it stands in an unexported field.
type Secret struct{ text *string }

// NewSecret wraps a text; an empty one is no secret.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{&s}
}

// Reveal is the text itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty tells that there is no secret.
func (s Secret) Empty() bool { return s.text == nil }

// String shows only that there is a secret.
func (s Secret) String() string {
	if s.Empty() {
		return ""
	}
	return "[secret]"
}

// UnmarshalYAML takes the text as it stands, quoted or not.
func (s *Secret) UnmarshalYAML(node *yaml.Node) error {
	return scalar(node, s, func(text string) (Secret, error) { return NewSecret(text), nil })
}

// MarshalYAML shows only that there is a secret.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// scalar decodes a scalar node by parse, or says in which line it is wrong. The empty scalar means "as if not there".
func scalar[T any](node *yaml.Node, into *T, parse func(string) (T, error)) error {
	if node.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: one value is wanted here, not a list or a block", node.Line)
	}
	if node.Tag == "!!null" || strings.TrimSpace(node.Value) == "" {
		return nil
	}
	v, err := parse(node.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	*into = v
	return nil
}
