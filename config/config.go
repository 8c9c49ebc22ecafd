// Package config turns a YAML file, the environment and flags into one checked struct.
//
// The file is decoded once, strictly, by yaml/v3: an unknown key, a wrong type or a duration without a unit is a Fault that
// names line and key. viper only layers LABAGENT_<PATH> and flags over the scalar keys, as strings that pass the same
// checks, because viper alone would lower-case test codes, read 0123 as 83 and 15 as nanoseconds, and drop typos.
// config.example.yaml at the top of the project is the manual of every key.
package config

import "time"

// Config is the whole configuration. Its zero value is not usable; begin with Default.
type Config struct {
	Server    Server     `yaml:"server"`
	Auth      Auth       `yaml:"auth"`
	Deliver   Deliver    `yaml:"deliver"`
	Analyzers []Analyzer `yaml:"analyzers"`
	Queue     Queue      `yaml:"queue"`
	Alarm     Alarm      `yaml:"alarm"`
	Status    Status     `yaml:"status"`
	Log       Log        `yaml:"log"`

	lines map[string]int // where each key stands in the file, for faults
}

// Server is the Medplum server results go to.
type Server struct {
	URL     string   `yaml:"url"`     // base URL; FHIR is <url>/fhir/R4
	CAFile  string   `yaml:"ca_file"` // PEM, added to the system's roots
	Proxy   string   `yaml:"proxy"`   // http://user@host:port; empty: the environment's
	Timeout Duration `yaml:"timeout"` // of one request, 1s to 5m
}

// Auth is how the agent is let in.
type Auth struct {
	Method             string `yaml:"method"` // client_credentials, private_key_jwt or basic
	ClientID           string `yaml:"client_id"`
	ClientSecret       Secret `yaml:"client_secret"`
	ClientSecretFile   string `yaml:"client_secret_file"`
	PrivateKeyFile     string `yaml:"private_key_file"`     // PEM, for private_key_jwt
	CertificateFile    string `yaml:"certificate_file"`     // PEM, shown to a server that asks for one
	CertificateKeyFile string `yaml:"certificate_key_file"` // PEM
	TokenURL           string `yaml:"token_url"`            // empty: <server.url>/oauth2/token
	Scope              string `yaml:"scope"`
	BasicFallback      string `yaml:"basic_fallback"`  // never or if_unsupported
	RequireMinimal     bool   `yaml:"require_minimal"` // deliver nothing while our rights are too wide
}

// Deliver rules what is created on the server.
type Deliver struct {
	Tag      string `yaml:"tag"`      // system|code, on everything we create
	Unmapped string `yaml:"unmapped"` // hold or deliver, result by result
	Report   string `yaml:"report"`   // sheet or none
}

// Analyzer is one analyzer, its line and the meaning of its bytes. Name is part of the identity of its results.
type Analyzer struct {
	Name     string   `yaml:"name"`
	Label    string   `yaml:"label"`
	Protocol string   `yaml:"protocol"` // astm or hl7
	Serial   *Serial  `yaml:"serial"`
	TCP      *TCP     `yaml:"tcp"`
	Timezone string   `yaml:"timezone"` // IANA name
	Encoding string   `yaml:"encoding"` // empty: latin-1 for astm, from-message for hl7
	Release  string   `yaml:"release"`  // unverified or as_sent; empty: unverified
	Specimen Specimen `yaml:"specimen"`
	Patient  Patient  `yaml:"patient"`
	QC       []Rule   `yaml:"qc"`
	Codes    []Code   `yaml:"codes"`
	Quirks   Quirks   `yaml:"quirks"`
}

// Serial is a serial line.
type Serial struct {
	Port     string `yaml:"port"`
	Baud     int    `yaml:"baud"`      // 300 to 115200
	DataBits int    `yaml:"data_bits"` // 7 or 8
	Parity   string `yaml:"parity"`    // none, odd, even
	StopBits int    `yaml:"stop_bits"` // 1 or 2
}

// TCP is a network line: labagent listens, or it dials.
type TCP struct {
	Listen string   `yaml:"listen"` // host:port
	Allow  []string `yaml:"allow"`  // networks that may connect; required beyond loopback
	Dial   string   `yaml:"dial"`   // host:port of an analyzer that listens
}

// Specimen says where the specimen's id stands and what it must look like.
type Specimen struct {
	From    []string `yaml:"from"`    // field paths; empty: the protocol's usual places
	Pattern string   `yaml:"pattern"` // regular expression of a patient specimen's id; empty: any
	QC      []string `yaml:"qc"`      // regular expressions of control ids
}

// Patient says where the patient's id stands; empty: no subject is taken from the wire.
type Patient struct {
	From   string `yaml:"from"`
	System string `yaml:"system"`
}

// Rule marks quality control: exactly one of Equals, Prefix and Regexp.
type Rule struct {
	Field  string `yaml:"field"`
	Equals string `yaml:"equals"`
	Prefix string `yaml:"prefix"`
	Regexp string `yaml:"regexp"`
}

// Code says what one of the analyzer's test codes means.
type Code struct {
	Code    string `yaml:"code"`
	Aspect  string `yaml:"aspect"`
	Unit    string `yaml:"unit"` // the unit the analyzer must send
	LOINC   string `yaml:"loinc"`
	Display string `yaml:"display"`
	UCUM    string `yaml:"ucum"`
	As      string `yaml:"as"`    // result, component, note or ignore; empty: result
	Trust   bool   `yaml:"trust"` // a LOINC the analyzer sends itself counts
}

// Quirks are deviations of one analyzer from its standard. Zero means the standard.
type Quirks struct {
	ReceiveTimeout Duration `yaml:"receive_timeout"` // astm: instead of the 30 s of LIS01-A2; hl7: longest message, 60 s
	MaxMessage     Size     `yaml:"max_message"`     // 16MiB
}

// Queue is the disk in the middle.
type Queue struct {
	Dir           string   `yaml:"dir"`            // empty: DataDir()
	MaxSize       Size     `yaml:"max_size"`       // of what is undelivered
	KeepDelivered Duration `yaml:"keep_delivered"` // at most; gives way first
}

// Alarm is who is told when something needs a person.
type Alarm struct {
	Command []string `yaml:"command"` // program and arguments
	Webhook string   `yaml:"webhook"` // URL that gets a POST
	Every   Duration `yaml:"every"`   // repeated until acknowledged
}

// Status is the local listener for health and metrics.
type Status struct {
	Listen string `yaml:"listen"` // host:port, or off
}

// Log is what is written about the work.
type Log struct {
	Level    string   `yaml:"level"`     // debug, info, warn, error
	Format   string   `yaml:"format"`    // text or json
	WireFile string   `yaml:"wire_file"` // every byte of every line; holds patient data
	WireKeep Duration `yaml:"wire_keep"`
}

// Default is the configuration of an empty file.
func Default() Config {
	return Config{
		Server:  Server{Timeout: Duration(30 * time.Second)},
		Auth:    Auth{Method: "client_credentials", BasicFallback: "never"},
		Deliver: Deliver{Unmapped: "hold", Report: "sheet"},
		Queue:   Queue{MaxSize: 4 << 30, KeepDelivered: Duration(90 * 24 * time.Hour)},
		Alarm:   Alarm{Every: Duration(time.Hour)},
		Status:  Status{Listen: "127.0.0.1:8787"},
		Log:     Log{Level: "info", Format: "text", WireKeep: Duration(7 * 24 * time.Hour)},
	}
}
