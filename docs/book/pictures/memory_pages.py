"""Draws memory_pages.svg: which pages a waiting thread takes, in green_threads.py and in weft.

    python docs/book/pictures/memory_pages.py [FILE]         needs weft

Both threads wait a few calls deep.  The kernel says which pages of 4 KiB are in memory
(/proc/self/pagemap).  Around the top of its stack each thread's pages are drawn: the C stack is
below the top, and what lies above it in weft is CPython's data stack.  green_threads.py leaves the
data stack to CPython, which puts it somewhere else; it is counted and not drawn.
"""

import ctypes
import os
import struct
import sys
import time
from pathlib import Path

from _svg import COLOURS, GREY, PALE, Picture

import weft

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import green_threads  # noqa: E402 - it lies in the folder that the line above adds

PAGE = 4096
BELOW, ABOVE = 16, 8  # pages drawn
SQUARE, LEFT, TOP = 18, 160, 60

stack_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p)(
    green_threads.load(bytes.fromhex("48 89 e0 c3"))  # mov rax, rsp; ret
)


def in_memory(first: int, pages: int) -> list[bool]:
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(first // PAGE * 8)
        entries = struct.unpack(f"{pages}Q", file.read(pages * 8))
    return [bool(entry >> 63) for entry in entries]


def three_calls(wait: object) -> None:
    def two_calls() -> None:
        def one_call() -> None:
            wait()

        one_call()

    two_calls()


def small_one() -> tuple[list[bool], int]:
    """The pages around the top of a waiting thread's stack in green_threads.py, and the others."""
    before = resident()
    runtime = green_threads.Runtime(slots=100)
    for _ in range(100):
        runtime.spawn(lambda: three_calls(green_threads.yield_thread))
    runtime.t_yield()
    took = (resident() - before) / 100
    top = runtime.threads[50].sp.value // PAGE * PAGE
    return in_memory(top - (BELOW - 1) * PAGE, BELOW), round(took)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def weft_one() -> tuple[list[bool], int]:
    pointers = []

    def note_and_wait() -> None:
        pointers.append(stack_pointer())
        time.sleep(3600)

    def spawn_them(count: int) -> None:
        made = len(pointers)
        for _ in range(count):
            weft.spawn(three_calls, note_and_wait)
        while len(pointers) < made + count:
            weft.yield_now()

    spawn_them(100)  # the first ones pay for what all share
    before = resident()
    spawn_them(1000)
    took = (resident() - before) / 1000
    home = pointers[500] // PAGE * PAGE
    pages = in_memory(home - (BELOW - 1) * PAGE, BELOW + ABOVE)
    return pages, round(took)


def draw(picture: Picture, y: int, name: str, pages: list[bool], took: int) -> None:
    picture.text(16, y + 13, name)
    for i, present in enumerate(pages):
        x = LEFT + i * SQUARE
        picture.rectangle(x, y, SQUARE - 2, SQUARE - 2, COLOURS[0] if present else PALE)
    picture.text(LEFT, y + SQUARE + 14, f"in all {took / 1000:.1f} KB for each thread", fill=GREY)


def main() -> None:
    picture = Picture(LEFT + (BELOW + ABOVE) * SQUARE + 16, 210)
    picture.text(16, 24, "Pages in memory of a thread that waits, a few calls deep", size=14)
    weft_pages, weft_took = weft_one()
    pages, took = small_one()
    draw(picture, TOP, "green_threads.py", pages, took)
    draw(picture, TOP + 60, "weft", weft_pages, weft_took)
    x = LEFT + BELOW * SQUARE
    picture.rectangle(x - 1.5, TOP - 10, 1, 100, GREY)
    picture.text(x - 124, TOP + 118, "C stack, down <-", fill=GREY)
    picture.text(x + 4, TOP + 118, "-> data stack, up", fill=GREY)
    picture.write(Path(sys.argv[1]) if sys.argv[1:] else HERE / "memory_pages.svg")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # their threads would wait for long
