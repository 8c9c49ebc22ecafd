package sandbox

import "net/http"

// fault is an answer that is not success, on the way to become an OperationOutcome.
type fault struct {
	status      int
	id          string
	code        string
	text        string
	expression  string
	diagnostics string
	detail      string // id of the details, used by resource-cap alone
	untraced    bool   // answered before the request has its tracing ids, and without RateLimit headers
}

func (f *fault) Error() string { return f.text }

func badRequest(text string, expression string) *fault {
	return &fault{status: http.StatusBadRequest, code: "invalid", text: text, expression: expression}
}

func structure(text, expression string) *fault {
	return &fault{status: http.StatusBadRequest, code: "structure", text: text, expression: expression}
}

func forbidden() *fault {
	return &fault{status: http.StatusForbidden, id: "forbidden", code: "forbidden", text: "Forbidden"}
}

func unauthorized() *fault {
	return &fault{status: http.StatusUnauthorized, id: "unauthorized", code: "login", text: "Unauthorized"}
}

func notFound() *fault {
	return &fault{status: http.StatusNotFound, id: "not-found", code: "not-found", text: "Not found"}
}

func gone() *fault {
	return &fault{status: http.StatusGone, id: "gone", code: "deleted", text: "Gone"}
}

func multipleMatches() *fault {
	return &fault{status: http.StatusPreconditionFailed, id: "multiple-matches", code: "multiple-matches", text: "Multiple resources found matching condition"}
}

func preconditionFailed() *fault {
	return &fault{status: http.StatusPreconditionFailed, id: "precondition-failed", code: "processing", text: "Precondition Failed"}
}

func unsupportedMedia() *fault {
	return &fault{status: http.StatusUnsupportedMediaType, id: "unsupported-media-type", code: "not-supported", text: "Unsupported media type"}
}

func conflict() *fault {
	return &fault{status: http.StatusConflict, id: "conflict", code: "conflict", text: "could not serialize access due to read/write dependencies among transactions", detail: "40001"}
}

// databaseDown is what Medplum makes of any exception it does not know: 400, never 5xx.
func databaseDown() *fault {
	return badRequest("connect ECONNREFUSED 127.0.0.1:5432", "")
}

func (f *Failure) fault() *fault {
	return &fault{status: f.Status, code: f.Code, text: f.Text, expression: f.Expression}
}

// outcome is FHIR's OperationOutcome.
type outcome struct {
	ResourceType string      `json:"resourceType"`
	ID           string      `json:"id,omitempty"`
	Issue        []issue     `json:"issue"`
	Extension    []extension `json:"extension,omitempty"`
}

type issue struct {
	Severity    string   `json:"severity"`
	Code        string   `json:"code"`
	Details     details  `json:"details"`
	Diagnostics string   `json:"diagnostics,omitempty"`
	Expression  []string `json:"expression,omitempty"`
}

type details struct {
	ID     string   `json:"id,omitempty"`
	Coding []coding `json:"coding,omitempty"`
	Text   string   `json:"text"`
}

type coding struct {
	Code string `json:"code"`
}

type extension struct {
	URL       string      `json:"url"`
	ValueID   string      `json:"valueId,omitempty"`
	Extension []extension `json:"extension,omitempty"`
}

func (f *fault) outcome() outcome {
	i := issue{Severity: "error", Code: f.code, Details: details{Text: f.text}, Diagnostics: f.diagnostics}
	switch f.code {
	case "conflict":
		i.Details.Coding = []coding{{Code: f.detail}}
	default:
		i.Details.ID = f.detail
	}
	if f.expression != "" {
		i.Expression = []string{f.expression}
	}
	return outcome{ResourceType: "OperationOutcome", ID: f.id, Issue: []issue{i}}
}

func allOK() outcome {
	return informational("ok", "All OK")
}

func created() outcome {
	return informational("created", "Created")
}

func informational(id, text string) outcome {
	i := issue{Severity: "information", Code: "informational", Details: details{Text: text}}
	return outcome{ResourceType: "OperationOutcome", ID: id, Issue: []issue{i}}
}
