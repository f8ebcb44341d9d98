/* got_helper.h - the exports of got_helper.c, which test_got.c finds with dlsym. */
#ifndef GOT_HELPER_H
#define GOT_HELPER_H

#include <sys/types.h>

#pragma GCC visibility push(default)

struct helper_table {
    pid_t (*parent)(void);
};

/* Words that have to do with getppid, but are not to be hooked. */
struct helper_oddities {
    char byte;
    pid_t (*unaligned)(void);
    char bytes[7];
    const char *behind; /* aligned, but one byte into getppid */
} __attribute__((packed, aligned(8)));

extern struct helper_table helper_table;
extern struct helper_oddities helper_oddities;

pid_t helper_call(void);
pid_t helper_call_pointer(void);
pid_t helper_call_table(void);
pid_t helper_call_constant(void);
pid_t helper_call_group(void);
uid_t helper_call_user(void);
long helper_call_many(void);
int helper_call_fsync(void);
int helper_call_sem_post(void);
int helper_call_provided(void);

#pragma GCC visibility pop

#endif
