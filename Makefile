# make test    every test, with the race detector, on SQLite and PostgreSQL
# make check   generated code, format, lint, each module alone, known vulnerabilities
# make help    the rest
SHELL := /bin/bash
.DEFAULT_GOAL := help
MODULES := proto webhook platform employee-svc notifier bank-svc hirewire e2e
TOOLS := $(CURDIR)/.cache/tools
GOLANGCI_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.8.0
export GOTOOLCHAIN := local

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: demo
demo: ## All services and three banks in one process
	go run ./hirewire demo

.PHONY: build
build: ## The four programs, into bin/
	CGO_ENABLED=0 go build -trimpath -o bin/ ./employee-svc/cmd/employee-svc ./notifier/cmd/notifier ./bank-svc/cmd/bank-svc ./hirewire

.PHONY: test
test: ## Every test, -race, on both engines; finds or starts PostgreSQL
	go run ./e2e/cmd/withpostgres -- $(MAKE) --no-print-directory test-parts test-wholes

.PHONY: test-parts test-wholes
test-parts:
	go test -race -shuffle=on -timeout 20m $(patsubst %,./%/...,$(filter-out e2e,$(MODULES)))

# Whole stacks, one package at a time: they keep limits of time, and would take it from each other.
test-wholes:
	go test -race -shuffle=on -timeout 20m -p 1 ./e2e/...

.PHONY: test-sqlite
test-sqlite: ## What needs nothing but Go
	go test work

.PHONY: test-compose
test-compose: ## docker-compose.yml for real: needs Docker with Compose
	go test -count=1 -v -timeout 30m -run TestCompose ./e2e/compose -compose

.PHONY: test-faults
test-faults: ## The long fault campaigns
	go run ./e2e/cmd/withpostgres -- go test -count=1 -v -timeout 3h ./e2e/faults -kills 10000

.PHONY: fuzz
fuzz: ## Each fuzz target for FUZZTIME (default 30s)
	@for m in $(MODULES); do (cd $$m && for pkg in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$f" && go test -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-30s} $$pkg || exit 1; done; done) || exit 1; done

.PHONY: bench
bench: ## Go benchmarks of the pieces, on both engines
	go run ./e2e/cmd/withpostgres -durable -- go test -run '^$$' -bench . -benchmem work

.PHONY: generate
generate: ## The code that is made from proto/
	cd proto && ./generate

.PHONY: fmt
fmt: $(TOOLS)/golangci-lint ## Format everything
	@for m in $(MODULES); do (cd $$m && $(TOOLS)/golangci-lint fmt ./...) || exit 1; done

.PHONY: check
check: check-generated check-format lint check-modules check-vulnerabilities ## All that CI checks besides the tests

.PHONY: check-generated
check-generated:
	cd proto && ./generate
	@git diff --exit-code -- proto || { echo "generated code is not current: make generate, and commit"; exit 1; }
	@test -z "$$(git status --porcelain -- proto)" || { git status --short -- proto; echo "generated files are not committed"; exit 1; }

.PHONY: check-format
check-format: $(TOOLS)/golangci-lint
	@for m in $(MODULES); do (cd $$m && $(TOOLS)/golangci-lint fmt --diff ./...) || exit 1; done

.PHONY: lint
lint: $(TOOLS)/golangci-lint
	@for m in $(MODULES); do echo "lint $$m"; (cd $$m && $(TOOLS)/golangci-lint run ./...) || exit 1; done

.PHONY: check-modules
check-modules: # Each module builds without the workspace, with a tidy go.mod
	@for m in $(MODULES); do echo "build $$m alone"; (cd $$m && GOWORK=off go build ./... && GOWORK=off go vet ./... && GOWORK=off go mod tidy -diff) || exit 1; done

.PHONY: check-vulnerabilities
check-vulnerabilities: $(TOOLS)/govulncheck
	@for m in $(MODULES); do (cd $$m && out=$$(GOWORK=off $(TOOLS)/govulncheck $${GOVULNDB:+-db $$GOVULNDB} ./... 2>&1); code=$$?; \
	  if [ $$code != 0 ] && grep -q 'fetching vulnerabilities' <<<"$$out"; then \
	    echo "NOT CHECKED: $$m for known vulnerabilities: the database cannot be reached from here (GOVULNDB names another)"; \
	  elif [ $$code != 0 ]; then echo "$$out"; exit 1; else echo "$$m: no known vulnerabilities"; fi) || exit 1; done

$(TOOLS)/golangci-lint:
	GOWORK=off GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

$(TOOLS)/govulncheck:
	GOWORK=off GOBIN=$(TOOLS) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
