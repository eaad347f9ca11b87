# Two commands do everything on a machine that has Python >= 3.11, make and git:
#   make run    install into .venv and audit this host
#   make test   install and pass the tests (as root: with the lab of real hosts)
SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
INVENTORY ?= inventory.example.ini
LAB := $(BIN)/python tests/lab/lab.py

.PHONY: run check test test-unit test-lab test-long molecule molecule-vm molecule-broken consumers soak lab lab-packages collection agent docs bench clean help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

$(BIN)/hostaudit: pyproject.toml tools/install
	tools/install $(VENV)

run: $(BIN)/hostaudit ## install, and audit this host; findings are not a failure of make
	@$(BIN)/hostaudit run --inventory $(INVENTORY); code=$$?; \
	  case $$code in 0|8) ;; *) exit $$code ;; esac

$(VENV)/.dev: pyproject.toml tools/install
	tools/install $(VENV) dev
	@touch $@

check: $(VENV)/.dev ## format, lint, types, import rules, generated pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/docs.py --check

test: test-unit test-lab ## all tests; those of the lab need root

test-unit: $(VENV)/.dev lab-packages
	$(BIN)/python -m pytest --ignore=tests/lab -n $(or $(UNIT_WORKERS),2) --dist loadfile

test-lab: $(VENV)/.dev lab-packages
	tools/lab test

test-long: $(VENV)/.dev lab-packages ## tests of the lab that the gate leaves out, for want of time
	tools/lab long

$(VENV)/.roles: pyproject.toml tools/install
	tools/install $(VENV) dev roles
	@touch $@ $(VENV)/.dev

molecule: $(VENV)/.roles lab-packages ## each role through check mode, change, repetition and undo, on Debian 11, 12 and 13
	$(BIN)/python tools/molecule.py

molecule-vm: $(VENV)/.roles lab-packages ## what only virtual machines show: whole-machine settings, reboots, clocks, devices
	tools/vm

molecule-broken: $(VENV)/.roles lab-packages ## roles that are broken on purpose: the scenarios must fail
	$(BIN)/python tools/molecule_broken.py

consumers: $(VENV)/.dev ## reports against their consumers: a browser, node_exporter, promtool, schemas of JUnit and SARIF
	VENV=$(VENV) tools/consumers

soak: $(VENV)/.dev lab-packages ## faults at every point of changes, for LAB_SOAK seconds (600); LAB_SEED repeats them
	tools/lab soak

lab-packages:
	tools/lab packages

lab: $(VENV)/.dev lab-packages ## the outage in a lab of real hosts, and a shell in it
	tools/lab shell

collection: $(VENV)/.dev lab-packages ## ansible-test sanity, the oldest and the newest ansible-core, an inventory from Proxmox VE
	tools/collection all

agent: $(BIN)/hostaudit ## hostaudit-agent.pyz, to run by hand: python3 hostaudit-agent.pyz
	$(BIN)/python -m hostaudit.bundle hostaudit-agent.pyz

docs: $(VENV)/.dev ## write the generated pages and tables again
	$(BIN)/python tools/docs.py
	$(BIN)/python tools/picture.py

bench: $(VENV)/.dev ## costs as CPU time and as ratios to peers in the same run
	$(BIN)/python bench/run.py

clean: ## remove what make made
	rm -rf $(VENV) hostaudit-agent.pyz .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
