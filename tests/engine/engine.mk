# engine.mk - builds the engine's C tests and runs them.  No Python is needed.
#
#   engine-test   compiled as shipped
#   engine-asan   with the address and undefined-behaviour sanitizers, and the walks of WF_DEBUG
#
# Each tests/engine/test_*.c is a program of its own, linked with all of src/core/engine.  It
# prints "ok <name>" for each test that passes and dies at the first that does not.
#
# For another processor (cross.mk): CC, ENGINE_DIR, ENGINE_CONTEXT, its context_<cpu>.S; ENGINE_SKIP,
# tests that are about this processor only; ENGINE_RUN, the emulator.

BUILD ?= build

ENGINE_MK := $(lastword $(MAKEFILE_LIST))
ENGINE_DIR ?= $(BUILD)/engine
ENGINE_CFLAGS := -std=gnu11 -O2 -g -Wall -Wextra -Werror -fvisibility=hidden -D_GNU_SOURCE \
                 -pthread -MMD -Isrc/core/engine $(ENGINE_EXTRA)

ENGINE_CONTEXT ?= src/core/engine/context_x86_64.S
ENGINE_OBJECTS := $(patsubst src/core/engine/%,$(ENGINE_DIR)/%.o, \
                    $(wildcard src/core/engine/*.c) $(ENGINE_CONTEXT))
ENGINE_TESTS := $(patsubst tests/engine/%.c,$(ENGINE_DIR)/%, \
                  $(filter-out $(ENGINE_SKIP),$(wildcard tests/engine/test_*.c)))

.PHONY: engine-test engine-asan

engine-test: $(ENGINE_TESTS)
	@passed=0; failed=0; \
	for test in $^; do \
	    $(ENGINE_RUN) $$test >$$test.log 2>&1 || { failed=$$((failed + 1)); echo "$$test:"; cat $$test.log; }; \
	    passed=$$((passed + $$(grep -c '^ok ' $$test.log))); \
	done; \
	echo "$$passed passed, $$failed failed"; test $$failed = 0

engine-asan: export ASAN_OPTIONS = allocator_may_return_null=1
engine-asan:
	@$(MAKE) --no-print-directory -f $(ENGINE_MK) engine-test \
	    ENGINE_DIR=$(BUILD)/engine-asan \
	    ENGINE_EXTRA="-fsanitize=address,undefined -fno-sanitize-recover -DWF_DEBUG"

$(ENGINE_DIR)/test_%: $(ENGINE_DIR)/test_%.c.o $(ENGINE_OBJECTS)
	$(CC) $(ENGINE_CFLAGS) -o $@ $^

$(ENGINE_DIR)/%.o: src/core/engine/% | $(ENGINE_DIR)
	$(CC) $(ENGINE_CFLAGS) -c -o $@ $<

$(ENGINE_DIR)/%.o: tests/engine/% | $(ENGINE_DIR)
	$(CC) $(ENGINE_CFLAGS) -c -o $@ $<

$(ENGINE_DIR):
	@mkdir -p $@

.SECONDARY: $(ENGINE_OBJECTS) $(patsubst %,%.c.o,$(ENGINE_TESTS))
-include $(wildcard $(ENGINE_DIR)/*.d)
