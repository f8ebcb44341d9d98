/* test_stack.c - the layout of a stack, its reuse, its guard, and a system that has run short.
 *
 * The three memory calls of stack.c are ours here, so that a test can be an old
 * kernel or a full address space.
 */
#include "check.h"
#include "stack.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define MIB ((size_t)1 << 20)
#define STACK_SIZE (MIB / 4)

/* === A system to be had in several sizes =========================================== */

static struct {
    bool old_kernel;       /* knows no MADV_GUARD_INSTALL */
    bool mappings_used_up; /* vm.max_map_count is reached */
    size_t largest_mapping;
} system_ = { .largest_mapping = SIZE_MAX };

void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset)
{
    if (len > system_.largest_mapping) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, address, len, protection, flags, fd, offset);
}

int madvise(void *address, size_t len, int advice)
{
    if (advice == 102 && system_.old_kernel) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_madvise, address, len, advice);
}

int mprotect(void *address, size_t len, int protection)
{
    if (system_.mappings_used_up) {
        errno = ENOMEM;
        return -1;
    }
    return (int)syscall(SYS_mprotect, address, len, protection);
}

static struct wf_stack_pool pool_of(size_t size, size_t slab_cells)
{
    struct wf_stack_pool pool;
    wf_stack_pool_init(&pool, size, slab_cells);
    return pool;
}

/* === Layout ======================================================================== */

static void check_layout(const struct wf_stack *stack, const struct wf_stack_pool *pool)
{
    uintptr_t top = (uintptr_t)stack->top, chunk_lo = (uintptr_t)stack->chunk_lo;
    uintptr_t home = top - top % WF_PAGE_SIZE, home_end = home + WF_PAGE_SIZE;
    CHECK(stack->top == (const char *)stack);
    CHECK(stack->pool == pool);
    CHECK(stack->chunk_lo == stack->top + WF_STACK_HEADER_SIZE);
    CHECK(top % 16 == 0 && chunk_lo % 16 == 0);
    CHECK((uintptr_t)stack->lo % WF_PAGE_SIZE == 0);
    CHECK((size_t)(stack->top - stack->lo) >= pool->size);
    CHECK((size_t)(stack->chunk_hi - stack->chunk_lo) >= WF_STACK_CHUNK_SIZE);
    CHECK(top - home >= 2048);                                /* C frames and */
    CHECK(chunk_lo < home_end && home_end - chunk_lo >= 600); /* Python frames: one page */
}

static void every_stack_keeps_the_layout(void)
{
    size_t sizes[] = { 0, 1, WF_PAGE_SIZE, STACK_SIZE, 8 * MIB };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct wf_stack_pool pool = pool_of(sizes[i], 7);
        CHECK(pool.size >= sizes[i] && pool.size < sizes[i] + WF_MOST_PAGE_SIZE);
        for (int n = 0; n < 20; n++)
            check_layout(wf_stack_acquire(&pool), &pool);
    }
}

static void headers_are_coloured(void)
{
    struct wf_stack_pool pool = pool_of(STACK_SIZE, 8);
    uintptr_t last = 0;
    for (int n = 0; n < 5; n++) {
        uintptr_t place = (uintptr_t)wf_stack_acquire(&pool) % WF_PAGE_SIZE;
        CHECK(place % 64 == 0 && place != last);
        last = place;
    }
}

static void a_shallow_stack_occupies_one_page(void)
{
    struct wf_stack_pool pool = pool_of(STACK_SIZE, 4);
    struct wf_stack *stack = wf_stack_acquire(&pool);
    unsigned char in_memory[STACK_SIZE / WF_PAGE_SIZE + 64];
    stack->top[-2000] = stack->chunk_lo[590] = 1;
    size_t len = (size_t)(stack->chunk_hi - stack->lo), pages = 0;
    CHECK(len / WF_PAGE_SIZE <= sizeof in_memory);
    CHECK(mincore(stack->lo, len, in_memory) == 0);
    for (size_t i = 0; i < len / WF_PAGE_SIZE; i++)
        pages += in_memory[i] & 1;
    CHECK(pages == 1);
}

static void all_of_a_stack_can_be_written(void)
{
    struct wf_stack_pool pool = pool_of(4 * WF_PAGE_SIZE, 2);
    struct wf_stack *first = wf_stack_acquire(&pool), *second = wf_stack_acquire(&pool);
    struct wf_stack before = *second;
    memset(first->lo, 0xaa, (size_t)(first->top - first->lo));
    memset(first->chunk_lo, 0xbb, (size_t)(first->chunk_hi - first->chunk_lo));
    memset(second->lo, 0xcc, (size_t)(second->top - second->lo));
    CHECK(!memcmp(second, &before, sizeof before));
    CHECK((unsigned char)first->chunk_lo[0] == 0xbb);
}

/* === Reuse ========================================================================= */

static void the_last_released_is_the_first_reused(void)
{
    struct wf_stack_pool pool = pool_of(STACK_SIZE, 8);
    struct wf_stack *a = wf_stack_acquire(&pool), *b = wf_stack_acquire(&pool);
    wf_stack_release(a);
    wf_stack_release(b);
    CHECK(wf_stack_acquire(&pool) == b);
    CHECK(wf_stack_acquire(&pool) == a);
    CHECK(wf_stack_acquire(&pool) != a);
    CHECK(pool.made == 3);
}

static void the_owners_part_of_the_header_starts_zero_and_stays(void)
{
    struct wf_stack_pool pool = pool_of(STACK_SIZE, 8);
    struct wf_stack *stack = wf_stack_acquire(&pool);
    char *mine = (char *)(stack + 1);
    size_t len = WF_STACK_HEADER_SIZE - sizeof *stack;
    for (size_t i = 0; i < len; i++)
        CHECK(mine[i] == 0);
    memset(mine, 0x5a, len);
    wf_stack_release(stack);
    CHECK(wf_stack_acquire(&pool) == stack);
    for (size_t i = 0; i < len; i++)
        CHECK(mine[i] == 0x5a);
}

static void release_twice(void)
{
    struct wf_stack_pool pool = pool_of(STACK_SIZE, 8);
    struct wf_stack *stack = wf_stack_acquire(&pool);
    close(STDERR_FILENO); /* the panic is expected */
    wf_stack_release(stack);
    wf_stack_release(stack);
}

static void releasing_twice_is_a_panic(void)
{
    int status = check_in_child(release_twice);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void twenty_thousand_stacks(void)
{
    enum { N = 20000 };
    static struct wf_stack *stacks[N];
    struct wf_stack_pool pool = pool_of(STACK_SIZE, 1024);
    for (int i = 0; i < N; i++) {
        CHECK((stacks[i] = wf_stack_acquire(&pool)) != NULL);
        *(int *)(stacks[i] + 1) = i;
    }
    for (int i = 0; i < N; i++) {
        CHECK(*(int *)(stacks[i] + 1) == i); /* no two are the same */
        wf_stack_release(stacks[i]);
    }
    for (int i = 0; i < N; i++)
        CHECK(wf_stack_acquire(&pool) == stacks[N - 1 - i]);
    CHECK(pool.made == N);
}

/* === Guards ======================================================================== */

static struct wf_stack *victim;

static void exit_42_if_in_guard(int signal_number, siginfo_t *info, void *ucontext)
{
    (void)signal_number, (void)ucontext;
    _exit(wf_stack_guard_contains(victim, info->si_addr) && wf_stack_owns(info->si_addr) ? 42 : 43);
}

static void run_off_the_end(void)
{
    static char alternate[1 << 16];
    stack_t alternate_stack = { .ss_sp = alternate, .ss_size = sizeof alternate };
    struct sigaction action = { .sa_sigaction = exit_42_if_in_guard,
                                .sa_flags = SA_SIGINFO | SA_ONSTACK };
    CHECK(sigaltstack(&alternate_stack, NULL) == 0);
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    for (volatile char *p = victim->top - 1;; p -= 64)
        *p = 1;
}

static void check_guarded(struct wf_stack *stack)
{
    CHECK(stack != NULL);
    victim = stack;
    CHECK(!wf_stack_guard_contains(stack, stack->lo));
    CHECK(wf_stack_guard_contains(stack, stack->lo - 1));
    CHECK(wf_stack_guard_contains(stack, stack->lo - WF_STACK_GUARD_SIZE));
    CHECK(!wf_stack_guard_contains(stack, stack->lo - WF_STACK_GUARD_SIZE - 1));
    int status = check_in_child(run_off_the_end);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static void running_off_the_end_hits_the_guard(void)
{
    struct wf_stack_pool pool = pool_of(STACK_SIZE, 8);
    wf_stack_acquire(&pool);
    check_guarded(wf_stack_acquire(&pool));
}

static void an_old_kernel_guards_too(void)
{
    struct wf_stack_pool pool = pool_of(STACK_SIZE, 8);
    system_.old_kernel = true;
    wf_stack_acquire(&pool);
    check_guarded(wf_stack_acquire(&pool));
    system_.old_kernel = false;
}

static void no_guard_means_no_stack(void)
{
    struct wf_stack_pool pool = pool_of(STACK_SIZE, 8);
    system_.old_kernel = system_.mappings_used_up = true;
    errno = 0;
    CHECK(wf_stack_acquire(&pool) == NULL && errno == ENOMEM);
    CHECK(wf_stack_acquire(&pool) == NULL && pool.made == 0);
    system_.mappings_used_up = false;
    check_guarded(wf_stack_acquire(&pool)); /* the cell was not lost */
    system_.old_kernel = false;
}

static void those_prepared_together_are_all_guarded(void)
{
    struct wf_stack_pool pool = pool_of(STACK_SIZE, 200);
    struct wf_stack *stacks[150];
    for (int n = 0; n < 150; n++)
        check_layout(stacks[n] = wf_stack_acquire(&pool), &pool);
    for (int n = 60; n < 150; n += 7)
        check_guarded(stacks[n]);
}

/* === Memory given back ============================================================= */

static void an_emptied_stack_comes_back_as_new_and_guarded(void)
{
    struct wf_stack_pool pool = pool_of(STACK_SIZE, 8);
    struct wf_stack *stack = wf_stack_acquire(&pool);
    char *lo = stack->lo;
    char *owners = (char *)(stack + 1);
    *owners = 'x';
    stack->chunk_lo[100] = 'x';
    *lo = 'x';
    CHECK(wf_stack_empty(stack));
    CHECK(*lo == 0); /* still readable (S1), and empty */

    struct wf_stack *again = wf_stack_acquire(&pool);
    CHECK(again->lo == lo); /* before a new one is cut */
    CHECK(*(char *)(again + 1) == 0 && again->chunk_lo[100] == 0);
    check_layout(again, &pool);
    check_guarded(again);
    CHECK(pool.made == 1);
    wf_stack_pool_term(&pool);
}

/* === Slabs ========================================================================= */

static void owns_all_stacks_and_nothing_else(void)
{
    struct wf_stack_pool small = pool_of(WF_PAGE_SIZE, 3), large = pool_of(MIB, 3);
    int on_this_stack;
    for (int n = 0; n < 10; n++) {
        struct wf_stack *stack = wf_stack_acquire(n % 2 ? &small : &large);
        CHECK(wf_stack_owns(stack->lo - WF_STACK_GUARD_SIZE));
        CHECK(wf_stack_owns(stack));
        CHECK(wf_stack_owns(stack->chunk_hi - 1));
    }
    CHECK(!wf_stack_owns(&on_this_stack));
    CHECK(!wf_stack_owns(&system_));
    CHECK(!wf_stack_owns(NULL));
    CHECK(!wf_stack_owns((void *)UINTPTR_MAX));
}

static void a_smaller_slab_will_do(void)
{
    struct wf_stack_pool pool = pool_of(STACK_SIZE, 1 << 20);
    system_.largest_mapping = WF_STACK_HEADROOM + 8 * MIB;
    for (int n = 0; n < 50; n++)
        check_layout(wf_stack_acquire(&pool), &pool);
    CHECK((size_t)(pool.slab_end - pool.slab_next) < 8 * MIB);
    system_.largest_mapping = SIZE_MAX;
}

static void no_address_space_means_no_stack(void)
{
    struct wf_stack_pool pool = pool_of(STACK_SIZE, 64), absurd = pool_of(SIZE_MAX, SIZE_MAX);
    system_.largest_mapping = WF_STACK_HEADROOM; /* which is not for stacks */
    errno = 0;
    CHECK(wf_stack_acquire(&pool) == NULL && errno == ENOMEM);
    system_.largest_mapping = SIZE_MAX;
    CHECK(wf_stack_acquire(&pool) != NULL);
    errno = 0;
    CHECK(wf_stack_acquire(&absurd) == NULL && errno == ENOMEM);
}

static void fill_the_registry(void)
{
    struct wf_stack_pool pool = pool_of(0, 1);
    struct wf_stack *stack, *last = NULL;
    while ((stack = wf_stack_acquire(&pool)))
        last = stack;
    CHECK(errno == ENOMEM);
    CHECK(pool.made > 1000 && pool.made <= 4096);
    CHECK(wf_stack_owns(last));
    wf_stack_release(last);
    CHECK(wf_stack_acquire(&pool) == last); /* what exists goes on working */
    CHECK(wf_stack_acquire(&pool) == NULL);
}

static void a_full_registry_means_no_stack(void)
{
    CHECK(check_in_child(fill_the_registry) == 0);
}

int main(void)
{
    RUN(every_stack_keeps_the_layout);
    RUN(headers_are_coloured);
    RUN(a_shallow_stack_occupies_one_page);
    RUN(all_of_a_stack_can_be_written);
    RUN(the_last_released_is_the_first_reused);
    RUN(the_owners_part_of_the_header_starts_zero_and_stays);
    RUN(releasing_twice_is_a_panic);
    RUN_IF_NATIVE(running_off_the_end_hits_the_guard);
    RUN(an_old_kernel_guards_too);
    RUN(no_guard_means_no_stack);
    RUN_IF_NATIVE(those_prepared_together_are_all_guarded);
    RUN_IF_NATIVE(an_emptied_stack_comes_back_as_new_and_guarded);
    RUN(owns_all_stacks_and_nothing_else);
    RUN(a_smaller_slab_will_do);
    RUN(no_address_space_means_no_stack);
    RUN(a_full_registry_means_no_stack);
    RUN(twenty_thousand_stacks); /* last: the children above copy no 20,000 page tables */
}
