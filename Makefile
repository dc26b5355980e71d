# Every target sets itself up first; a second set-up takes no time. ARGS goes to the program that is run.
.DEFAULT_GOAL := help
.PHONY: help setup demo serve test conformance conformance-torch lint bench lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv with the locked packages, and install bubblewrap and redis-server where allowed
	@scripts/setup.sh

demo: setup ## Score shipped responses under five math-verify versions and show where they disagree
	@.venv/bin/countermark demo $(ARGS)

serve: setup ## Start the service on 127.0.0.1:8000
	@.venv/bin/countermark serve $(ARGS)

test: setup ## Run all tests
	@scripts/test.sh $(ARGS)

conformance: setup ## Run the frameworks' own client code, fetched now, against the service
	@COUNTERMARK_CONFORMANCE=1 scripts/test.sh tests/conformance/frameworks $(ARGS)

conformance-torch: setup ## Train with TRL, verl and others on the CPU against the service (installs torch)
	@scripts/conformance-torch.sh $(ARGS)

lint: setup ## Check style, types, scripts, Dockerfile and compose file
	@scripts/lint.sh

bench: setup ## Run the benchmarks, each beside its baseline
	@scripts/bench.sh $(ARGS)

lock: setup ## Bring the locks up to date with pyproject.toml (ARGS=--upgrade for new versions)
	@scripts/lock.sh $(ARGS)

clean: ## Remove the virtual environment, caches and build output; scores and keys stay
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
