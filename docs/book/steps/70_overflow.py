# Step 70: what happens where a stack ends.
#
# Nothing, and that is the trouble.  Below the last byte of a thread's stack lies other memory, here
# the stack of the next thread, and whoever recurses too deep just goes on writing.  This program
# looks at the neighbour's memory before and after.  It uses green_threads.py with small stacks.
# (x86-64 and AArch64; CPython 3.11 to 3.13.)

import ctypes
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import green_threads

green_threads.STACK_SIZE = 64 * 1024


def recurse(depth):
    """Goes through C at each level: map() calls us, and list() calls map()."""
    if depth:
        list(map(recurse, [depth - 1]))


def top_of(thread):
    return thread.sp.value + 8 * green_threads.MACHINE.words


def contents(thread):
    """All of a thread's stack."""
    size = green_threads.STACK_SIZE
    return ctypes.string_at(top_of(thread) - size, size)


def main():
    runtime = green_threads.Runtime(slots=8)
    threads = runtime.threads[1:]
    above, below = next(
        (a, b)
        for a in threads
        for b in threads
        if top_of(a) - green_threads.STACK_SIZE == top_of(b)
    )
    before = contents(below)
    above.task, above.state = (lambda: recurse(200)), green_threads.State.READY
    runtime.run()
    after = contents(below)
    changed = sum(x != y for x, y in zip(before, after, strict=True))
    print("Two threads, and one stack lies right below the other.")
    print(f"The upper one recursed.  Bytes changed in the stack of the lower one: {changed:,}")
    print("It has not run yet.  It will never know what hit it.", flush=True)
    os._exit(0)


main()
