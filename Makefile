# Everything starts here: `make demo` and `make test` set up what they need and then run it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install demo test check bench lock broker clean

VENV := .venv
BIN := $(VENV)/bin
# What Python compiles is kept beside the sources, whatever the shell says: each start of a command would compile a
# thousand files again, for two and a half seconds.
unexport PYTHONDONTWRITEBYTECODE
STAMP := $(VENV)/.installed
PACKAGES := schemas streams agents online_learning
# the first Python on the path that is new enough; override with `make PYTHON=/path/to/python3`
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
  "$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$each"; break; }; done)

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'ARGS="..." is passed on: make demo ARGS="--json", make test ARGS="-k reader".'

install: $(STAMP) ## Make .venv and install the locked packages and Millstream itself.

demo: $(STAMP) broker ## Watch the whole loop on a real log, from Kafka to lists in Redis.
	@$(BIN)/millstream demo $(ARGS)

# In two processes, which keep apart what may not meet (tests/conftest.py). Both find the kernels compiled.
test: $(STAMP) broker ## Run the tests, against a real Kafka and a real Valkey on this machine.
	@$(BIN)/python -m millstream.agents.warm_up
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

check: $(STAMP) broker ## Run ruff, mypy (strict) and the tests.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest $(ARGS)

bench: $(STAMP) broker ## Measure speed and freshness, each beside its baseline (ARGS="learn": another one).
	@for each in $(if $(filter-out -%,$(firstword $(ARGS))),"",loop publish freshness); do \
	  $(BIN)/millstream bench $$each $(ARGS); done

lock: $(STAMP) ## Resolve the lock files anew from pyproject.toml.
	@for each in "requirements.lock --all-extras" "deploy/requirements.lock --extra worker --extra serve" \
	  "deploy/requirements-text.lock --extra worker --extra search --extra text"; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --custom-compile-command "make lock" pyproject.toml --upgrade --output-file $$each; done

clean: ## Remove what `make` made (not Kafka's jars, which are in your cache folder).
	@rm -rf $(VENV) .links build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Redone only when what is to be installed has changed. `uv` brings the whole set in some ten seconds.
$(STAMP): pyproject.toml requirements.lock
	@[ -n "$(PYTHON)" ] || { echo "Millstream needs Python 3.11 or newer, and there is none on the path; install one," \
	  "or name it: make PYTHON=/path/to/python3 $(or $(MAKECMDGOALS),install)" >&2; exit 1; }
	@echo "installing into $(VENV) ..."
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@mkdir -p .links/millstream
	@for each in $(PACKAGES); do ln -sfn ../../$$each .links/millstream/$$each; done
	@touch $(STAMP)

# Kafka runs on Java, and its jars come through Maven. Where we may, we install both; else we say what is missing, and
# the command that needs a broker decides what to do without one.
broker:
	@missing=""; for each in java mvn; do command -v $$each >/dev/null || missing="$$missing $$each"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing what Kafka needs:$$missing ..."; \
	  if apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends default-jre-headless maven >/dev/null; then exit 0; fi; \
	fi; \
	echo "not found:$$missing. To run Kafka on this machine, install Java 17 or newer and Maven" \
	  "(apt-get install default-jre-headless maven; brew install openjdk maven)," \
	  "or name a running broker in MILLSTREAM_KAFKA__BOOTSTRAP_SERVERS." >&2
