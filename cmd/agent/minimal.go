package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"labagent/auth"
	"labagent/fhir"
	"labagent/upload"
)

// lookAgain is how long rights that were found narrow are believed to be so.
const lookAgain = time.Hour

// minimal is the way to the server under auth.require_minimal: nothing is created while our rights are too wide, or such
// that the server leaves data out. The uploader, which alone has it, takes that for our fault: it keeps everything, says so,
// and asks again in minutes.
type minimal struct {
	upload.Server
	check func(context.Context) ([]auth.Finding, error)
	found time.Time // when the rights were last found narrow; zero: they are not known to be
}

// Create looks at the rights when that is due, and creates when they are narrow.
func (m *minimal) Create(ctx context.Context, resources []fhir.Resource) (fhir.Reply, error) {
	if m.found.IsZero() || time.Since(m.found) >= lookAgain {
		m.found = time.Time{}
		if err := m.look(ctx); err != nil {
			return fhir.Reply{}, err
		}
		m.found = time.Now()
	}
	return m.Server.Create(ctx, resources)
}

// look tells what forbids delivery; what is missing the server refuses by itself.
func (m *minimal) look(ctx context.Context) error {
	findings, err := m.check(ctx)
	var e *auth.Error
	if errors.As(err, &e) {
		o := fhir.Outcome{Class: fhir.Weather, Code: "access", Detail: "auth.require_minimal: " + e.Text, Wait: e.Wait}
		if e.Ours {
			o.Class = fhir.OurFault
		}
		return o
	}
	var first string
	n := 0
	for _, f := range findings {
		if f.Kind != auth.Missing {
			if n++; n == 1 {
				first = f.Text
			}
		}
	}
	if n == 0 {
		return nil
	}
	return fhir.Outcome{Class: fhir.OurFault, Code: "access", Detail: fmt.Sprintf(
		"auth.require_minimal: the access policy on the server is too wide: %s (%d in all; labagent policy check lists them)", first, n)}
}
