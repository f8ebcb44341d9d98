"""A finding: one line of what `weft doctor` says."""

import dataclasses
from typing import Literal, TypeAlias

Mark: TypeAlias = Literal["ok", "note", "problem"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was looked at, and how it stands."""

    mark: Mark
    """ "ok": as it should be.  "note": good to know.  "problem": needs attention."""
    text: str
    """What was found, in a sentence."""
    advice: str = ""
    """What to do about it; empty where there is nothing to do."""
    details: tuple[str, ...] = ()
    """For those who ask for more."""
