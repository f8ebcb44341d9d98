"""The programs in docs/asyncio.md run as they stand there."""

import re
from pathlib import Path

import pytest
from support import run_program

PAGE = (Path(__file__).parent.parent / "docs" / "asyncio.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

PRINTED = [
    "4950 from 100 loops, all at once: True\n",
    "3\n[0, 2, 4]\n42\n",
    "from the database, from another server\n",
    "499500\n",
    "cleaned up\ntoo late\n",
]


@pytest.mark.parametrize(("program", "printed"), list(zip(PROGRAMS, PRINTED, strict=True)))
def test_programs_of_the_page(program, printed):
    seen = run_program(program, flags=["-W", "default"])
    assert (seen.status, seen.output, seen.errors) == (0, printed, "")
