package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"labagent/astm"
	"labagent/auth"
	"labagent/charset"
	"labagent/config"
	"labagent/dialect"
	"labagent/driver"
	"labagent/fhir"
	"labagent/filing"
	"labagent/hl7"
	"labagent/lab"
	"labagent/queue"
	"labagent/upload"
)

// analyzer is what the config says of one analyzer, in the words of the rooms.
type analyzer struct {
	name, label, protocol string
	dialect               dialect.Dialect
	setup                 dialect.Setup
	rules                 *filing.Rules
	setting               fhir.Setting
	port                  driver.Port
	newTalk               func() driver.Talk
}

// analyzers builds all analyzers of a configuration. What is wrong with one is a fault that names its key.
func analyzers(cfg *config.Config) (map[string]*analyzer, config.Faults) {
	all := map[string]*analyzer{}
	var faults config.Faults
	for i := range cfg.Analyzers {
		at := fmt.Sprintf("analyzers[%d]", i)
		fault := func(key string, err error) { faults = append(faults, cfg.Fault(at+key, "%v", err)) }
		a := newAnalyzer(cfg, &cfg.Analyzers[i], fault)
		all[a.name] = a
	}
	return all, faults
}

func newAnalyzer(cfg *config.Config, c *config.Analyzer, fault func(key string, err error)) *analyzer {
	zone, err := time.LoadLocation(c.Timezone)
	if err != nil {
		fault(".timezone", err)
	}
	a := &analyzer{
		name: c.Name, label: c.Label, protocol: c.Protocol,
		dialect: dialect.Dialects[c.Protocol],
		setup: dialect.Setup{
			Encoding: c.Encoding, Zone: zone, Specimen: c.Specimen.From, SpecimenQC: patterns(c.Specimen.QC), Patient: c.Patient.From,
		},
		rules: &filing.Rules{
			Analyzer: c.Name, AsSent: c.Release == "as_sent", Deliver: cfg.Deliver.Unmapped == "deliver", Zone: zone,
		},
	}
	if c.Specimen.Pattern != "" {
		a.rules.Pattern = regexp.MustCompile(c.Specimen.Pattern) // config has compiled it
	}
	for i, path := range c.Specimen.From {
		if err := dialect.CheckPath(c.Protocol, path); err != nil {
			fault(fmt.Sprintf(".specimen.from[%d]", i), err)
		}
	}
	if c.Patient.From != "" {
		if err := dialect.CheckPath(c.Protocol, c.Patient.From); err != nil {
			fault(".patient.from", err)
		}
	}
	if c.Encoding != "" && c.Encoding != "from-message" && !charset.Known(c.Encoding) {
		fault(".encoding", fmt.Errorf("%q is no known character set, such as latin-1, utf-8, cp1252 or gb18030", c.Encoding))
	}
	for i, r := range c.QC {
		if err := dialect.CheckPath(c.Protocol, r.Field); err != nil {
			fault(fmt.Sprintf(".qc[%d].field", i), err)
		}
		rule := dialect.Rule{Field: r.Field, Equals: r.Equals, Prefix: r.Prefix}
		if r.Regexp != "" {
			rule.Regexp = regexp.MustCompile(r.Regexp)
		}
		a.setup.QC = append(a.setup.QC, rule)
	}
	for _, code := range c.Codes {
		a.rules.Codes = append(a.rules.Codes, filing.Code{
			Code: code.Code, Aspect: code.Aspect, Unit: code.Unit, LOINC: code.LOINC, Display: code.Display, UCUM: code.UCUM,
			As: code.As, Trust: code.Trust,
		})
	}
	for _, err := range a.rules.Check() {
		fault(".codes", err)
	}
	system, code, _ := strings.Cut(cfg.Deliver.Tag, "|")
	a.setting = fhir.Setting{
		Analyzer: c.Name, Label: c.Label, TagSystem: system, TagCode: code, PatientSystem: c.Patient.System,
		NoSheet: cfg.Deliver.Report == "none",
	}
	a.port = port(c)
	a.newTalk = newTalk(c)
	return a
}

func patterns(texts []string) []*regexp.Regexp {
	var list []*regexp.Regexp
	for _, text := range texts {
		list = append(list, regexp.MustCompile(text))
	}
	return list
}

func port(c *config.Analyzer) driver.Port {
	switch {
	case c.Serial != nil:
		s := c.Serial
		return &driver.Serial{Path: s.Port, Baud: s.Baud, DataBits: s.DataBits, Parity: s.Parity, StopBits: s.StopBits}
	case c.TCP != nil && c.TCP.Dial != "":
		return &driver.Dial{Addr: c.TCP.Dial}
	case c.TCP != nil:
		var allow []netip.Prefix
		for _, network := range c.TCP.Allow {
			allow = append(allow, netip.MustParsePrefix(network)) // config has parsed it
		}
		// An ASTM analyzer that was switched off and on comes back on a new connection while the old one seems alive;
		// an HL7 analyzer may hold two on purpose (IHE LAW).
		return &driver.Listen{Addr: c.TCP.Listen, Allow: allow, Replace: c.Protocol == "astm"}
	}
	return nil
}

func newTalk(c *config.Analyzer) func() driver.Talk {
	wait, size := time.Duration(c.Quirks.ReceiveTimeout), int(c.Quirks.MaxMessage)
	if c.Protocol == "hl7" {
		return func() driver.Talk { return hl7.NewMLLP(hl7.Options{Timeout: wait, MaxMessage: size}) }
	}
	return func() driver.Talk {
		return astm.NewLink(astm.Options{Timing: astm.Timing{Receive: wait}, MaxMessage: size})
	}
}

// access is how the server lets us in.
func access(cfg *config.Config) auth.Config {
	c := auth.Config{
		Method: cfg.Auth.Method, ClientID: cfg.Auth.ClientID, PrivateKeyFile: cfg.Auth.PrivateKeyFile,
		BasicFallback: cfg.Auth.BasicFallback == "if_unsupported",
		Server:        cfg.Server.URL, TokenURL: cfg.Auth.TokenURL, Scope: cfg.Auth.Scope,
		CAFile: cfg.Server.CAFile, CertificateFile: cfg.Auth.CertificateFile, CertificateKeyFile: cfg.Auth.CertificateKeyFile,
		Proxy: cfg.Server.Proxy, Timeout: time.Duration(cfg.Server.Timeout),
	}
	if cfg.Auth.Method != "private_key_jwt" {
		places := secretPlaces(cfg)
		c.Secret = func() (string, error) {
			secret, _, err := places.Read()
			return secret, err
		}
	}
	return c
}

// secretPlaces is where the client secret of a configuration may stand.
func secretPlaces(cfg *config.Config) auth.SecretPlaces {
	p := auth.SecretPlaces{File: cfg.Auth.ClientSecretFile, Credentials: os.Getenv("CREDENTIALS_DIRECTORY"), Dir: dataDir(cfg)}
	if !cfg.Auth.ClientSecret.Empty() {
		p.Value = cfg.Auth.ClientSecret.Reveal
	}
	return p
}

// dataDir is where the queue and control.json of a configuration stand.
func dataDir(cfg *config.Config) string {
	if cfg.Queue.Dir != "" {
		return filepath.Clean(cfg.Queue.Dir)
	}
	return config.DataDir()
}

// read reads an item's message. A reader that panics over one strange message keeps neither the agent from starting nor a
// person from looking at it.
func (a *analyzer) read(item *queue.Item) (rep lab.Report, err error) {
	defer unharmed(&err)
	setup := a.setup
	setup.Torn = item.Incomplete
	return a.dialect.Report(item.Text, setup, item.Received)
}

// parts is what filing makes of an item.
func (a *analyzer) parts(item *queue.Item) (parts []filing.Part, err error) {
	defer unharmed(&err)
	rep, err := a.read(item)
	if err != nil {
		return nil, err
	}
	return a.rules.File(rep, upload.Filed(item)), nil
}

// unharmed makes an error of a panic, without what it says: that may be data.
func unharmed(err *error) {
	if recover() != nil {
		*err = errors.New("a fault of labagent in reading it")
	}
}
