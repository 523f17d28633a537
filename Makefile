# jobledger: `make` alone lists the targets. Only Go is needed.

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
ESBUILD := github.com/evanw/esbuild/cmd/esbuild@v0.28.2
TEST_TIMEOUT := 5m
RACE_TIMEOUT := 15m
STORM_TIMEOUT := 40m
LDFLAGS := -s -w -buildid=

# Packages whose tests rewrite files with -update, and those with random tests.
GOLDEN_PKGS = $(shell grep -rl --include='*_test.go' 'flag.Bool."update"' . | xargs -r -n1 dirname | sort -u)
RANDOM_PKGS = $(shell grep -rl --include='*_test.go' '^[[:space:]]"pgregory.net/rapid"' . | xargs -r -n1 dirname | sort -u)

.DEFAULT_GOAL := help
.PHONY: help run test check storm archive-kills damage bench bench-peers pairs scale golden fuzz fuzz-decoders polyglot build console browser chromium axe npm-nats

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## everything in one process, with a batch of real jobs
	go build -o bin/ ./cmd/jobledger
	bin/jobledger dev --demo

test: ## all tests
	go test -p 3 -parallel 4 -timeout $(TEST_TIMEOUT) ./... # most tests wait for signals: two processors serve more than two

check: ## what CI runs: format, vet, staticcheck, imports, tests with -race
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "gofmt needed: $$unformatted"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...
	go test ./internal/archtest
	go vet -tags otel ./internal/tracing ./cmd/jobledger
	go test -tags otel ./internal/tracing
	go test -race -p 1 -timeout $(RACE_TIMEOUT) ./... # one package at a time: each starts servers and processes of its own

storm: ## kill and stop real processes under thousands of jobs, minutes; JOBS=n SEED=n
	go test -count=1 -timeout $(STORM_TIMEOUT) -v ./internal/storm -full $(if $(JOBS),-jobs=$(JOBS)) $(if $(SEED),-seed=$(SEED))

archive-kills: ## kill the server that archives and removes at each of its steps, 200 times, minutes; KILLS=n SEED=n
	go test -count=1 -timeout 0 -v -run TestKilledWhileArchiving ./internal/cell -kills=$(or $(KILLS),200) $(if $(SEED),-kills.seed=$(SEED))

damage: ## delete, stop and restart everything under 10,000 jobs in flight, on one server and on three; minutes
	go test -count=1 -timeout $(STORM_TIMEOUT) -v -run 'TestSystem|TestDedupRace' ./internal/cell -full

bench: ## measure this machine: jobs a second, latencies, bytes a job
	go run ./cmd/jobledger bench flow --embedded --jobs 100000 --json

bench-peers: ## beside River, Asynq and raw JetStream, hours; HARNESS=folder REPS=n SCENARIOS=s3,s4 CONFIGS=ours,rawjs EXTRA='-drain 20000' QUICK=1 PROFILES=folder WRITE=1
	go run ./internal/peers -harness '$(HARNESS)' $(if $(REPS),-reps $(REPS)) $(if $(SCENARIOS),-scenarios $(SCENARIOS)) \
		$(if $(CONFIGS),-configs $(CONFIGS)) $(if $(EXTRA),-extra '$(EXTRA)') $(if $(QUICK),-quick) $(if $(PROFILES),-profiles $(PROFILES)) $(if $(WRITE),-write)

pairs: ## is it slower than a commit before? pairs of both in turn, with the interval; OLD=commit N=pairs JOBS=n
	go run ./internal/pairs $(if $(OLD),-old '$(OLD)') $(if $(N),-n $(N)) $(if $(JOBS),-jobs $(JOBS))

scale: ## many tenants on one ledger: fairness, memory, restart; JOBS=n (1000000 is full, an hour) PART=name,... WINDOW=10m RATE=n BULK=n JSON=1
	go run ./internal/scale $(if $(JOBS),-jobs $(JOBS)) $(if $(PART),-part $(PART)) $(if $(WINDOW),-window $(WINDOW)) $(if $(RATE),-rate $(RATE)) $(if $(BULK),-bulk $(BULK)) $(if $(JSON),-json)

golden: ## rewrite golden files and transcripts; review the diff
	@[ -n "$(GOLDEN_PKGS)" ] || { echo "no package has golden files"; exit 1; }
	go test $(GOLDEN_PKGS) -update

fuzz: ## random tests, longer; SEED=n repeats one run
	@[ -n "$(RANDOM_PKGS)" ] || { echo "no package has random tests"; exit 1; }
	go test $(RANDOM_PKGS) -run 'Random' -rapid.checks=10000 $(if $(SEED),-rapid.seed=$(SEED))
	go test ./internal/sim -run 'TestSeeds$$' -timeout 0 -v $(if $(SEED),-sim.seed=$(SEED),-sim.seeds=10000)
	$(if $(SEED),,$(MAKE) fuzz-decoders)

# A number of inputs, not a time: go test may fail by its own clock on a busy machine.
FUZZTIME ?= 50000x
fuzz-decoders: ## all that reads what others sent, on random input; FUZZTIME=50000x for each
	@grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read pkg; do \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9]+' $$pkg/*_test.go | cut -c6-); do \
			echo "$$pkg $$f"; go test $$pkg -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) || exit 1; \
		done; done

polyglot: npm-nats ## a publisher and a worker in JavaScript and a shell, against the program; installs node and curl where missing, and npm's NATS client
	go build -o bin/ ./cmd/jobledger
	timeout 300 testdata/polyglot/run.sh bin/jobledger bin/npm/node_modules

npm-nats: # for the target polyglot
	@{ command -v node && command -v npm && command -v curl; } >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends nodejs npm curl; }
	@[ -d bin/npm/node_modules/nats ] || npm install --silent --no-audit --no-fund --prefix bin/npm nats@2.29.3

planted: ## plant known bugs in the code and let the simulation find each
	go test ./internal/sim -run 'TestPlanted$$|TestModelIsTheCluster' -sim.planted -sim.cluster -timeout 0 -v

build: ## one static binary in bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/jobledger

console: ## bundle the web console into gateway/console/dist, which is committed
	cd gateway/console && rm -rf dist && go run $(ESBUILD) src/app.jsx src/icon.svg --bundle --splitting --minify --format=esm --target=es2022,chrome123,firefox121,safari17.5 \
		--jsx-factory=jsx --jsx-fragment=Fragment --inject:./src/lib/jsx.js \
		--alias:preact=./vendor/preact/preact.mjs --alias:preact/hooks=./vendor/preact/hooks.mjs --alias:uplot=./vendor/uplot/uPlot.mjs \
		--alias:@preact/signals=./vendor/signals/signals.mjs --alias:@preact/signals-core=./vendor/signals/signals-core.mjs \
		--banner:js='/* holds Preact, signals and uPlot: their licences are in licenses.txt beside this file */' \
		--loader:.svg=copy --entry-names=[name]-[hash] --chunk-names=[name]-[hash] --outdir=dist --log-level=warning
	cd gateway/console && for l in vendor/*/LICENSE; do echo "$$l:"; echo; cat $$l; echo; done > dist/licenses.txt
	cd gateway/console && find src vendor -type f | LC_ALL=C sort | xargs sha256sum > dist/SOURCES # console_test.go compares

browser: chromium axe ## look at the console with a real browser; installs Debian's chromium if there is none
	go test -count=1 -timeout 10m -tags browser ./gateway/console

# What Chromium cannot say, axe-core does: for tests alone, and nothing of it is committed.
AXE := axe-core@4.14.1
axe: # for the target browser; without npm or its registry that test is skipped
	@command -v npm >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends nodejs npm; } || true
	@[ -d bin/axe/node_modules/axe-core ] || npm install --silent --no-audit --no-fund --prefix bin/axe $(AXE) || echo "SKIPPED: $(AXE) could not be fetched: nothing says whether the pages are accessible"

chromium: # for the target browser
	@command -v chromium >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends chromium; }
	@timeout 120 chromium --headless --no-sandbox --disable-gpu --dump-dom about:blank >/dev/null 2>&1 || { echo "chromium does not start here"; exit 1; }
