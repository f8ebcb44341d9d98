/* got_provider.c - a library that defines a function to hook, as libc does for the rest.
 *
 * Linked with --hash-style=sysv: the other way in which an object tells how many symbols it has.
 */
#include <stdarg.h>

#pragma GCC visibility push(default)

volatile int resolving; /* see got_slow.c */

int provided(void)
{
    return 17;
}

/* Variadic, as fcntl is: %rax is an argument, too. */
long provided_many(int first, ...)
{
    long number = first;
    va_list list;
    va_start(list, first);
    for (int i = 0; i < 7; i++)
        number = 10 * number + va_arg(list, int);
    va_end(list);
    return number;
}

#pragma GCC visibility pop
