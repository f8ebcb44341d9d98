"""What cases/redis_plain.py and redis_hiredis.py ask for; they differ in who parses the answers."""

from __future__ import annotations

import os
from typing import Any


def late_and_long(client: Any, name: str, i: int) -> None:
    """An answer that comes after 0.2 s, then one of some hundred kilobytes."""
    key = f"{os.getpid()}:{name}:{i}"
    assert client.blpop(f"{key}:nothing", timeout=0.2) is None
    with client.pipeline(transaction=False) as pipeline:
        for number in range(200):
            pipeline.set(f"{key}:{number}", f"{i} {number} " * 20)
            pipeline.get(f"{key}:{number}")
            pipeline.delete(f"{key}:{number}")
        answers = pipeline.execute()
    assert answers[1::3] == [b"%d %d " % (i, number) * 20 for number in range(200)]
