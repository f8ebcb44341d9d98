/* test_timer.c - the heap against the slowest queue that is obviously right. */
#include "check.h"
#include "timer.h"

/* The owners' side: a timer is live as long as its token is marked here. */
#define TOKENS 40000
static bool live[TOKENS];
static bool is_live(const struct wf_timer *timer)
{
    return live[timer->token];
}

static void add(struct wf_timer_heap *heap, int64_t deadline_ns, uint64_t token)
{
    live[token] = true;
    wf_timer_add(heap, deadline_ns, &live[token], token);
}

static void forget(struct wf_timer_heap *heap, uint64_t token)
{
    live[token] = false;
    wf_timer_forget(heap);
}

/* The next live timer due, or false; what the scheduler will do. */
static bool pop_live(struct wf_timer_heap *heap, int64_t now_ns, struct wf_timer *out)
{
    while (wf_timer_pop(heap, now_ns, out))
        if (is_live(out)) {
            live[out->token] = false;
            return true;
        }
    return false;
}

static struct wf_timer_heap heap_for(size_t count)
{
    struct wf_timer_heap heap;
    wf_timer_init(&heap, is_live);
    CHECK(wf_timer_reserve(&heap, count));
    return heap;
}

static void an_empty_heap_never_fires(void)
{
    struct wf_timer_heap heap;
    struct wf_timer timer;
    wf_timer_init(&heap, is_live);
    CHECK(wf_timer_next(&heap) == WF_NEVER);
    CHECK(!wf_timer_pop(&heap, INT64_MAX, &timer));
    wf_timer_term(&heap);
}

static void a_timer_fires_at_its_deadline_and_not_before(void)
{
    struct wf_timer_heap heap = heap_for(1);
    struct wf_timer timer;
    add(&heap, 100, 1);
    CHECK(wf_timer_next(&heap) == 100);
    CHECK(!wf_timer_pop(&heap, 99, &timer));
    CHECK(wf_timer_pop(&heap, 100, &timer));
    CHECK(timer.deadline_ns == 100 && timer.token == 1 && timer.owner == &live[1]);
    CHECK(wf_timer_next(&heap) == WF_NEVER);
    wf_timer_term(&heap);
}

static void the_next_live_one_is_not_a_dead_one(void)
{
    struct wf_timer_heap heap = heap_for(8);
    CHECK(wf_timer_next_live(&heap) == WF_NEVER);
    for (uint64_t token = 1; token <= 8; token++)
        add(&heap, (int64_t)token * 100, token);
    forget(&heap, 1);
    forget(&heap, 2);
    CHECK(wf_timer_next(&heap) == 100);
    CHECK(wf_timer_next_live(&heap) == 300);
    CHECK(wf_timer_next(&heap) == 300 && heap.forgotten == 0);
    wf_timer_term(&heap);
}

static void equal_deadlines_leave_in_token_order(void)
{
    enum { N = 1000 };
    struct wf_timer_heap heap = heap_for(N);
    struct wf_timer timer;
    for (uint64_t i = 0; i < N; i++)
        add(&heap, 5, i * 7 % N); /* 7 and N have no common divisor: every token once */
    for (uint64_t token = 0; token < N; token++) {
        CHECK(wf_timer_pop(&heap, 5, &timer));
        CHECK(timer.token == token);
    }
    wf_timer_term(&heap);
}

/* A connection that sets a timeout for every message and never needs one. */
static void forgotten_timers_make_room(void)
{
    struct wf_timer_heap heap = heap_for(10);
    size_t capacity = heap.capacity;
    for (uint64_t token = 0; token < 9; token++)
        add(&heap, 1000 + (int64_t)token, token);
    for (uint64_t token = 9; token < TOKENS; token++) {
        add(&heap, (int64_t)token % 17, token);
        forget(&heap, token);
        CHECK(heap.len <= 20);
    }
    CHECK(heap.capacity == capacity);
    for (uint64_t token = 0; token < 9; token++) {
        struct wf_timer timer;
        CHECK(pop_live(&heap, INT64_MAX, &timer));
        CHECK(timer.token == token);
    }
    wf_timer_term(&heap);
}

/* The worst the owner can do: in each round he lets as many die as the heap will ignore, and
 * then takes all others out, so that the heap starts the next round with nothing but dead ones. */
static void the_dead_never_fill_the_reservation(void)
{
    enum { LIVE = 32, ROUNDS = 8 };
    struct wf_timer_heap heap = heap_for(LIVE);
    struct wf_timer timer;
    uint64_t token = 0;
    CHECK(heap.capacity == 2 * LIVE);
    for (int64_t round = 0; round < ROUNDS; round++) {
        size_t victims = (LIVE - heap.len - 1) / 2;
        uint64_t first = token;
        for (size_t i = 0; i < LIVE; i++)
            add(&heap, i < victims ? ROUNDS : round, token++);
        CHECK(heap.len < heap.capacity);
        for (size_t i = 0; i < victims; i++)
            forget(&heap, first + i);
        while (pop_live(&heap, round, &timer))
            CHECK(timer.deadline_ns == round);
        CHECK(heap.len == heap.forgotten);
    }
    CHECK(heap.len == LIVE - 2); /* not one died unnoticed that could have */
    wf_timer_term(&heap);
}

static void reserving_too_much_changes_nothing(void)
{
    struct wf_timer_heap heap = heap_for(3);
    struct wf_timer_heap before = heap;
    CHECK(!wf_timer_reserve(&heap, SIZE_MAX));
    CHECK(!wf_timer_reserve(&heap, SIZE_MAX / sizeof(struct wf_timer)));
    CHECK(heap.entries == before.entries && heap.capacity == before.capacity);
    wf_timer_term(&heap);
}

/* === The oracle: live timers in a sorted array ===================================== */

#define LIVE_MAX 150

static struct {
    struct { int64_t deadline_ns; uint64_t token; } timers[LIVE_MAX];
    size_t len;
} oracle;

static void oracle_add(int64_t deadline_ns, uint64_t token)
{
    size_t i = oracle.len++;
    /* Tokens rise, so the new one goes behind its equals. */
    for (; i > 0 && oracle.timers[i - 1].deadline_ns > deadline_ns; i--)
        oracle.timers[i] = oracle.timers[i - 1];
    oracle.timers[i].deadline_ns = deadline_ns;
    oracle.timers[i].token = token;
}

static uint64_t oracle_remove(size_t i)
{
    uint64_t token = oracle.timers[i].token;
    for (oracle.len--; i < oracle.len; i++)
        oracle.timers[i] = oracle.timers[i + 1];
    return token;
}

/* xorshift: the same sequence everywhere, for ever. */
static uint64_t random_below(uint64_t bound)
{
    static uint64_t state = 88172645463325252;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % bound;
}

static void check_structure(const struct wf_timer_heap *heap)
{
    size_t dead = 0;
    for (size_t i = 0; i < heap->len; i++) {
        dead += !is_live(&heap->entries[i]);
        CHECK(i == 0 || heap->entries[(i - 1) / 4].deadline_ns <= heap->entries[i].deadline_ns);
    }
    CHECK(dead == heap->forgotten);
    CHECK(heap->len - dead == oracle.len);
    CHECK(oracle.len == 0 || wf_timer_next(heap) <= oracle.timers[0].deadline_ns);
}

static void expire(struct wf_timer_heap *heap, int64_t now_ns)
{
    struct wf_timer timer;
    while (pop_live(heap, now_ns, &timer)) {
        CHECK(oracle.len > 0);
        CHECK(timer.deadline_ns == oracle.timers[0].deadline_ns);
        CHECK(timer.token == oracle_remove(0));
    }
    CHECK(oracle.len == 0 || oracle.timers[0].deadline_ns > now_ns);
}

static void random_operations_agree_with_the_oracle(void)
{
    struct wf_timer_heap heap = heap_for(LIVE_MAX);
    const struct wf_timer *entries = heap.entries;
    int64_t now_ns = 0;
    for (uint64_t token = 0; token < TOKENS;) {
        uint64_t dice = random_below(100);
        if (dice < 55 && oracle.len < LIVE_MAX) {
            int64_t deadline_ns = now_ns + (int64_t)random_below(50);
            add(&heap, deadline_ns, token);
            oracle_add(deadline_ns, token++);
        } else if (dice < 95 && oracle.len > 0) {
            forget(&heap, oracle_remove(random_below(oracle.len)));
        } else {
            now_ns += (int64_t)random_below(10);
            expire(&heap, now_ns);
        }
        if (token % 16 == 0)
            check_structure(&heap);
    }
    expire(&heap, INT64_MAX);
    CHECK(heap.len == 0 && heap.forgotten == 0);
    CHECK(heap.entries == entries); /* the first reservation was enough */
    wf_timer_term(&heap);
}

int main(void)
{
    RUN(an_empty_heap_never_fires);
    RUN(a_timer_fires_at_its_deadline_and_not_before);
    RUN(the_next_live_one_is_not_a_dead_one);
    RUN(equal_deadlines_leave_in_token_order);
    RUN(forgotten_timers_make_room);
    RUN(the_dead_never_fill_the_reservation);
    RUN(reserving_too_much_changes_nothing);
    RUN(random_operations_agree_with_the_oracle);
}
