# cross.mk - tests on processors and systems that this machine is not.
#
#   test-aarch64   under qemu's user emulation: the engine's tests but test_context, which is x86-64's own; then, in
#                  a Debian system that tools/aarch64.sh unpacks, got.c's, the book's green_threads.py, and weft itself,
#                  compiled here, with all of the Python tests that can pass there: takes half an hour
#   test-windows   the switch (test_switch) and nothing else, under wine
#   test-macos     assembles the switch for macOS; it cannot be run here
#
# Nothing is installed, and a target says which of Debian's packages it lacks.

CROSS_MK := $(lastword $(MAKEFILE_LIST))
CROSS_DIR := $(BUILD)/cross
WINDOWS_CC := x86_64-w64-mingw32-gcc

# $(call need,program,package): stops the recipe if there is no such program.
need = command -v $(1) >/dev/null || { echo "$(1) is missing: Debian's package $(2) has it" >&2; exit 1; }

.PHONY: test-aarch64 test-windows test-macos

test-aarch64:
	@$(call need,aarch64-linux-gnu-gcc,gcc-aarch64-linux-gnu with libc6-dev-arm64-cross)
	@$(call need,qemu-aarch64,qemu-user)
	@$(MAKE) --no-print-directory -f $(ENGINE_MK) engine-test \
	    CC=aarch64-linux-gnu-gcc ENGINE_DIR=$(CROSS_DIR)/aarch64 \
	    ENGINE_CONTEXT=src/core/engine/context_aarch64.S \
	    ENGINE_SKIP=tests/engine/test_context.c \
	    ENGINE_EXTRA=-DWF_EMULATED ENGINE_RUN="qemu-aarch64 -L /usr/aarch64-linux-gnu"
	@tools/aarch64.sh book
	@$(MAKE) --no-print-directory -f $(BINDING_MK) binding-test \
	    CC=aarch64-linux-gnu-gcc BINDING_DIR=$(CROSS_DIR)/aarch64-binding \
	    BINDING_CPU=aarch64 BINDING_RUN="tools/aarch64.sh run"
	@tools/aarch64.sh test

# The rest of the engine is made of Linux: epoll, eventfd, mmap.
WINDOWS_SOURCES := tests/engine/test_switch.c src/core/engine/base.c \
                   src/core/engine/context_x86_64_windows.S

test-windows:
	@$(call need,$(WINDOWS_CC),gcc-mingw-w64-x86-64)
	@$(call need,wine,wine with wine64)
	@mkdir -p $(CROSS_DIR)
	@$(WINDOWS_CC) -std=gnu11 -O2 -g -Wall -Wextra -Werror -Isrc/core/engine \
	    -o $(CROSS_DIR)/test_switch.exe $(WINDOWS_SOURCES) -static -lwinpthread
	@WINEDEBUG=-all WINEPREFIX=$(abspath $(CROSS_DIR)/wine) wine $(CROSS_DIR)/test_switch.exe

test-macos:
	@$(call need,clang,clang)
	@mkdir -p $(CROSS_DIR)
	@clang --target=x86_64-apple-darwin -c -o $(CROSS_DIR)/context_macos.o \
	    src/core/engine/context_x86_64_macos.S
	@echo "context_x86_64_macos.S can be assembled; it has never run"
