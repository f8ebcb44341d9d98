/* got_preload.c - somebody else's interposer, for LD_PRELOAD.
 *
 * It looks for libc's function at the first call, that is, after we have installed: the order in
 * which a careless rewriting of libc's table would send it round in circles.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <sys/types.h>

#pragma GCC visibility push(default)

long preload_calls;

pid_t getppid(void)
{
    static pid_t (*next)(void);
    if (next == NULL)
        next = (pid_t (*)(void))dlsym(RTLD_NEXT, "getppid");
    preload_calls++;
    return next();
}

int preload_call_itself(void)
{
    return getppid();
}

#pragma GCC visibility pop
