package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"labagent/queue"
	"labagent/sandbox"
)

// listening is a network that remembers what credentials cross it.
type listening struct {
	http.RoundTripper
	mu     sync.Mutex
	tokens map[string]bool
}

func (l *listening) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, token, found := strings.Cut(r.Header.Get("Authorization"), " "); found {
		l.mu.Lock()
		l.tokens[token] = true
		l.mu.Unlock()
	}
	return l.RoundTripper.RoundTrip(r)
}

// TestCanaries: whatever goes wrong, what is told about it to logs, health, metrics, status and alarms holds no patient
// data, no secret and no token.
func TestCanaries(t *testing.T) {
	const person, number, specimen, remark = "KANARIENVOGEL", "7561234567897", "4711004711", "CANTATPERAMOENE"
	canaries := []string{person, number, specimen, remark, "98.7654", "Kanarienvogel"}
	message := "H|\\^&|||Hema^1^A1||||||||1|20000101000000\rP|1|" + number + "||" + number + "|" + person + "^Tweety||19710804|F\r" +
		"O|1|" + specimen + "||^^^CBC|R\rR|1|^^^WBC|98.7654|10*3/uL||N||F||||20000101000000\rC|1|I|" + remark + "|G\r" +
		"R|2|^^^NEW|98.7654|g/dL||N||F||||20000101000000\rL|1|N\r"
	message2 := `MSH|^~\&|XA|LAB|LIS|HOSP|20000101000000||ORU^R01|M1|P|2.3.1` + "\rPID|1||" + number + "||" + person + "^Tweety\r" +
		"OBR|1||" + specimen + "|GLU\rOBX|1|NM|GLU^Glucose||98.7654|mmol/L||N|||F|||20000101000000\rNTE|1||" + remark + "\r"

	onDisk(t, func(b *bubble, d *disk) {
		b.stop()
		ears := &listening{RoundTripper: b.out.network, tokens: map[string]bool{}}
		b.out.network = ears
		for i := range b.cfg.Analyzers {
			b.cfg.Analyzers[i].Patient.From = []string{"P.3", "PID-3.1"}[i]
			b.cfg.Analyzers[i].Patient.System = "urn:patients"
		}
		b.start()
		hema, chem := b.dial("hema"), b.dial("chem")
		look := func() {
			t.Helper()
			_, health := b.health("/healthz")
			_, metrics := b.health("/metrics")
			snapshot, err := json.Marshal(b.board.Snapshot(version))
			if err != nil {
				t.Fatal(err)
			}
			secrets := append([]string{b.cfg.Auth.ClientSecret.Reveal(), b.cfg.Auth.ClientSecret.Reveal()[:20]}, canaries...)
			for token := range ears.tokens {
				secrets = append(secrets, token)
			}
			for place, text := range map[string]string{
				"log": b.log.String(), "health": health, "metrics": metrics, "status": string(snapshot), "alarm": b.bells.String(),
				"config": fmt.Sprintf("%+v %#v", b.cfg, b.cfg),
			} {
				for _, secret := range secrets {
					if place == "config" && secret != secrets[0] {
						continue
					}
					if at := strings.Index(text, secret); at >= 0 {
						t.Errorf("%s in the %s: ...%s", secret, place, text[max(0, at-200):at+len(secret)])
					}
				}
			}
		}

		// All goes well, but for a test that is held, and what is held is released.
		hema.astm(message)
		chem.hl7(message2)
		if len(b.observations()) != 2 || len(ears.tokens) != 1 {
			t.Fatalf("%d Observations, %d tokens", len(b.observations()), len(ears.tokens))
		}
		b.command("POST", fmt.Sprintf("/queue/%d/release", b.only(queue.Held).ID), releasing{By: "ann", Why: remark}, nil)
		look()

		// The wire: bad sums, torn sessions, noise, blocks that are no message.
		hema.send(enq + strings.Replace(frame(1, message), "WBC", "WBD", 1) + eot + enq + frame(1, message[:200]) + eot + message + enq + frame(1, "H|\r"+message+"L|1\r") + eot)
		chem.send(message2 + vt + message2[:120] + vt + message2 + fs + vt + person + "|" + number + fs + vt + "MSH|^~\\&|" + person + "||||2000||" + remark + fs)
		chem.close()
		hema.close()
		b.after(10 * time.Minute)
		look()

		// The disk refuses.
		hema, chem = b.dial("hema"), b.dial("chem")
		d.set(func(d *disk) { d.fail = fmt.Errorf("write queue.db: no space left") })
		hema.send(enq + frame(1, message) + eot)
		chem.send(vt + message2 + fs)
		b.after(time.Minute)
		d.set(func(d *disk) { d.fail = nil })
		b.after(time.Minute)
		hema.answer()
		chem.answer()
		look()

		// The server answers in words of ours.
		refusal := `Invalid value "98.7654" for ` + number + ` of '` + person + `' (` + remark + `) specimen ` + specimen
		for i, f := range []sandbox.Failure{
			{Status: 400, Code: "structure", Text: refusal, Expression: "Observation." + remark + "['" + person + "']"},
			{Status: 400, Code: "invalid", Text: refusal},
			{Status: 422, Code: "processing", Text: refusal, Expression: person},
			{Status: 403, Code: "forbidden", Text: refusal},
			{Status: 500, Code: "exception", Text: refusal},
			{Status: 302, Code: person, Text: refusal},
		} {
			b.poison("", f)
			hema.astm(strings.Replace(message, "98.7654", fmt.Sprintf("98.7654%d", i), 1))
			b.after(25 * time.Minute)
			b.server.Switch(func(s *sandbox.Switches) { s.Fail = nil })
			b.after(10 * time.Minute)
		}
		look()

		// Another value stands on the server, and then the token dies and our secret is wrong.
		for _, text := range b.server.Resources("Observation") {
			if _, err := b.server.Put([]byte(strings.Replace(string(text), "98.7654", "97.7654", 1))); err != nil {
				t.Fatal(err)
			}
		}
		hema.astm(message)
		b.server.DropTokens()
		b.server.Change(b.cfg.Auth.ClientID, func(c *sandbox.Client) { c.Secret = "another" })
		chem.hl7(strings.Replace(message2, "98.7654", "98.76549", 1))
		b.after(time.Hour)
		look()
		if !strings.Contains(b.log.String(), "differs") && !strings.Contains(b.log.String(), "something else under the identity") {
			t.Error("what stands on the server did not differ")
		}
		b.stop()
		look()
	})
}
