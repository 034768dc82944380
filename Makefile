# Every target does its own set-up: npm packages always, Debian packages when it is root.
# Otherwise `scripts/deps.sh` prints the one command that is missing.
SHELL := /bin/bash
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
NODE := node --disable-warning=ExperimentalWarning

.DEFAULT_GOAL := help

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

# Not `npm ci`: it insists on binaries of other platforms that a registry mirror may lack. Versions are the
# lockfile's all the same, and --no-save leaves it as it is.
node_modules/.installed: package.json package-lock.json
	npm install --no-save --no-fund --no-audit --loglevel=error
	@touch $@

deps: npm ## install npm packages and the Debian packages that are missing
	@scripts/deps.sh

deps-%: npm
	@scripts/deps.sh $*

npm: node_modules/.installed

.cache/kernel/initramfs: scripts/kernel.sh scripts/emulated-init.sh | deps-test
	@scripts/kernel.sh

run: deps-run ## three live hosts in network namespaces: edit a policy, cut a link, see packets obey
	@bin/margay lab up examples/three-hosts.yaml

check: npm ## types, lint, format, dead code
	tsc --noEmit -p .
	oxlint --type-aware --tsconfig tsconfig.json src test bench scripts examples/driver
	oxfmt --check src test bench scripts examples/driver
	knip

fmt: npm ## format in place
	oxfmt src test bench scripts examples/driver

test: deps-test .cache/kernel/initramfs ## all tests of the daily run (under 15 minutes on 2 cores)
	$(NODE) test/run.ts

test-long: deps-test .cache/kernel/initramfs ## the same with more random cases and the slow faults (about an hour)
	MARGAY_TEST_LONG=1 $(NODE) test/run.ts

test-unit: npm ## the fast tiers only, no kernel, no servers
	$(NODE) test/run.ts unit state

bench: deps-bench ## figures beside their floors, as a table and as JSON
	$(NODE) bench/run.ts

proto: npm ## regenerate the protobuf code (needs protoc)
	scripts/gen-proto.sh

.PHONY: help deps npm run check fmt test test-long test-unit bench proto
