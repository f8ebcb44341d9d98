"""Python called back by C, and waiting there: libc's qsort with a comparison that sleeps.

Every job parks with qsort's frames on its C stack, its half-sorted array and its callback; the
others then enter the same function.
"""

import ctypes
import time

NAME = "ctypes callback in qsort"

SIZE = 8
COMPARISONS = 20  # what merging 8 needs at most, and a little more: 17

libc = ctypes.CDLL(None)


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
def compare(left, right):
    time.sleep(0.2 / COMPARISONS)
    return left[0] - right[0]


def job(i: int) -> None:
    values = [(number * 5 + i) % SIZE for number in range(SIZE)]
    array = (ctypes.c_int * SIZE)(*values)
    libc.qsort(array, SIZE, ctypes.sizeof(ctypes.c_int), compare)
    assert list(array) == sorted(values)
