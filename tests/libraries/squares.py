"""What the processes of cases/multiprocessing_queues.py run; here, where they can import it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

DELAY_SECONDS = 0.25


def answer(questions: Queue[int | None], answers: Queue[int]) -> None:
    """Square numbers until None comes."""
    for number in iter(questions.get, None):
        time.sleep(DELAY_SECONDS)
        answers.put(number * number)
