# labagent. What the tests need beside Go is installed by scripts/need.sh, from Debian's packages.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
FUZZTIME ?= 5s
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: build demo test test-medplum lint bench fuzz soak clean

build: ## the binary, in bin/
	CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)" -o bin/labagent ./cmd/agent

demo: build ## the main job on this machine: analyzers, a failing server, nothing lost, nothing doubled
	bin/labagent demo --once

test: ## everything but the long runs
	scripts/need.sh
	go vet ./...
	GOOS=windows go vet ./...
	go test -race -timeout 20m ./...
	$(MAKE) fuzz

test-medplum: ## the flows against the real server that LABAGENT_TEST_URL names
	go test -count=1 -run Medplum -v ./cmd/agent

lint: ## form, vet and staticcheck, for Linux and Windows
	@test -z "$$(gofmt -l .)" || { echo "gofmt is wanted for:"; gofmt -l .; exit 1; }
	go mod tidy -diff
	go vet ./...
	GOOS=windows go vet ./...
	GOBIN=$(CURDIR)/bin go install $(STATICCHECK)
	bin/staticcheck ./...
	GOOS=windows bin/staticcheck -tests=false ./...

bench: ## one line a figure, BENCH name value unit; fails when a figure misses its target
	@LABAGENT_BENCH=1 go test -count=1 -p 1 -timeout 20m -run '^TestBench' -v ./... > bench.out 2>&1; code=$$?; \
	grep '^BENCH ' bench.out; [ $$code = 0 ] || grep -B3 -A3 -e '--- FAIL' bench.out >&2; rm -f bench.out; exit $$code

fuzz: ## every fuzz target, FUZZTIME each
	scripts/fuzz.sh $(FUZZTIME)

soak: ## 1,000 kill cycles and a minute of each fuzz target
	scripts/need.sh
	LABAGENT_KILLS=1000 go test -count=1 -timeout 3h -run Kill -v ./cmd/agent
	$(MAKE) fuzz FUZZTIME=60s

clean:
	rm -rf bin dist bench.out
