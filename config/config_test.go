package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

const minimal = `server: {url: "https://medplum.example/"}
auth: {client_id: agent, client_secret: hush}
deliver: {tag: "urn:labagent|lab-7"}
analyzers:
  - name: hematology-1
    protocol: astm
    serial: {port: /dev/ttyUSB0}
    timezone: Europe/Zurich
`

func example(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// withoutRequired blanks what has no default, so that the rest can be held against Default().
func withoutRequired(cfg Config) Config {
	cfg.Server.URL, cfg.Auth.ClientID, cfg.Auth.ClientSecretFile, cfg.Deliver.Tag = "", "", "", ""
	cfg.Analyzers, cfg.lines = nil, nil
	if len(cfg.Alarm.Command) == 0 {
		cfg.Alarm.Command = nil
	}
	return cfg
}

func TestExampleShowsTheDefaults(t *testing.T) {
	text := example(t)
	// A commented default is "# key: value"; prose lines have no colon after their first word, and blocks whose example
	// values are not defaults (tcp, patient, qc, quirks) stay comments.
	commented := regexp.MustCompile(`(?m)^( *)# ([a-z_]+: .*)$`)
	uncommented := commented.ReplaceAllStringFunc(text, func(line string) string {
		m := commented.FindStringSubmatch(line)
		switch key, _, _ := strings.Cut(m[2], ":"); key {
		case "tcp", "patient", "qc", "quirks", "client_secret":
			return line
		}
		return m[1] + m[2]
	})
	if text == uncommented {
		t.Fatal("nothing was uncommented")
	}
	for name, text := range map[string]string{"as it is": text, "defaults uncommented": uncommented} {
		cfg, err := Read("config.example.yaml", []byte(text), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := withoutRequired(cfg); !reflect.DeepEqual(got, withoutRequired(Default())) {
			t.Errorf("%s: differs from Default():\n%+v\n%+v", name, got, Default())
		}
	}
}

func TestExampleNamesEveryKey(t *testing.T) {
	text := example(t)
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for i := range typ.NumField() {
			if key := typ.Field(i).Tag.Get("yaml"); key != "" {
				if !regexp.MustCompile(`\b` + key + `\b`).MatchString(text) {
					t.Errorf("config.example.yaml does not mention %s.%s", typ.Name(), key)
				}
				walk(typ.Field(i).Type)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}

func TestFaultsNameLineAndKey(t *testing.T) {
	for _, test := range []struct{ name, old, new, want string }{
		{"typo", "timezone:", "timezome:", "c.yaml:8: timezome: unknown key, did you mean timezone?"},
		{"typo in a block", "{url:", "{ulr:", "c.yaml:1: ulr: unknown key, did you mean url?"},
		{"duration without a unit", `/"}`, `/", timeout: 15}`, `c.yaml:1: a duration needs a unit: "15", did you mean 15s?`},
		{"duration out of range", `/"}`, `/", timeout: 10ms}`, "c.yaml:1: server.timeout: between 1s and 5m"},
		{"wrong type", "port: /dev/ttyUSB0", "port: /dev/ttyUSB0, baud: fast", "c.yaml:7: a number is wanted here, not a text"},
		{"list for text", "protocol: astm", "protocol: [astm]", "c.yaml:6: analyzers[0].protocol: a text is wanted here, not a list"},
		{"unknown protocol", "protocol: astm", "protocol: poct", `c.yaml:6: analyzers[0].protocol: "poct" is none of astm, hl7`},
		{"no zone", "Europe/Zurich", "Middle/Earth", `c.yaml:8: analyzers[0].timezone: "Middle/Earth" is no zone`},
		{"odd baud", "port: /dev/ttyUSB0", "port: /dev/ttyUSB0, baud: 9601", "c.yaml:7: analyzers[0].serial.baud: 9601 is none of"},
		{"clear http", "https:", "http:", "c.yaml:1: server.url: http is allowed on this machine only"},
		{"missing key", "client_id: agent, ", "", "c.yaml:2: auth.client_id: missing"},
		{"two secrets", "hush", "hush, client_secret_file: /s", "auth.client_secret_file: give one of"},
		{"no key to sign with", "client_secret: hush", "method: private_key_jwt", "c.yaml:2: auth.private_key_file: missing"},
		{"a secret beside a key", "client_secret: hush", "client_secret: hush, method: private_key_jwt, private_key_file: /k", "uses no secret"},
		{"a key for nothing", "client_secret: hush", "client_secret: hush, private_key_file: /k", "auth.private_key_file: only private_key_jwt"},
		{"half a certificate", "client_secret: hush", "client_secret: hush, certificate_file: /c", "go together"},
		{"neither true nor false", "client_secret: hush", "client_secret: hush, require_minimal: perhaps", "c.yaml:2: a true or false is wanted here, not a text"},
		{"unknown fallback", "client_secret: hush", "client_secret: hush, basic_fallback: always", `auth.basic_fallback: "always" is none of never, if_unsupported`},
		{"fallback from basic", "client_secret: hush", "method: basic, basic_fallback: if_unsupported", "auth.basic_fallback: only client_credentials"},
		{"proxy of another kind", `/"}`, `/", proxy: "socks5://p.example:1080"}`, "c.yaml:1: server.proxy: not a URL such as"},
		{"bad tag", "urn:labagent|lab-7", "lab-7", "deliver.tag"},
		{"open listener", "serial: {port: /dev/ttyUSB0}", `tcp: {listen: "0.0.0.0:5000"}`, "c.yaml:7: analyzers[0].tcp.allow: missing"},
		{"two lines", "timezone:", `tcp: {dial: "10.0.0.1:1"}` + "\n    timezone:", "give exactly one of serial and tcp"},
		{"bad pattern", "timezone:", "specimen: {pattern: '['}\n    timezone:", "analyzers[0].specimen.pattern: error parsing regexp"},
		{"no analyzer", minimal[strings.Index(minimal, "analyzers:"):], "", "analyzers: no analyzer is configured"},
		{"second document", "server:", "---\nserver: {}\n---\nserver:", "more than one YAML document"},
		{"broken yaml", "protocol: astm", "protocol: {", "c.yaml:"},
	} {
		text := strings.Replace(minimal, test.old, test.new, 1)
		if text == minimal {
			t.Fatalf("%s: changes nothing", test.name)
		}
		_, err := Read("c.yaml", []byte(text), nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s:\n got %v\nwant %s", test.name, err, test.want)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	text := strings.NewReplacer("astm", "x", "Zurich", "Nowhere", "hematology-1", "Hematology 1").Replace(minimal)
	_, err := Read("c.yaml", []byte(text), nil)
	var faults Faults
	if !errors.As(err, &faults) || len(faults) != 3 {
		t.Fatalf("want three faults, got %v", err)
	}
	for i, line := range []int{5, 6, 8} {
		if faults[i].Line != line {
			t.Errorf("fault %d at line %d, want %d: %v", i, faults[i].Line, line, faults[i])
		}
	}
}

// What a general reader of YAML does to a laboratory's texts, this one must not do.
func TestTextsStayAsWritten(t *testing.T) {
	text := strings.NewReplacer("client_id: agent", "client_id: 0123", "client_secret: hush", "client_secret: 12345e10").Replace(minimal) +
		"    codes:\n      - {code: WBC, loinc: 1-1}\n      - {code: wbc, loinc: 1-2}\n      - {code: 0123}\n      - {code: 1.20}\n"
	cfg, err := Read("c.yaml", []byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Auth.ClientID != "0123" || cfg.Auth.ClientSecret.Reveal() != "12345e10" {
		t.Errorf("client id %q, secret %q", cfg.Auth.ClientID, cfg.Auth.ClientSecret.Reveal())
	}
	var codes []string
	for _, code := range cfg.Analyzers[0].Codes {
		codes = append(codes, code.Code)
	}
	if got := fmt.Sprint(codes); got != "[WBC wbc 0123 1.20]" {
		t.Errorf("codes %s", got)
	}
}

func TestPrecedence(t *testing.T) {
	for key, value := range Default().samples() {
		env := "LABAGENT_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
		t.Run(key, func(t *testing.T) {
			t.Setenv(env, value[0])
			fromEnv := Default()
			if faults := layer(&fromEnv, nil); len(faults) > 0 {
				t.Fatal(faults)
			}
			fromFlag := Default()
			if faults := layer(&fromFlag, map[string]string{key: value[1]}); len(faults) > 0 {
				t.Fatal(faults)
			}
			if got := show(fromEnv, key); got != value[0] {
				t.Errorf("%s=%s gave %s", env, value[0], got)
			}
			if got := show(fromFlag, key); got != value[1] {
				t.Errorf("--set %s=%s over the environment gave %s", key, value[1], got)
			}
		})
	}
}

// samples gives each scalar key two values, the first other than its default.
func (cfg Config) samples() map[string][2]string {
	all := map[string][2]string{}
	for key, v := range cfg.scalars() {
		switch v.Interface().(type) {
		case Duration:
			all[key] = [2]string{"2m0s", "3d"}
		case Size:
			all[key] = [2]string{"32MiB", "1GiB"}
		case bool:
			all[key] = [2]string{"true", "false"}
		default:
			all[key] = [2]string{"0123", "value"}
		}
	}
	return all
}

func show(cfg Config, key string) string {
	v := cfg.scalars()[key].Interface()
	if s, ok := v.(Secret); ok {
		return s.Reveal()
	}
	return fmt.Sprint(v)
}

func TestUnknownSettingIsAFault(t *testing.T) {
	_, err := Read("c.yaml", []byte(minimal), map[string]string{"server.ulr": "x"})
	if err == nil || !strings.Contains(err.Error(), "server.ulr: unknown key, did you mean server.url?") {
		t.Errorf("got %v", err)
	}
	t.Setenv("LABAGENT_SERVER_TIMEOUT", "30")
	_, err = Read("c.yaml", []byte(minimal), nil)
	if err == nil || !strings.Contains(err.Error(), "server.timeout: a duration needs a unit") {
		t.Errorf("got %v", err)
	}
}

func TestSecretNeverShows(t *testing.T) {
	const canary = "canary-4711"
	type holder struct{ secret Secret }
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, v := range []any{NewSecret(canary), holder{NewSecret(canary)}, &holder{NewSecret(canary)}} {
			if out := fmt.Sprintf(verb, v); strings.Contains(out, canary) || strings.Contains(out, fmt.Sprintf("%x", canary)) {
				t.Errorf("%s of %T shows the secret", verb, v)
			}
		}
	}
	// A secret in the wrong place must not come back in a message either.
	text := strings.Replace(minimal, "{client_id: agent, client_secret: hush}", "["+canary+"]", 1)
	if _, err := Read("c.yaml", []byte(text), nil); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("got %v", err)
	}
}

func TestDurationAndSizeReadWhatTheyWrite(t *testing.T) {
	for _, text := range []string{"500ms", "30s", "10m0s", "8h0m0s", "2d", "90d"} {
		d, err := ParseDuration(text)
		if err != nil || d.String() != text {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	if d, _ := ParseDuration("90d"); time.Duration(d) != 90*24*time.Hour {
		t.Errorf("90d is %v", time.Duration(d))
	}
	for _, text := range []string{"512KiB", "64MiB", "4GiB", "1TiB"} {
		if s, err := ParseSize(text); err != nil || s.String() != text {
			t.Errorf("%s: %v, %v", text, s, err)
		}
	}
	for _, text := range []string{"15", "0", "-3s", "1.5", "x", "4GB", "99999999999d"} {
		if _, err := ParseDuration(text); err == nil && text != "x" {
			t.Errorf("duration %q was taken", text)
		}
		if _, err := ParseSize(text); err == nil {
			t.Errorf("size %q was taken", text)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("server: {url: ["))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Read("c.yaml", data, nil)
		if err == nil && len(cfg.Analyzers) == 0 {
			t.Error("a configuration without analyzers was taken")
		}
	})
}
