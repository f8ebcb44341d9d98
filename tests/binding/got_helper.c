/* got_helper.c - a library that calls out in every way in which code is compiled to call out.
 *
 * binding.mk builds it several times: bound lazily, bound at load with full RELRO, without a PLT.
 */
#include "got_helper.h"

#include <semaphore.h>
#include <unistd.h>

int provided(void);
long provided_many(int first, ...);

/* A word in data (ABSOLUTE), and one that RELRO protects. */
struct helper_table helper_table = {.parent = getppid};
static const struct helper_table constant_table = {.parent = getppid};

struct helper_oddities helper_oddities = {
    .unaligned = getppid,
    .behind = (const char *)getppid + 1,
};

/* The compiler must not see what the pointers point to, or it makes direct calls of these. */
static pid_t call(pid_t (*function)(void))
{
    __asm__("" : "+r"(function));
    return function();
}

pid_t helper_call(void)
{
    return getppid();
}

pid_t helper_call_pointer(void)
{
    return call(getppid);
}

pid_t helper_call_table(void)
{
    return call(helper_table.parent);
}

pid_t helper_call_constant(void)
{
    const struct helper_table *table = &constant_table;
    __asm__("" : "+r"(table));
    return call(table->parent);
}

pid_t helper_call_group(void)
{
    return getpgrp();
}

uid_t helper_call_user(void)
{
    return getuid();
}

/* With all the registers there are for arguments, and a stack. */
long helper_call_many(void)
{
    return provided_many(1, 2, 3, 4, 5, 6, 7, 8);
}

int helper_call_fsync(void)
{
    return fsync(-1);
}

int helper_call_sem_post(void)
{
    sem_t sem;
    sem_init(&sem, 0, 0);
    return sem_post(&sem);
}

int helper_call_provided(void)
{
    return provided();
}
