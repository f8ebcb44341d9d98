/* test_context.c - what a switch must keep, and what an unwinder must find.
 *
 * The strictest test walks the processor through wf_context_switch one instruction at a time
 * and unwinds from each: the unwind information has to be right everywhere, not only at calls.
 */
#include "base.h"
#include "check.h"
#include "context.h"

#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unwind.h>
#include <x86intrin.h>

_Static_assert(offsetof(struct wf_context, sp) == 0, "context_x86_64.S says CONTEXT_SP is 0");

extern void wf_context_trampoline(void);

/* The two sides of most tests: this program's own stack, and one fiber's. */
static struct wf_context home, fiber;
static _Alignas(16) char stack[1 << 17];

static void start(void (*entry)(void *), void *arg)
{
    wf_context_init(&fiber, stack + sizeof stack, entry, arg);
    wf_context_switch(&home, &fiber);
}

static void resume(void)
{
    wf_context_switch(&home, &fiber);
}

static void suspend(void)
{
    wf_context_switch(&fiber, &home);
}

__attribute__((noreturn)) static void suspend_for_ever(void)
{
    suspend();
    wf_panic(__func__, "a finished fiber was resumed");
}

/* === Entry ========================================================================= */

static void note_argument(void *arg)
{
    *(int *)arg = 42;
    suspend_for_ever();
}

static void entry_gets_its_argument(void)
{
    int argument = 0;
    start(note_argument, &argument);
    CHECK(argument == 42);
}

/* The frame address is where the caller's rbp lies: 16 below the stack pointer before the call. */
static void note_frame_address(void *arg)
{
    *(uintptr_t *)arg = (uintptr_t)__builtin_frame_address(0);
    suspend_for_ever();
}

static void entry_finds_the_stack_aligned(void)
{
    uintptr_t frame_address = 0;
    start(note_frame_address, &frame_address);
    CHECK(frame_address % 16 == 0);
    CHECK(frame_address == (uintptr_t)stack + sizeof stack - 16);
}

static void return_at_once(void *arg)
{
    (void)arg;
}

static void let_entry_return(void)
{
    close(STDERR_FILENO); /* the panic is expected */
    start(return_at_once, NULL);
}

static void an_entry_that_returns_is_a_panic(void)
{
    int status = check_in_child(let_entry_return);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* === Registers ===================================================================== */

/* The six registers a callee keeps, in the order of their numbers in unwind tables. */
struct registers {
    uint64_t rbx, rbp, r12, r13, r14, r15;
};

/* Loads the registers, switches, and stores what they hold after the switch back. */
void switch_with_registers(struct wf_context *from, struct wf_context *to,
                           const struct registers *loaded, struct registers *found);
__asm__(".type switch_with_registers, @function\n"
        "switch_with_registers:\n"
        ".cfi_startproc\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rcx\n"
        ".cfi_def_cfa_offset 64\n"
        ".cfi_offset %rbx, -16; .cfi_offset %rbp, -24; .cfi_offset %r12, -32\n"
        ".cfi_offset %r13, -40; .cfi_offset %r14, -48; .cfi_offset %r15, -56\n"
        "mov 0(%rdx), %rbx; mov 8(%rdx), %rbp; mov 16(%rdx), %r12\n"
        "mov 24(%rdx), %r13; mov 32(%rdx), %r14; mov 40(%rdx), %r15\n"
        "call wf_context_switch\n"
        "pop %rcx\n"
        "mov %rbx, 0(%rcx); mov %rbp, 8(%rcx); mov %r12, 16(%rcx)\n"
        "mov %r13, 24(%rcx); mov %r14, 32(%rcx); mov %r15, 40(%rcx)\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "ret\n"
        ".cfi_endproc\n"
        ".size switch_with_registers, . - switch_with_registers\n");

static const struct registers at_home = { 0x11, 0x12, 0x13, 0x14, 0x15, 0x16 };
static const struct registers in_fiber = { 0x21, 0x22, 0x23, 0x24, 0x25, 0x26 };

static void exchange_registers(void *arg)
{
    struct registers found;
    (void)arg;
    for (;;) {
        switch_with_registers(&fiber, &home, &in_fiber, &found);
        CHECK(!memcmp(&found, &in_fiber, sizeof found));
    }
}

static void callee_saved_registers_survive(void)
{
    struct registers found;
    wf_context_init(&fiber, stack + sizeof stack, exchange_registers, NULL);
    for (int round = 0; round < 3; round++) {
        switch_with_registers(&home, &fiber, &at_home, &found);
        CHECK(!memcmp(&found, &at_home, sizeof found));
    }
}

/* === Floating point ================================================================ */

struct control {
    uint32_t mxcsr;
    uint16_t x87;
};

static struct control control_now(void)
{
    struct control control = { .mxcsr = _mm_getcsr() };
    __asm__ volatile("fnstcw %0" : "=m"(control.x87));
    return control;
}

static void control_set(struct control control)
{
    _mm_setcsr(control.mxcsr);
    __asm__ volatile("fldcw %0" : : "m"(control.x87));
}

static bool control_is(struct control expected)
{
    struct control now = control_now();
    return now.mxcsr == expected.mxcsr && now.x87 == expected.x87;
}

static void keep_control_words(void *arg)
{
    for (;;) {
        struct control mine = *(struct control *)arg;
        control_set(mine);
        suspend();
        CHECK(control_is(mine));
    }
}

/* Default or rounding up, in either unit, on either side: every way to differ. */
static void floating_point_control_words_survive(void)
{
    struct control original = control_now(), theirs;
    uint32_t mxcsr[] = { 0x1f80, 0x5f80 };
    uint16_t x87[] = { 0x037f, 0x0b7f };
    wf_context_init(&fiber, stack + sizeof stack, keep_control_words, &theirs);
    for (int i = 0; i < 16; i++) {
        struct control ours = { mxcsr[i & 1], x87[i >> 1 & 1] };
        theirs = (struct control){ mxcsr[i >> 2 & 1], x87[i >> 3 & 1] };
        control_set(ours);
        resume();
        CHECK(control_is(ours));
        resume();
        CHECK(control_is(ours));
    }
    control_set(original);
}

static void note_control(void *arg)
{
    *(struct control *)arg = control_now();
    suspend_for_ever();
}

static void a_fiber_inherits_its_makers_control_words(void)
{
    struct control original = control_now(), upward = { 0x5f80, 0x0b7f }, inherited;
    control_set(upward);
    wf_context_init(&fiber, stack + sizeof stack, note_control, &inherited);
    control_set(original);
    resume();
    CHECK(inherited.mxcsr == upward.mxcsr && inherited.x87 == upward.x87);
}

/* === Many fibers =================================================================== */

enum { FIBERS = 500, ROUNDS = 20, RING_STACK = 8192 };

static struct wf_context ring[FIBERS + 1]; /* the last is the test itself */
static _Alignas(16) char ring_stacks[FIBERS][RING_STACK];
static int turns;

/* Each takes its turn, keeps a running sum on its own stack, and passes on to its neighbour. */
static void take_turns(void *arg)
{
    int me = (int)(intptr_t)arg;
    double sum = 0;
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(turns++ == round * FIBERS + me);
        sum += me + round;
        bool last = round == ROUNDS - 1 && me == FIBERS - 1;
        wf_context_switch(&ring[me], last ? &ring[FIBERS] : &ring[(me + 1) % FIBERS]);
        CHECK(round == ROUNDS - 1 || sum == (round + 1) * (me + round / 2.0));
    }
    wf_panic(__func__, "resumed too often");
}

static void many_fibers_take_turns(void)
{
    for (intptr_t i = 0; i < FIBERS; i++)
        wf_context_init(&ring[i], ring_stacks[i] + RING_STACK, take_turns, (void *)i);
    wf_context_switch(&ring[FIBERS], &ring[0]);
    CHECK(turns == FIBERS * ROUNDS);
}

/* === Unwinding ===================================================================== */

/* What _Unwind_Backtrace saw: the functions, and the registers of switch_with_registers. */
struct walk {
    void *functions[64];
    int len;
    bool ended;
    struct registers registers;
};

static _Unwind_Reason_Code note_frame(struct _Unwind_Context *context, void *arg)
{
    struct walk *walk = arg;
    if (_Unwind_GetIP(context) == 0)
        return _URC_NO_REASON; /* libgcc's way of saying that the end comes next */
    CHECK(walk->len < 64);
    void *function = (void *)_Unwind_GetRegionStart(context);
    walk->functions[walk->len++] = function;
    if (function == (void *)switch_with_registers)
        walk->registers = (struct registers){
            _Unwind_GetGR(context, 3),  _Unwind_GetGR(context, 6),  _Unwind_GetGR(context, 12),
            _Unwind_GetGR(context, 13), _Unwind_GetGR(context, 14), _Unwind_GetGR(context, 15),
        };
    return _URC_NO_REASON;
}

__attribute__((noinline)) static struct walk walk_from_here(void)
{
    struct walk walk = { .len = 0 };
    walk.ended = _Unwind_Backtrace(note_frame, &walk) == _URC_END_OF_STACK;
    return walk;
}

/* How deep in the walk `function` lies; -1 if it is not there. */
static int depth_of(const struct walk *walk, void *function)
{
    for (int i = 0; i < walk->len; i++)
        if (walk->functions[i] == function)
            return i;
    return -1;
}

static bool ends_in_trampoline(const struct walk *walk)
{
    return walk->ended && walk->functions[walk->len - 1] == (void *)wf_context_trampoline;
}

static void note_walk(void *arg)
{
    *(struct walk *)arg = walk_from_here();
    suspend_for_ever();
}

static void a_walk_ends_at_the_trampoline(void)
{
    struct walk walk;
    start(note_walk, &walk);
    CHECK(ends_in_trampoline(&walk));
    CHECK(depth_of(&walk, (void *)note_walk) == walk.len - 2);
}

static struct { int traps, at_home, in_fiber, unstarted; } steps;

/* The frame that a walk from inside the switch finds behind it tells on which side it is. */
static void check_walk_from_switch(const struct walk *walk, int depth)
{
    void *caller = walk->functions[depth + 1];
    CHECK(walk->ended);
    if (caller == (void *)wf_context_trampoline) {
        CHECK(ends_in_trampoline(walk));
        steps.unstarted++;
    } else if (ends_in_trampoline(walk)) {
        CHECK(caller == (void *)switch_with_registers);
        CHECK(walk->functions[depth + 2] == (void *)exchange_registers);
        CHECK(!memcmp(&walk->registers, &in_fiber, sizeof in_fiber));
        steps.in_fiber++;
    } else {
        CHECK(caller == (void *)switch_with_registers);
        CHECK(!memcmp(&walk->registers, &at_home, sizeof at_home));
        steps.at_home++;
    }
}

static void walk_after_each_step(int signal_number, siginfo_t *info, void *ucontext)
{
    (void)signal_number, (void)info;
    char *rip = (char *)((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP];
    steps.traps++;
    if (_Unwind_FindEnclosingFunction(rip + 1) != (void *)wf_context_switch)
        return;
    struct walk walk = walk_from_here();
    int depth = depth_of(&walk, (void *)wf_context_switch);
    CHECK(depth >= 0);
    check_walk_from_switch(&walk, depth);
}

#define TRAP_FLAG 0x100

static void every_instruction_of_the_switch_unwinds(void)
{
    struct registers found;
    struct control original = control_now();
    struct sigaction old, action = { .sa_sigaction = walk_after_each_step, .sa_flags = SA_SIGINFO };
    wf_context_init(&fiber, stack + sizeof stack, exchange_registers, NULL);
    control_set((struct control){ 0x5f80, 0x037f }); /* so that the rare path is walked as well */
    CHECK(sigaction(SIGTRAP, &action, &old) == 0);
    __writeeflags(__readeflags() | TRAP_FLAG);
    switch_with_registers(&home, &fiber, &at_home, &found);
    control_set(original);
    switch_with_registers(&home, &fiber, &at_home, &found);
    __writeeflags(__readeflags() & ~(unsigned long long)TRAP_FLAG);
    CHECK(sigaction(SIGTRAP, &old, NULL) == 0);
    if (steps.traps == 0) {
        puts("no single steps here (valgrind): not walked");
        return;
    }
    CHECK(steps.unstarted >= 10 && steps.in_fiber >= 30 && steps.at_home >= 50);
}

int main(void)
{
    RUN(entry_gets_its_argument);
    RUN(entry_finds_the_stack_aligned);
    RUN(an_entry_that_returns_is_a_panic);
    RUN(callee_saved_registers_survive);
    RUN(floating_point_control_words_survive);
    RUN(a_fiber_inherits_its_makers_control_words);
    RUN(many_fibers_take_turns);
    RUN(a_walk_ends_at_the_trampoline);
    RUN(every_instruction_of_the_switch_unwinds);
}
