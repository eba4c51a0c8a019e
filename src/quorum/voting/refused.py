"""A voter's answer where it does not know: a refusal is a result, and never a guess."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Refused(NamedTuple):
    """No decision, and why. False where a truth value is asked for."""

    reason: str

    def __bool__(self) -> Literal[False]:
        return False


def below_bound(channels: int, needed: int, faults: int) -> Refused | None:
    """The refusal of too few channels for `faults` wrong ones; None where they are enough."""
    if channels >= needed:
        return None
    return Refused(f"{channels} channels are too few to outvote {faults} of them: {needed} are needed")
