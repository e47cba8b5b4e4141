# kbuild-lab: set-up, quick start and tests. Every target may be called again at any time; what is there is not made twice.
PYTHON ?= python3
VENV   := .venv
LAB    := $(VENV)/bin/lab
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
JOBS   ?= auto

.PHONY: help setup host consumers quickstart test clean

help:
	@echo "make quickstart   set everything up and run matrices/quickstart.yaml"
	@echo "make test         set everything up and run all tests"
	@echo "make setup        only make $(LAB)"
	@echo "make clean        take away what killed runs left"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "kbuild-lab needs Python 3.11 or later" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "host: install what makes virtual environments: apt-get install python3-venv"; \
		$(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q --no-install-recommends python3-venv; }
	@[ -x $(VENV)/bin/python ] || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -c requirements.lock -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(VENV)/bin/python -m pip install -q --disable-pip-version-check -c requirements.lock -e '.[test]'
	@touch $@

# the engine, mmdebstrap, binfmt: each change is printed before it is made
host: setup
	@$(LAB) doctor --fix --quiet

quickstart: host
	@$(LAB) run matrices/quickstart.yaml

# what some tests hold pages and mails against; those that cannot be had are skipped, and say so
consumers:
	@for package in chromium git-email libmailtools-perl postgresql; do \
		dpkg -s $$package >/dev/null 2>&1 && continue; \
		echo "host: for the tests: apt-get install $$package"; \
		$(SUDO) apt-get install -y -q --no-install-recommends $$package >/dev/null || echo "host: no $$package" >&2; done

# by file: tests of one file share what the first of them had to build; in the order of tests/conftest.py: what builds first
test: host consumers $(VENV)/.installed-test
	@$(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

clean:
	@$(LAB) clean
