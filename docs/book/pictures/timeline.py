"""Draws timeline.svg: who ran when, in a run of green_threads.py.

    python docs/book/pictures/timeline.py [FILE]

Three threads compute for different times between their yields; the runtime notes the clock at every
switch.  Nothing is drawn but what was measured.
"""

import sys
import time
from pathlib import Path

from _svg import COLOURS, GREY, PALE, Picture

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import green_threads  # noqa: E402 - it lies in the folder that the line above adds

LANE, LEFT, TOP, WIDTH = 28, 110, 56, 500


class Recording(green_threads.Runtime):
    """Notes, at each switch, who stops and when."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.slices: list[tuple[int, int, int]] = []
        self.since = time.perf_counter_ns()

    def t_yield(self) -> bool:
        now = time.perf_counter_ns()
        self.slices.append((self.current, self.since, now))
        self.since = now
        return super().t_yield()


def compute(microseconds: int, rounds: int) -> None:
    for _ in range(rounds):
        until = time.perf_counter_ns() + microseconds * 1000
        while time.perf_counter_ns() < until:
            pass
        green_threads.yield_thread()


def main() -> None:
    runtime = Recording(slots=3)
    for microseconds, rounds in ((200, 6), (400, 4), (100, 9)):
        runtime.spawn(lambda m=microseconds, r=rounds: compute(m, r))
    runtime.run()
    begin, end = runtime.slices[0][1], runtime.slices[-1][2]
    picture = Picture(LEFT + WIDTH + 20, TOP + 4 * LANE + 36)
    picture.text(16, 24, "Who has the processor, and for how long", size=14)
    for lane, name in enumerate(("base", "thread 1", "thread 2", "thread 3")):
        picture.text(16, TOP + lane * LANE + 15, name)
        picture.rectangle(LEFT, TOP + lane * LANE, WIDTH, LANE - 8, PALE)
    for who, start, stop in runtime.slices:
        x = LEFT + WIDTH * (start - begin) / (end - begin)
        width = WIDTH * (stop - start) / (end - begin)
        picture.rectangle(x, TOP + who * LANE, max(width, 1), LANE - 8, COLOURS[who])
    picture.text(LEFT, TOP + 4 * LANE + 14, "0", fill=GREY)
    milliseconds = f"{(end - begin) / 1e6:.1f} ms"
    picture.text(LEFT + WIDTH - 50, TOP + 4 * LANE + 14, milliseconds, fill=GREY)
    picture.write(Path(sys.argv[1]) if sys.argv[1:] else HERE / "timeline.svg")


if __name__ == "__main__":
    main()
