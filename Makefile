# hessdens: make help lists the targets.

GO ?= go
FUZZTIME ?= 30s
PKG ?= ./...

.DEFAULT_GOAL := help
.PHONY: help build test lint generate bench race purego exact-large calibrate kill-test mutate test-onnx fuzz ci clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  %-12s %s\n", $$1, $$2}'

build: ## build bin/hessdens, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/hessdens ./cmd/hessdens

test: ## run all tests (PKG=./internal/lanczos for one package)
	$(GO) test -timeout 10m $(PKG)

lint: ## run the linter, which also holds the import rule
	.ci/run lint

generate: ## write the generated code anew
	$(GO) generate ./...

bench: ## run the benchmarks
	$(GO) test -run '^$$' -bench . -benchmem -timeout 30m $(PKG)

race: ## run the concurrent packages' tests under the race detector (needs a C compiler)
	.ci/run race

purego: ## run the tests with the assembly left out
	.ci/run purego

exact-large: ## the long checks against exact spectra of thousands of eigenvalues (an hour, gigabytes)
	HESSDENS_LONG=1 $(GO) test -count=1 -timeout 120m -run Large -v $(PKG)

calibrate: ## bands, intervals and tolerances against exact spectra, over hundreds of seeds (HESSDENS_REFERENCE=DIR: more spectra)
	HESSDENS_LONG=1 $(GO) test -count=1 -timeout 180m -run 'Calibration|Tolerance' -v ./internal/density ./cmd/hessdens

kill-test: ## a hundred runs killed at random moments and resumed: the same bits (minutes)
	HESSDENS_LONG=1 $(GO) test -count=1 -timeout 60m -run '^TestKill$$' -v ./cmd/hessdens ./internal/journal

mutate: ## ten thousand mutated files of each format, given to the program: no panic, bounded memory (an hour)
	HESSDENS_LONG=1 $(GO) test -count=1 -timeout 0 -run '^TestMutated|^TestCut$$' -v ./cmd/hessdens

test-onnx: ## ONNX's own tests of single operators (fetches onnx 1.17.0 and 1.23.2 once; needs python3 with pip)
	.ci/run onnx

fuzz: ## fuzz each target for FUZZTIME (30s)
	@set -e; for pkg in $$($(GO) list $(PKG)); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "== $$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$pkg; \
		done; \
	done

ci: ## everything that CI runs
	.ci/run

clean: ## remove what was built
	rm -rf bin coverage.out
