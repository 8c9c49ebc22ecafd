package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// DataDir is where the queue and control.json stand unless queue.dir says otherwise.
func DataDir() string {
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("ProgramData"), "labagent", "data")
	}
	return "/var/lib/labagent"
}

// DefaultPath is where the configuration is looked for when --config is not given.
func DefaultPath() string {
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("ProgramData"), "labagent", "config.yaml")
	}
	return "/etc/labagent/config.yaml"
}

// Validate finds all faults at once. It looks at the values alone: no file, port or server is touched. What a path, a
// code list or a specimen rule means is checked by the rooms that use it.
func (cfg *Config) Validate() Faults {
	c := &checker{cfg: cfg}
	c.server()
	c.deliver()
	if len(cfg.Analyzers) == 0 {
		c.fault("analyzers", "no analyzer is configured")
	}
	names := map[string]bool{}
	places := map[string]string{}
	for i := range cfg.Analyzers {
		c.analyzer(fmt.Sprintf("analyzers[%d]", i), &cfg.Analyzers[i], names, places)
	}
	if cfg.Queue.MaxSize < 16<<20 {
		c.fault("queue.max_size", "at least 16MiB, or a single batch of results may not fit")
	}
	if cfg.Alarm.Every < Duration(time.Minute) {
		c.fault("alarm.every", "at least 1m")
	}
	if cfg.Alarm.Webhook != "" {
		c.webURL("alarm.webhook", cfg.Alarm.Webhook)
	}
	if cfg.Status.Listen != "off" {
		c.hostPort("status.listen", cfg.Status.Listen)
	}
	c.oneOf("log.level", cfg.Log.Level, "debug", "info", "warn", "error")
	c.oneOf("log.format", cfg.Log.Format, "text", "json")
	return c.faults
}

// Fault makes a fault of this configuration at path, with its line.
func (cfg *Config) Fault(path, format string, args ...any) Fault {
	line := 0
	for p := path; p != "" && line == 0; p = parent(p) {
		line = cfg.lines[p]
	}
	return Fault{Line: line, Path: path, Problem: fmt.Sprintf(format, args...)}
}

// parent is the path one step up: the line of a missing key is that of the block it is missing from.
func parent(path string) string {
	if at := strings.LastIndexAny(path, ".["); at > 0 {
		return path[:at]
	}
	return ""
}

type checker struct {
	cfg    *Config
	faults Faults
}

func (c *checker) fault(path, format string, args ...any) {
	c.faults = append(c.faults, c.cfg.Fault(path, format, args...))
}

func (c *checker) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.fault(path, "%q is none of %s", value, strings.Join(allowed, ", "))
	}
}

func (c *checker) server() {
	s, a := &c.cfg.Server, &c.cfg.Auth
	if s.URL == "" {
		c.fault("server.url", "missing: the base URL of the Medplum server, such as https://api.medplum.com/")
	} else {
		c.webURL("server.url", s.URL)
	}
	if s.Proxy != "" {
		if u, err := url.Parse(s.Proxy); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			c.fault("server.proxy", "not a URL such as http://proxy.example:3128")
		}
	}
	if s.Timeout < Duration(time.Second) || s.Timeout > Duration(5*time.Minute) {
		c.fault("server.timeout", "between 1s and 5m")
	}
	c.auth(a)
}

// auth looks whether what the method needs is there, and nothing that it would pass over in silence. No secret at all is no
// fault: it may be sealed, or come from systemd.
func (c *checker) auth(a *Auth) {
	c.oneOf("auth.method", a.Method, "client_credentials", "private_key_jwt", "basic")
	if a.ClientID == "" {
		c.fault("auth.client_id", "missing: the id of the ClientApplication on the server")
	}
	switch jwt := a.Method == "private_key_jwt"; {
	case jwt && a.PrivateKeyFile == "":
		c.fault("auth.private_key_file", "missing: the key that signs; labagent auth keygen makes one")
	case jwt && (!a.ClientSecret.Empty() || a.ClientSecretFile != ""):
		c.fault("auth.client_secret_file", "private_key_jwt uses no secret; take it away")
	case !jwt && a.PrivateKeyFile != "":
		c.fault("auth.private_key_file", "only private_key_jwt uses it, and auth.method is %s", a.Method)
	}
	if !a.ClientSecret.Empty() && a.ClientSecretFile != "" {
		c.fault("auth.client_secret_file", "give one of client_secret_file, client_secret and LABAGENT_AUTH_CLIENT_SECRET")
	}
	if (a.CertificateFile == "") != (a.CertificateKeyFile == "") {
		c.fault("auth.certificate_file", "certificate_file and certificate_key_file go together")
	}
	c.oneOf("auth.basic_fallback", a.BasicFallback, "never", "if_unsupported")
	if a.BasicFallback == "if_unsupported" && a.Method != "client_credentials" {
		c.fault("auth.basic_fallback", "only client_credentials can fall back to Basic, and auth.method is %s", a.Method)
	}
	if a.TokenURL != "" {
		c.webURL("auth.token_url", a.TokenURL)
	}
}

// webURL wants https, or http on this machine: a secret or a result never crosses a wire in clear.
func (c *checker) webURL(path, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		c.fault(path, "not a URL such as https://medplum.example/")
	case u.User != nil:
		c.fault(path, "no user or password in a URL")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		c.fault(path, "http is allowed on this machine only; use https")
	}
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

func (c *checker) hostPort(path, text string) {
	if _, port, err := net.SplitHostPort(text); err != nil || port == "" {
		c.fault(path, "%q is not host:port", text)
	}
}

var tag = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:[^|\s,$\\]+\|[^|\s,$\\]+$`)

func (c *checker) deliver() {
	d := &c.cfg.Deliver
	if d.Tag == "" {
		c.fault("deliver.tag", "missing: system|code that marks all this agent creates, such as urn:labagent|lab-7")
	} else if !tag.MatchString(d.Tag) {
		c.fault("deliver.tag", "%q is not system|code, such as urn:labagent|lab-7", d.Tag)
	}
	c.oneOf("deliver.unmapped", d.Unmapped, "hold", "deliver")
	c.oneOf("deliver.report", d.Report, "sheet", "none")
}

var name = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func (c *checker) analyzer(path string, a *Analyzer, names map[string]bool, places map[string]string) {
	switch {
	case a.Name == "":
		c.fault(path+".name", "missing: it is part of the identity of every result, such as hematology-1")
	case !name.MatchString(a.Name):
		c.fault(path+".name", "%q: small letters, digits and hyphens only, at most 63", a.Name)
	case names[a.Name]:
		c.fault(path+".name", "%q is given twice", a.Name)
	}
	names[a.Name] = true
	c.oneOf(path+".protocol", a.Protocol, "astm", "hl7")
	if a.Timezone == "" {
		c.fault(path+".timezone", "missing: the zone of the analyzer's clock, such as Europe/Zurich")
	} else if _, err := time.LoadLocation(a.Timezone); err != nil || a.Timezone == "Local" {
		c.fault(path+".timezone", "%q is no zone of the IANA list, such as Europe/Zurich", a.Timezone)
	}
	if a.Release != "" {
		c.oneOf(path+".release", a.Release, "unverified", "as_sent")
	}
	if (a.Serial == nil) == (a.TCP == nil) {
		c.fault(path, "give exactly one of serial and tcp")
	}
	if a.Serial != nil {
		c.serial(path+".serial", a.Serial, places)
	}
	if a.TCP != nil {
		c.tcp(path+".tcp", a.TCP, places)
	}
	c.regexp(path+".specimen.pattern", a.Specimen.Pattern)
	for i, pattern := range a.Specimen.QC {
		c.regexp(fmt.Sprintf("%s.specimen.qc[%d]", path, i), pattern)
	}
	if (a.Patient.From == "") != (a.Patient.System == "") {
		c.fault(path+".patient", "from and system belong together")
	}
	for i, r := range a.QC {
		at := fmt.Sprintf("%s.qc[%d]", path, i)
		given := 0
		for _, v := range []string{r.Equals, r.Prefix, r.Regexp} {
			if v != "" {
				given++
			}
		}
		if r.Field == "" || given != 1 {
			c.fault(at, "give field and exactly one of equals, prefix and regexp")
		}
		c.regexp(at+".regexp", r.Regexp)
	}
	for i, code := range a.Codes {
		at := fmt.Sprintf("%s.codes[%d]", path, i)
		if code.Code == "" {
			c.fault(at+".code", "missing: the analyzer's own test code")
		}
		if code.As != "" {
			c.oneOf(at+".as", code.As, "result", "component", "note", "ignore")
		}
	}
	if a.Quirks.MaxMessage > 256<<20 {
		c.fault(path+".quirks.max_message", "at most 256MiB")
	}
}

func (c *checker) regexp(path, pattern string) {
	if _, err := regexp.Compile(pattern); err != nil {
		c.fault(path, "%v", err)
	}
}

func (c *checker) serial(path string, s *Serial, places map[string]string) {
	if s.Port == "" {
		c.fault(path+".port", "missing: the port, such as /dev/ttyUSB0 or COM3")
	}
	c.place(path+".port", s.Port, places)
	for _, d := range []struct {
		key     string
		value   any
		allowed []any
	}{
		{"baud", s.Baud, []any{0, 300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200}},
		{"data_bits", s.DataBits, []any{0, 7, 8}},
		{"parity", s.Parity, []any{"", "none", "odd", "even"}},
		{"stop_bits", s.StopBits, []any{0, 1, 2}},
	} {
		if !slices.Contains(d.allowed, d.value) {
			c.fault(path+"."+d.key, "%v is none of %v", d.value, d.allowed[1:])
		}
	}
}

func (c *checker) tcp(path string, t *TCP, places map[string]string) {
	if (t.Listen == "") == (t.Dial == "") {
		c.fault(path, "give exactly one of listen and dial")
		return
	}
	if t.Dial != "" {
		c.hostPort(path+".dial", t.Dial)
		if len(t.Allow) > 0 {
			c.fault(path+".allow", "belongs to listen; a dialled analyzer is named by its address")
		}
		return
	}
	c.hostPort(path+".listen", t.Listen)
	c.place(path+".listen", t.Listen, places)
	for i, network := range t.Allow {
		if _, err := netip.ParsePrefix(network); err != nil {
			c.fault(fmt.Sprintf("%s.allow[%d]", path, i), "%q is no network such as 10.1.2.0/24", network)
		}
	}
	if host, _, err := net.SplitHostPort(t.Listen); err == nil && len(t.Allow) == 0 && !loopback(host) {
		c.fault(path+".allow", "missing: beyond this machine the networks that may connect must be named, such as [10.1.2.0/24]")
	}
}

// place refuses a port or address that another analyzer has.
func (c *checker) place(path, place string, places map[string]string) {
	if other, taken := places[place]; taken && place != "" {
		c.fault(path, "%s is already used by %s", place, other)
	}
	places[place] = path
}
