# vublk. `make help` lists the targets; CONTRIBUTING.md says when to use which.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO      ?= go
TOOLS   := build/tools

GOLANGCI := $(TOOLS)/golangci-lint-v2.15.0
GOFUMPT  := $(TOOLS)/gofumpt-v0.12.0

COMMANDS := vublk vhost-user-blk
LDFLAGS  := -s -w -X main.version=$(VERSION)
BUILD    := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

# Everything but the guests; the guests are `make e2e`.
UNIT := $(shell $(GO) list ./... 2>/dev/null | grep -v /test/)

# Modules of their own: programs that embed vublk.
MODULES := $(shell git ls-files '*/go.mod' 2>/dev/null | xargs -r -n1 dirname)

.DEFAULT_GOAL := help
.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## install the Debian packages that tests and demo need (root or sudo), fetch the guests' kernel
	@.ci/setup

.PHONY: build
build: ## static bin/vublk and bin/vhost-user-blk for this machine, and bin/linux-{amd64,arm64}/
	@for c in $(COMMANDS); do \
		$(BUILD) -o bin/$$c ./cmd/$$c || exit 1; \
		for arch in amd64 arm64; do GOARCH=$$arch $(BUILD) -o bin/linux-$$arch/$$c ./cmd/$$c || exit 1; done; \
	done

.PHONY: test
test: setup build ## set up, then every test: unit, race, model, hostile, guests
	$(GO) vet ./...
	$(GO) test $(UNIT)
	$(GO) test -tags crashpoint ./virtio
	$(GO) test -race -timeout 20m $(UNIT)
	$(GO) test -count=1 -p 1 -timeout 30m $(shell $(GO) list ./test/... 2>/dev/null | grep -v /test/e2e)
	$(GO) test -count=1 -timeout 60m -v ./test/e2e/...

.PHONY: prove
prove: setup build ## the durability proofs, long: a quarter of an hour
	VUBLK_PROVE=long $(GO) test -count=1 -p 1 -timeout 0 -v ./test/durability ./test/fusedisk ./test/replay ./test/lock

.PHONY: prove-crash
prove-crash: setup build ## more than 2,000 kill -9 and 100 upgrades under load, with guests, too, and 50 migrations: half an hour
	VUBLK_PROVE=long $(GO) test -count=1 -timeout 0 -v ./test/crash
	VUBLK_PROVE=long $(GO) test -count=1 -timeout 0 -v -run '^(TestWorker|TestBackend)|Migration$$' ./test/e2e
	VUBLK_PROVE=long $(GO) test -count=1 -timeout 0 -v -run '^TestGuest$$' ./test/systemd

.PHONY: race
race: ## unit tests under the race detector
	$(GO) test -race $(UNIT)

.PHONY: e2e
e2e: setup build ## the tests with real guests in QEMU
	$(GO) test -count=1 -timeout 60m -v ./test/e2e/...

FUZZTIME ?= 30s
.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (30s)
	@for p in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$p/*_test.go | cut -c6-); do \
			echo "== $$p $$f"; $(GO) test $$p -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) || exit 1; \
		done; \
	done

.PHONY: lint
lint: $(GOLANGCI) $(GOFUMPT) ## format, vet (amd64 and arm64), golangci-lint, modules tidy
	@test -z "$$($(GOFUMPT) -l $$(git ls-files '*.go' ':!*.pb.go'))" || { $(GOFUMPT) -d $$(git ls-files '*.go' ':!*.pb.go'); echo 'not gofumpt-clean: run make fmt'; exit 1; }
	GOARCH=arm64 $(GO) vet ./...
	$(GO) vet -tags crashpoint,insight ./...
	$(GOLANGCI) run
	$(GOLANGCI) run --build-tags crashpoint ./internal/crashpoint ./virtio
	$(GOLANGCI) run --build-tags insight ./internal/insight
	$(GO) mod tidy -diff
	@for m in $(MODULES); do echo "== $$m"; \
		(cd $$m && GOARCH=arm64 $(GO) vet ./... && $(CURDIR)/$(GOLANGCI) run && $(GO) mod tidy -diff) || exit 1; \
	done

.PHONY: tidy
tidy: ## go mod tidy here and in the modules below examples/ and test/, which follow this one's versions
	@for m in . $(MODULES); do (cd $$m && $(GO) mod tidy) || exit 1; done

.PHONY: fmt
fmt: $(GOFUMPT) ## format all Go files
	$(GOFUMPT) -w $$(git ls-files '*.go' ':!*.pb.go')

.PHONY: generate
generate: ## run go generate
	$(GO) generate ./...

.PHONY: man
man: ## write the man pages of packaging/man anew, from the commands' help
	VUBLK_WRITE_MAN=yes $(GO) test -count=1 -run '^TestManualIsCurrent$$' ./cmd/...

.PHONY: bench
bench: setup build ## benchmarks of the data path, and vublk beside others: a quarter of an hour; writes docs/performance.md
	$(GO) test -run '^$$' -bench . -benchmem ./iouring ./virtio ./blk
	$(GO) run ./test/bench -document=docs/performance.md

.PHONY: interop
interop: build ## libblkio and the newest QEMU (Debian sid, in a scratch chroot) against vublk
	test/interop/run
	test/interop/run --qemu

.PHONY: demo
demo: setup build ## make an image, serve it, boot a Linux guest on it, verify what it wrote
	@$(GO) run ./test/demo

PREFIX  ?= /usr/local
DESTDIR ?=
UNITDIR ?= /usr/lib/systemd/system
# Management software looks for back-ends below /usr/share and /etc only (QEMU's docs/interop/vhost-user.rst).
DISCOVERY ?= /usr/share/qemu/vhost-user

.PHONY: install
install: build ## install programs, units, discovery file, manual, completions below DESTDIR (PREFIX, UNITDIR, DISCOVERY)
	@.ci/install '$(DESTDIR)' '$(PREFIX)' '$(UNITDIR)' '$(DISCOVERY)'

.PHONY: clean
clean: ## remove what was built (the guests' kernel and the tools stay in build/)
	rm -rf bin

$(GOLANGCI):
	GOBIN=$(CURDIR)/$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(subst $(TOOLS)/golangci-lint-,,$@)
	mv $(TOOLS)/golangci-lint $@

$(GOFUMPT):
	GOBIN=$(CURDIR)/$(TOOLS) $(GO) install mvdan.cc/gofumpt@$(subst $(TOOLS)/gofumpt-,,$@)
	mv $(TOOLS)/gofumpt $@
