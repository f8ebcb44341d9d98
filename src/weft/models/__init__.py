"""The other ways to wait, each as a small program that can be read in one sitting.

weft runs blocking code on green threads.  Before that, and beside it, people found other ways to
do several things at once, and each is easiest to understand as the few lines that it is.  These
are made to be read; for work there are the standard library and weft itself.

In reading order, and a file uses only those above it:

    clock           time, real or virtual, and the one place where an OS thread waits
    threads         OS threads: the system switches
    green           green threads: a scheduler with slots that takes turns
    callbacks       one OS thread, and what it shall do when the time has come
    promises        callbacks with a value, an error, and a way to chain them
    async_await     a function that stops at `await`, over promises: it has begun when you get it
    reactor         an OS thread that knows when things happen, and whom to wake
    futures         values that nobody computes until somebody polls
    executor        who polls them, and goes to sleep until a waker says: again
    node            an event loop in phases: timers, callbacks, poll, check, close
    node_calls      files and computation on its pool, the network on its poll phase

The same program in each of them is in ``examples/models``.  Only the standard library is used,
except by `green`, whose stacks are weft's.
"""
