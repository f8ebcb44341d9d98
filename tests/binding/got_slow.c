/* got_slow.c - a library that takes its time to be loaded.
 *
 * ld.so asks a resolver for the address of an IFUNC when it has filled most slots of the object,
 * and writes the answer to one more.  Ours dawdles, so the test can see what happens to
 * an object that another thread is loading.
 */
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

extern volatile int resolving; /* the provider's */

/* A resolver may call nothing: the slots it would call through may not be filled. */
static void dawdle(void)
{
    struct timespec time = {.tv_nsec = 20000000};
#if defined(__x86_64__)
    long result = SYS_nanosleep;
    __asm__ volatile("syscall" : "+a"(result) : "D"(&time), "S"(NULL) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
    register long number __asm__("x8") = SYS_nanosleep, left __asm__("x1") = 0;
    register void *result __asm__("x0") = &time;
    __asm__ volatile("svc 0" : "+r"(result) : "r"(number), "r"(left) : "memory");
#endif
}

static int twice(int number)
{
    return 2 * number;
}

static int (*resolve(void))(int)
{
    resolving = 1;
    dawdle();
    return twice;
}

__attribute__((ifunc("resolve"))) static int resolved(int number);

#pragma GCC visibility push(default)

int (*slow_sync(void))(int)
{
    return fsync;
}

uid_t slow_user(void)
{
    return getuid();
}

int slow_parent(void)
{
    return resolved(getppid());
}

#pragma GCC visibility pop
