/* got_provider.c - a library that defines a function to hook, as libc does for the rest.
 *
 * Linked with --hash-style=sysv: the other way in which an object tells how many symbols it has.
 */
#pragma GCC visibility push(default)

volatile int resolving; /* see got_slow.c */

int provided(void)
{
    return 17;
}

#pragma GCC visibility pop
