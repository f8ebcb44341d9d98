"""Draws stack_bytes.svg: the top of a stack before a function ran on it and after, byte by byte.

    python docs/book/pictures/stack_bytes.py [FILE]

Runs steps/20_show_the_stack.py and reads what it prints: each byte is a square, coloured by what
its word of eight bytes may mean.
"""

import re
import subprocess
import sys
from pathlib import Path

from _svg import COLOURS, GREY, PALE, Picture

HERE = Path(__file__).parent
STEP = HERE.parent / "steps" / "20_show_the_stack.py"
LINE = re.compile(r"top - (\d+) +((?:[0-9a-f]{2} ?){8}) *(.*)")
BYTE, ROW, TOP = 16, 12, 64

KINDS = [
    ("code of", "an address in code: mostly a place to return to", COLOURS[0]),
    ("in this stack", "an address in this stack", COLOURS[2]),
    ("in [stack]", "an address in the stack we came from", COLOURS[1]),
    ("in ", "an address of something else", COLOURS[3]),
    ("a number", "a number, or text", COLOURS[4]),
]


def colour(byte: str, note: str) -> str:
    """Zeros are pale, unless they belong to a word that is not."""
    known = next((colour for start, _, colour in KINDS if note.startswith(start)), None)
    return known or (PALE if byte == "00" else GREY)


def draw_half(picture: Picture, x: int, title: str, lines: list[tuple[str, str, str]]) -> None:
    picture.text(x, TOP - 14, title, size=14)
    for row, (distance, word, note) in enumerate(lines):
        y = TOP + row * ROW
        for column, byte in enumerate(word.split()):
            picture.rectangle(x + column * BYTE, y, BYTE - 1, ROW - 1, colour(byte, note))
        if row % 4 == 0:
            picture.text(x + 8 * BYTE + 6, y + 9, f"top - {distance}", size=9, fill=GREY)


def main() -> None:
    printed = subprocess.run(
        [sys.executable, STEP], check=True, capture_output=True, text=True
    ).stdout
    before, after = (
        [line.groups() for line in map(LINE.fullmatch, half.splitlines()) if line]
        for half in printed.split("Hello from another stack!")
    )
    picture = Picture(640, TOP + len(after) * ROW + 24 + 16 * len(KINDS))
    picture.text(16, 24, "The top of a new stack, one square a byte, eight to a row", size=14)
    draw_half(picture, 16, "before", before)
    draw_half(picture, 336, "after a function ran on it", after)
    for i, (_, meaning, fill) in enumerate(KINDS):
        y = TOP + len(after) * ROW + 16 + 16 * i
        picture.rectangle(16, y, BYTE - 1, ROW - 1, fill)
        picture.text(16 + 24, y + 10, meaning)
    picture.write(Path(sys.argv[1]) if sys.argv[1:] else HERE / "stack_bytes.svg")


if __name__ == "__main__":
    main()
