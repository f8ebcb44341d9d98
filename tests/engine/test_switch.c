/* test_switch.c - the contract of context.h, as far as it is the same on every processor.
 *
 * test_context.c looks at x86-64's System V switch instruction by instruction.  This one asks what
 * every context_<cpu>.S must answer, Windows' included, and needs nothing of the system: the cross
 * targets of the Makefile run it under emulators (cross.mk).  What depends on the ABI is one function
 * and one list of registers, below.
 */
#include "base.h"
#include "check.h"
#include "context.h"

#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#ifdef _WIN32
#include <windows.h>
#else
#include <unwind.h>
#endif

_Static_assert(offsetof(struct wf_context, sp) == 0, "every context_<cpu>.S says CONTEXT_SP is 0");

static struct wf_context home, fiber;
static _Alignas(4096) char stack[1 << 17];

static void prepare(void (*entry)(void *), void *arg)
{
#ifdef __SANITIZE_ADDRESS__
    /* What the last fiber had there has not ended, as far as the sanitizer knows. */
    ASAN_UNPOISON_MEMORY_REGION(stack, sizeof stack);
#endif
    wf_context_init(&fiber, stack + sizeof stack, entry, arg);
#ifdef _WIN32
    wf_context_set_lo(&fiber, stack);
#endif
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

/* === What the ABI says ============================================================= */

/* switch_with_registers(from, to, loaded, found) fills all registers that a callee keeps from
 * `loaded`, switches, and stores in `found` what they hold after the switch back.
 *
 * control_now and control_set deal with the floating-point control words; ROUND_UP are those that
 * round towards plus infinity. */
#if defined(__aarch64__)

enum { REGISTERS = 19 };

__asm__(".globl switch_with_registers\n"
        ".hidden switch_with_registers\n"
        "switch_with_registers:\n"
        "sub sp, sp, #176\n"
        "stp x19, x20, [sp]; stp x21, x22, [sp, #16]; stp x23, x24, [sp, #32]\n"
        "stp x25, x26, [sp, #48]; stp x27, x28, [sp, #64]; stp x29, x30, [sp, #80]\n"
        "stp d8, d9, [sp, #96]; stp d10, d11, [sp, #112]; stp d12, d13, [sp, #128]\n"
        "stp d14, d15, [sp, #144]; str x3, [sp, #160]\n"
        "ldp x19, x20, [x2]; ldp x21, x22, [x2, #16]; ldp x23, x24, [x2, #32]\n"
        "ldp x25, x26, [x2, #48]; ldp x27, x28, [x2, #64]; ldr x29, [x2, #80]\n"
        "ldp d8, d9, [x2, #88]; ldp d10, d11, [x2, #104]; ldp d12, d13, [x2, #120]\n"
        "ldp d14, d15, [x2, #136]\n"
        "bl wf_context_switch\n"
        "ldr x3, [sp, #160]\n"
        "stp x19, x20, [x3]; stp x21, x22, [x3, #16]; stp x23, x24, [x3, #32]\n"
        "stp x25, x26, [x3, #48]; stp x27, x28, [x3, #64]; str x29, [x3, #80]\n"
        "stp d8, d9, [x3, #88]; stp d10, d11, [x3, #104]; stp d12, d13, [x3, #120]\n"
        "stp d14, d15, [x3, #136]\n"
        "ldp x19, x20, [sp]; ldp x21, x22, [sp, #16]; ldp x23, x24, [sp, #32]\n"
        "ldp x25, x26, [sp, #48]; ldp x27, x28, [sp, #64]; ldp x29, x30, [sp, #80]\n"
        "ldp d8, d9, [sp, #96]; ldp d10, d11, [sp, #112]; ldp d12, d13, [sp, #128]\n"
        "ldp d14, d15, [sp, #144]\n"
        "add sp, sp, #176\n"
        "ret\n");

static const uint64_t ROUND_UP = UINT64_C(1) << 22;

static uint64_t control_now(void)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return fpcr;
}

static void control_set(uint64_t control)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(control) : "memory");
}

#elif defined(__x86_64__)

#ifdef _WIN32
enum { REGISTERS = 28 };

__asm__(".globl switch_with_registers\n"
        "switch_with_registers:\n"
        "push %rbx; push %rbp; push %rdi; push %rsi; push %r12; push %r13; push %r14; push %r15\n"
        "push %r9; sub $0xc0, %rsp\n"
        "movups %xmm6, 0x20(%rsp); movups %xmm7, 0x30(%rsp); movups %xmm8, 0x40(%rsp)\n"
        "movups %xmm9, 0x50(%rsp); movups %xmm10, 0x60(%rsp); movups %xmm11, 0x70(%rsp)\n"
        "movups %xmm12, 0x80(%rsp); movups %xmm13, 0x90(%rsp); movups %xmm14, 0xa0(%rsp)\n"
        "movups %xmm15, 0xb0(%rsp)\n"
        "mov 0(%r8), %rbx; mov 8(%r8), %rbp; mov 16(%r8), %rdi; mov 24(%r8), %rsi\n"
        "mov 32(%r8), %r12; mov 40(%r8), %r13; mov 48(%r8), %r14; mov 56(%r8), %r15\n"
        "movups 0x40(%r8), %xmm6; movups 0x50(%r8), %xmm7; movups 0x60(%r8), %xmm8\n"
        "movups 0x70(%r8), %xmm9; movups 0x80(%r8), %xmm10; movups 0x90(%r8), %xmm11\n"
        "movups 0xa0(%r8), %xmm12; movups 0xb0(%r8), %xmm13; movups 0xc0(%r8), %xmm14\n"
        "movups 0xd0(%r8), %xmm15\n"
        "call wf_context_switch\n"
        "mov 0xc0(%rsp), %r9\n"
        "mov %rbx, 0(%r9); mov %rbp, 8(%r9); mov %rdi, 16(%r9); mov %rsi, 24(%r9)\n"
        "mov %r12, 32(%r9); mov %r13, 40(%r9); mov %r14, 48(%r9); mov %r15, 56(%r9)\n"
        "movups %xmm6, 0x40(%r9); movups %xmm7, 0x50(%r9); movups %xmm8, 0x60(%r9)\n"
        "movups %xmm9, 0x70(%r9); movups %xmm10, 0x80(%r9); movups %xmm11, 0x90(%r9)\n"
        "movups %xmm12, 0xa0(%r9); movups %xmm13, 0xb0(%r9); movups %xmm14, 0xc0(%r9)\n"
        "movups %xmm15, 0xd0(%r9)\n"
        "movups 0x20(%rsp), %xmm6; movups 0x30(%rsp), %xmm7; movups 0x40(%rsp), %xmm8\n"
        "movups 0x50(%rsp), %xmm9; movups 0x60(%rsp), %xmm10; movups 0x70(%rsp), %xmm11\n"
        "movups 0x80(%rsp), %xmm12; movups 0x90(%rsp), %xmm13; movups 0xa0(%rsp), %xmm14\n"
        "movups 0xb0(%rsp), %xmm15\n"
        "add $0xc8, %rsp\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rsi; pop %rdi; pop %rbp; pop %rbx\n"
        "ret\n");
#else
enum { REGISTERS = 6 };

__asm__(".globl switch_with_registers\n"
        "switch_with_registers:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rcx\n"
        "mov 0(%rdx), %rbx; mov 8(%rdx), %rbp; mov 16(%rdx), %r12\n"
        "mov 24(%rdx), %r13; mov 32(%rdx), %r14; mov 40(%rdx), %r15\n"
        "call wf_context_switch\n"
        "pop %rcx\n"
        "mov %rbx, 0(%rcx); mov %rbp, 8(%rcx); mov %r12, 16(%rcx)\n"
        "mov %r13, 24(%rcx); mov %r14, 32(%rcx); mov %r15, 40(%rcx)\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "ret\n");
#endif

static const uint64_t ROUND_UP = UINT64_C(0x0b7f00005f80);

/* The x87 unit's word above that of SSE. */
static uint64_t control_now(void)
{
    uint32_t mxcsr;
    uint16_t x87;
    __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(mxcsr), "=m"(x87));
    return mxcsr | (uint64_t)x87 << 32;
}

static void control_set(uint64_t control)
{
    uint32_t mxcsr = (uint32_t)control;
    uint16_t x87 = (uint16_t)(control >> 32);
    __asm__ volatile("ldmxcsr %0; fldcw %1" : : "m"(mxcsr), "m"(x87));
}

#endif

struct registers {
    uint64_t values[REGISTERS];
};

void switch_with_registers(struct wf_context *from, const struct wf_context *to,
                           const struct registers *loaded, struct registers *found);

/* === Entry ========================================================================= */

static void note_argument(void *arg)
{
    *(int *)arg = 42;
    suspend_for_ever();
}

static void entry_gets_its_argument(void)
{
    int argument = 0;
    prepare(note_argument, &argument);
    resume();
    CHECK(argument == 42);
}

static void note_alignment(void *arg)
{
    *(uintptr_t *)arg = (uintptr_t)__builtin_frame_address(0);
    suspend_for_ever();
}

static void entry_finds_the_stack_aligned(void)
{
    uintptr_t address = 1;
    prepare(note_alignment, &address);
    resume();
    CHECK(address % 16 == 0);
}

/* === Registers and control words =================================================== */

static struct registers numbered(uint64_t first)
{
    struct registers registers;
    for (int i = 0; i < REGISTERS; i++)
        registers.values[i] = first + (uint64_t)i;
    return registers;
}

static void exchange_registers(void *arg)
{
    struct registers mine = numbered(0x2000), found;
    (void)arg;
    for (;;) {
        switch_with_registers(&fiber, &home, &mine, &found);
        CHECK(!memcmp(&found, &mine, sizeof found));
    }
}

static void callee_saved_registers_survive(void)
{
    struct registers mine = numbered(0x1000), found;
    prepare(exchange_registers, NULL);
    for (int round = 0; round < 3; round++) {
        switch_with_registers(&home, &fiber, &mine, &found);
        CHECK(!memcmp(&found, &mine, sizeof found));
    }
}

static void keep_control_words(void *arg)
{
    for (;;) {
        uint64_t mine = *(uint64_t *)arg;
        control_set(mine);
        suspend();
        CHECK(control_now() == mine);
    }
}

static void floating_point_control_words_survive(void)
{
    uint64_t original = control_now(), theirs;
    uint64_t words[] = { original, ROUND_UP };
    prepare(keep_control_words, &theirs);
    for (int i = 0; i < 4; i++) {
        uint64_t ours = words[i & 1];
        theirs = words[i >> 1 & 1];
        control_set(ours);
        resume();
        CHECK(control_now() == ours);
        resume();
        CHECK(control_now() == ours);
    }
    control_set(original);
}

static void note_control(void *arg)
{
    *(uint64_t *)arg = control_now();
    suspend_for_ever();
}

static void a_fiber_inherits_its_makers_control_words(void)
{
    uint64_t original = control_now(), inherited;
    control_set(ROUND_UP);
    prepare(note_control, &inherited);
    control_set(original);
    resume();
    CHECK(inherited == ROUND_UP);
}

/* === Many fibers =================================================================== */

enum { FIBERS = 100, ROUNDS = 1000, RING_STACK = 16384 };

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

/* === Walking the stack ============================================================= */

/* A walk from inside a fiber: the function that walks, the trampoline, and then the end. */

#ifdef _WIN32

static int frames_from_here(void)
{
    void *frames[62];
    return CaptureStackBackTrace(1, 62, frames, NULL); /* without the library's own */
}

#else

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *count)
{
    *(int *)count += _Unwind_GetIP(context) != 0; /* 0 says that the end comes next */
    return *(int *)count < 100 ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

static int frames_from_here(void)
{
    int count = 0;
    CHECK(_Unwind_Backtrace(count_frame, &count) == _URC_END_OF_STACK);
    return count;
}

#endif

static void note_frames(void *arg)
{
    *(int *)arg = frames_from_here();
    suspend_for_ever();
}

static void a_walk_ends_at_the_trampoline(void)
{
    int frames = 0;
    prepare(note_frames, &frames);
    resume();
    CHECK(frames >= 2 && frames <= 3); /* what is inlined has no frame */
}

/* === Windows ======================================================================= */

#ifdef _WIN32

struct bounds {
    void *base, *limit, *deallocation;
};

static struct bounds bounds_now(void)
{
    struct bounds bounds;
    __asm__ volatile("movq %%gs:0x08, %0; movq %%gs:0x10, %1; movq %%gs:0x1478, %2"
                     : "=r"(bounds.base), "=r"(bounds.limit), "=r"(bounds.deallocation));
    return bounds;
}

static void note_bounds(void *arg)
{
    *(struct bounds *)arg = bounds_now();
    suspend_for_ever();
}

static void the_system_knows_the_stacks_bounds(void)
{
    struct bounds before = bounds_now(), inside, after;
    prepare(note_bounds, &inside);
    resume();
    after = bounds_now();
    CHECK(inside.base == stack + sizeof stack);
    CHECK(inside.limit == stack && inside.deallocation == stack);
    CHECK(!memcmp(&before, &after, sizeof before));
}

#endif

int main(void)
{
    RUN(entry_gets_its_argument);
    RUN(entry_finds_the_stack_aligned);
    RUN(callee_saved_registers_survive);
    RUN(floating_point_control_words_survive);
    RUN(a_fiber_inherits_its_makers_control_words);
    RUN(many_fibers_take_turns);
    RUN(a_walk_ends_at_the_trampoline);
#ifdef _WIN32
    RUN(the_system_knows_the_stacks_bounds);
#endif
}
