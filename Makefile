# The project's commands.  `make` alone lists them; CONTRIBUTING.md has the same page in words.
#
# Each CPython that is found (tools/interpreters.py) gets an environment of its own under .venv,
# with weft installed as a user would have it: built, not linked to the sources.  Stamp files
# say when an environment is out of date, so every target may simply ask for what it needs.

PYTHON ?= python3

VERSIONS := $(shell $(PYTHON) tools/interpreters.py)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BIN := .venv/$(VERSION)/bin

# What pyproject.toml asks for to build, and to test and lint.
READ_PROJECT := import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))
BUILD_TOOLS = $(shell $(PYTHON) -c '$(READ_PROJECT); \
	print(*map(ascii, project["build-system"]["requires"]))')
DEV_TOOLS = $(shell $(PYTHON) -c '$(READ_PROJECT); \
	print(*map(ascii, project["project"]["optional-dependencies"]["dev"]))')

DOCS_TOOLS = $(shell $(PYTHON) -c '$(READ_PROJECT); \
	print(*map(ascii, project["project"]["optional-dependencies"]["docs"]))')

SOURCES := meson.build pyproject.toml $(wildcard src/core/*/*.[chS] src/*.py src/weft/*.* src/weft/*/*.*)
TYPED := src/weft src/pytest_weft.py tools examples docs/book/green_threads.py $(wildcard tests/libraries/*.py)

.DELETE_ON_ERROR:
.PRECIOUS: .venv/%/.tools .venv/%/.weft
.DEFAULT_GOAL := help

# --- For people ---------------------------------------------------------------------------

.PHONY: help run test torture test-libraries test-suites test-cpython test-sid bench lint asan docs pictures clean

help:
	@echo 'make run       the main job: one threaded program, on OS threads and on weft, compared'
	@echo 'make test      everything, on each of: $(VERSIONS)'
	@echo 'make test-libraries  database drivers and other libraries, unmodified, against real servers; then a soak'
	@echo 'make test-suites  the own tests of pyzmq, trio, urllib3 and others, under weft run and without'
	@echo 'make test-cpython  many more test modules of CPython, in green threads and with all threads green: takes long'
	@echo 'make torture   make test with time slices of 100 microseconds: preemption everywhere'
	@echo 'make test-sid  the same tests on CPython 3.14 and 3.15 from Debian sid, in a folder made by debootstrap (root)'
	@echo 'make test-aarch64  weft and its engine on AArch64, under qemu; test-windows: the switch, under wine; test-macos: assembled'
	@echo 'make bench     the benchmarks'
	@echo 'make lint      ruff and mypy'
	@echo 'make asan      the C tests under the address and undefined-behaviour sanitizers'
	@echo 'make docs      the book and the documentation, into build/docs; and do their links lead somewhere?'
	@echo 'make pictures  draws the pictures of the book again, from real runs'
	@echo 'make clean     remove whatever these commands made'
	@echo
	@echo 'Parts of make test-cpython: test-cpython-V for a version V.'
	@echo 'Parts of make test: engine-test, binding-test, and pytest-V and cpython-V for a version V.'
	@echo 'Another interpreter: make PYTHON=/path/to/python run'

run: .venv/$(VERSION)/.weft
	$(BIN)/python examples/compare.py

test: engine-test binding-test $(VERSIONS:%=pytest-%) $(VERSIONS:%=cpython-%)

torture: $(VERSIONS:%=torture-%)

bench: # makes an environment of its own, with weft's peers in it
	$(PYTHON) benchmarks/run.py

# Makes an environment of its own as well; servers that are not installed come from Debian's packages.
test-libraries:
	$(PYTHON) tests/libraries/run.py --version $(VERSION) --soak 20

# Also in an environment of its own.
test-suites:
	$(PYTHON) tests/libraries/suites.py --version $(VERSION)

lint: .venv/$(VERSION)/.tools
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict $(TYPED)

asan: engine-asan binding-asan

test-cpython: $(VERSIONS:%=test-cpython-%)

test-sid:
	tools/sid.sh test

docs: .venv/docs/.ready
	$(PYTHON) tools/check_links.py *.md docs/*.md docs/*/*.md
	.venv/docs/bin/sphinx-build --quiet -n -W --keep-going -b html docs build/docs
	@echo 'the pages are in build/docs/index.html'

# Draws the book's pictures again, from runs of its programs and of weft on this machine.
pictures: .venv/$(VERSION)/.weft
	for picture in docs/book/pictures/[a-z]*.py; do $(BIN)/python $$picture || exit 1; done

clean:
	rm -rf .venv build dist .hypothesis .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- The parts of make test ---------------------------------------------------------------

include tests/engine/engine.mk
include tests/engine/cross.mk
include tests/binding/binding.mk

PYTEST_TARGETS := $(VERSIONS:%=pytest-%)
CPYTHON_TARGETS := $(VERSIONS:%=cpython-%)
CPYTHON_LONG_TARGETS := $(VERSIONS:%=test-cpython-%)
.PHONY: $(PYTEST_TARGETS) $(CPYTHON_TARGETS) $(CPYTHON_LONG_TARGETS)

$(PYTEST_TARGETS): pytest-%: .venv/%/.weft
	.venv/$*/bin/python -m pytest

# CPython's own test modules inside a green thread, compared with a plain thread; and some whose threads are green.
$(CPYTHON_TARGETS): cpython-%: .venv/%/.weft
	.venv/$*/bin/python tools/cpython_tests.py default --jobs 2
	.venv/$*/bin/python tools/cpython_tests.py short --mode run --jobs 2

# ... many more of them, and with every thread they start green as well.
$(CPYTHON_LONG_TARGETS): test-cpython-%: .venv/%/.weft
	.venv/$*/bin/python tools/cpython_tests.py long --mode green install run --jobs 2 --timeout 60

# Preempted as often as can be: what breaks would break once in a year otherwise.
TORTURE_TARGETS := $(VERSIONS:%=torture-%)
.PHONY: $(TORTURE_TARGETS)

$(TORTURE_TARGETS): torture-%: .venv/%/.weft
	.venv/$*/bin/python -m pytest --time-slice 0.0001
	.venv/$*/bin/python tools/cpython_tests.py preemption --time-slice 0.0001

# --- Environments ---------------------------------------------------------------------------

.venv/%/.tools: pyproject.toml
	@echo "CPython $*: preparing .venv/$*"
	@"$$($(PYTHON) tools/interpreters.py $*)" -m venv .venv/$*
	@.venv/$*/bin/python -m pip install --quiet $(BUILD_TOOLS) ninja $(DEV_TOOLS)
	@touch $@

.venv/docs/.ready: pyproject.toml
	@echo "preparing .venv/docs"
	@$(PYTHON) -m venv .venv/docs
	@.venv/docs/bin/python -m pip install --quiet $(DOCS_TOOLS)
	@touch $@

# Without build isolation, so that meson finds its last build in build/V and compiles only
# what has changed.
.venv/%/.weft: .venv/%/.tools $(SOURCES)
	@echo "CPython $*: building weft"
	@PATH="$(CURDIR)/.venv/$*/bin:$$PATH" .venv/$*/bin/python -m pip install --quiet \
		--no-build-isolation --no-deps --force-reinstall \
		--config-settings=build-dir=build/$* --config-settings=setup-args=-Dwerror=true .
	@touch $@
