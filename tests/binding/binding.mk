# binding.mk - builds the C tests of src/core/binding and runs them.  No Python is needed.
#
#   binding-test   compiled as shipped
#   binding-asan   with the address and undefined-behaviour sanitizers
#
# test_got hooks objects, so it needs some: `ours` (got.c itself), helpers linked in the ways in
# which libraries are linked, copies of them to load late, a provider, an interposer, a library
# that takes long to load.  It is linked twice, at any address and at a fixed one, as Debian's
# python is.
#
# For another processor (cross.mk): CC, BINDING_DIR, BINDING_CPU, and BINDING_RUN, the emulator.
#
# It prints "ok <name>" for each test that passes, and dies if one does not.

BUILD ?= build

BINDING_MK := $(lastword $(MAKEFILE_LIST))
BINDING_DIR ?= $(BUILD)/binding
BINDING_CPU ?= x86_64
# -iquote: a plain -I would give <pthread.h> our sched.h for its <sched.h>.
BINDING_PLAIN := -std=gnu11 -O2 -g -Wall -Wextra -Werror -fvisibility=hidden -D_GNU_SOURCE \
                 -pthread -MMD -iquote src/core/binding
BINDING_CFLAGS := $(BINDING_PLAIN) $(BINDING_EXTRA)

HELPER_lazy := -Wl,-z,lazy,-z,norelro
HELPER_now := -Wl,-z,relro,-z,now
HELPER_noplt := -fno-plt -Wl,-z,relro,-z,now
HELPERS := lazy now noplt

BINDING_TESTS := $(BINDING_DIR)/test_got $(BINDING_DIR)/test_got_fixed
BINDING_OBJECTS := $(addprefix $(BINDING_DIR)/,ours.so preload.so provider.so slow.so \
                     $(HELPERS:%=helper_early_%.so) $(HELPERS:%=helper_late_%.so))

.PHONY: binding-test binding-asan

binding-test: $(BINDING_TESTS) $(BINDING_OBJECTS)
	@passed=0; failed=0; \
	for test in $(BINDING_TESTS); do \
	    $(BINDING_RUN) $$test $(BINDING_DIR) >$$test.log 2>&1 || \
	        { failed=$$((failed + 1)); echo "$$test:"; cat $$test.log; }; \
	    passed=$$((passed + $$(grep -c '^ok ' $$test.log))); \
	done; \
	echo "$$passed passed, $$failed failed"; test $$failed = 0

binding-asan:
	@$(MAKE) --no-print-directory -f $(BINDING_MK) binding-test \
	    BINDING_DIR=$(BUILD)/binding-asan \
	    BINDING_EXTRA="-fsanitize=address,undefined -fno-sanitize-recover"

$(BINDING_DIR)/test_got: BINDING_POSITION := -fPIE -pie
$(BINDING_DIR)/test_got_fixed: BINDING_POSITION := -fno-pie -no-pie
$(BINDING_TESTS): tests/binding/test_got.c $(BINDING_DIR)/provider.so
	$(CC) $(BINDING_CFLAGS) $(BINDING_POSITION) -Wl,-rpath,'$$ORIGIN' -o $@ $^

OURS := $(addprefix $(BINDING_DIR)/,got.o got_record.o policy.o elf_object.o tls_descriptor.o thunk_$(BINDING_CPU).o got_ours.o)

$(BINDING_DIR)/ours.so: $(OURS)
	$(CC) $(BINDING_CFLAGS) -shared -Wl,-z,now -o $@ $^

$(BINDING_DIR)/got.o: BINDING_RENAMES := -Dmprotect=ours_mprotect
$(BINDING_DIR)/got_record.o: BINDING_RENAMES := -Drealloc=ours_realloc
$(BINDING_DIR)/%.o: src/core/binding/%.c | $(BINDING_DIR)
	$(CC) $(BINDING_CFLAGS) $(BINDING_RENAMES) -fPIC -c -o $@ $<

$(BINDING_DIR)/%.o: src/core/binding/%.S | $(BINDING_DIR)
	$(CC) -c -o $@ $<

$(BINDING_DIR)/%.o: tests/binding/%.c | $(BINDING_DIR)
	$(CC) $(BINDING_CFLAGS) -fPIC -c -o $@ $<

# Other people's libraries: not for our sanitizers.
$(BINDING_DIR)/provider.so $(BINDING_DIR)/preload.so: $(BINDING_DIR)/%.so: tests/binding/got_%.c \
                                                      | $(BINDING_DIR)
	$(CC) $(BINDING_PLAIN) -fPIC -shared -Wl,--hash-style=sysv,-z,now -o $@ $<

$(BINDING_DIR)/slow.so: tests/binding/got_slow.c | $(BINDING_DIR)
	$(CC) $(BINDING_PLAIN) -fPIC -shared $(HELPER_now) -o $@ $<

$(BINDING_DIR)/helper_early_%.so: tests/binding/got_helper.c | $(BINDING_DIR)
	$(CC) $(BINDING_PLAIN) -fPIC -shared $(HELPER_$*) -o $@ $<

$(BINDING_DIR)/helper_late_%.so: $(BINDING_DIR)/helper_early_%.so
	cp $< $@

$(BINDING_DIR):
	@mkdir -p $@

.SECONDARY: $(OURS)
-include $(wildcard $(BINDING_DIR)/*.d)
