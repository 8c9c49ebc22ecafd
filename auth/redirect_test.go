package auth

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// Wherever a redirect points, over real sockets, not one byte arrives there: no secret, no token, no patient.
func TestRedirectsCarryNothing(t *testing.T) {
	elsewhere, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	var connections atomic.Int32
	go func() {
		for {
			conn, err := elsewhere.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			conn.Close()
		}
	}()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for name, location := range map[string]string{
			"another host": "http://" + elsewhere.Addr().String() + "/oauth2/token", "the same host": "/elsewhere", "itself": "",
		} {
			for _, method := range []string{"client_credentials", "basic"} {
				for _, at := range []string{"/oauth2/token", "/fhir/R4/Observation"} {
					if method == "basic" && at == "/oauth2/token" {
						continue
					}
					t.Run(fmt.Sprintf("%d from %s to %s, %s", status, at, name, method), func(t *testing.T) {
						var followed, asked atomic.Int32
						server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							switch r.URL.Path {
							case at:
								asked.Add(1)
								to := location
								if to == "" {
									to = at
								}
								w.Header().Set("Location", to)
								w.WriteHeader(status)
							case "/oauth2/token":
								w.Header().Set("Content-Type", "application/json")
								io.WriteString(w, granted)
							default:
								followed.Add(1)
							}
						}))
						defer server.Close()
						h, err := Client(Config{Method: method, ClientID: testID, Secret: func() (string, error) { return testSecret, nil }, Server: server.URL, BasicFallback: method != "basic"})
						if err != nil {
							t.Fatal(err)
						}
						defer h.CloseIdleConnections()
						resp, err := h.Post(server.URL+"/fhir/R4/Observation", "application/fhir+json", strings.NewReader("a patient"))
						if err == nil {
							resp.Body.Close()
							if resp.StatusCode != status {
								t.Errorf("got %d, want the %d itself", resp.StatusCode, status)
							}
						}
						if asked.Load() != 1 || followed.Load() != 0 {
							t.Errorf("asked %d times, followed %d, want once and never", asked.Load(), followed.Load())
						}
					})
				}
			}
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections reached another host", n)
	}
}
