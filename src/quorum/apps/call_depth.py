"""How deep the calls of a command may nest: equally deep on every replica.

Python bounds the calls of a thread, whatever they are for, and what surrounds a command differs: a node applies it
in a round, or while it starts, and a test calls it itself. A command that nests almost as deep as the bound would
come to its end on one replica and fail on another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
DEPTH_MAX = 1000
"""More than is ever left by the bound that Python begins with."""


def at_full_depth(run: Callable[[], T]) -> T:
    """What `run` gives, which has room for DEPTH_MAX calls in each other. It may be run twice: the first attempt,
    with what room there is, must leave nothing behind where it ends with a RecursionError."""
    try:
        return run()
    except RecursionError:
        pass  # or the second attempt would be part of the first
    bound = sys.getrecursionlimit()
    sys.setrecursionlimit(bound + max(0, DEPTH_MAX - _room()))
    try:
        return run()
    finally:
        sys.setrecursionlimit(bound)


def _room() -> int:
    """How many calls may be made in each other here."""
    try:
        return 1 + _room()
    except RecursionError:
        return 1
