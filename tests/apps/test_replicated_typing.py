"""What a type checker says of replicated objects: the calls of a handle have the types of the methods."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

RIGHT = """
from quorum.apps.replicated import Replicated, command, query, state
from quorum.apps.replicated_lock import LockHolder, ReplicatedLock
from quorum.apps.replicated_types import ReplicatedDict, ReplicatedPriorityQueue, ReplicatedSet

class Counter(Replicated):
    version = 2
    value: int = 0
    limit: int = state(10, since=2)
    names: dict[str, list[int]] = {}

    @command
    def add(self, n: int, *, note: str = "") -> int:
        self.value += n
        self.names.setdefault(note, []).append(self.context.index)
        return self.value

    @command(since=2)
    def reset(self) -> None:
        self.value = self.get.sync()

    @query
    def get(self) -> int:
        return self.value

async def use(counter: Counter, scores: ReplicatedDict[str, float]) -> float:
    total: int = await counter.add(3, note="x")
    total += await counter.get(consistency="stale")
    total += counter.add.sync(n=4) + counter.get.sync(consistency="linearizable")
    await counter.reset()
    await scores.set("a", 1.5)
    found: float | None = await scores.get("a")
    heap = ReplicatedPriorityQueue[int, str]()
    item: str | None = heap.take.sync()
    members: list[str] = ReplicatedSet[str]().items.sync()
    locks = ReplicatedLock()
    token: int | None = await locks.acquire("door", owner="ann", ttl=3)
    holder: LockHolder | None = locks.holder.sync("door")
    return total + (found or 0.0)
"""

WRONG = """
from quorum.apps.replicated import Replicated, command, query
from quorum.apps.replicated_types import ReplicatedDict

class Counter(Replicated):
    value: int = 0

    @command
    def add(self, n: int) -> int:
        return self.value

    @query
    def get(self) -> int:
        return self.value

async def use(counter: Counter, scores: ReplicatedDict[str, float]) -> None:
    await counter.add("three")
    text: str = await counter.add(3)
    number: int = counter.add(3)
    await counter.get(1)
    await counter.get(consistency="fresh")
    counter.add.sync()
    await scores.set(1, 1.5)
    await counter.missing()
"""


def checked(program: str, tmp_path: Path) -> list[str]:
    """The lines of `program` in which mypy finds an error."""
    path = tmp_path / "program.py"
    path.write_text(program)
    options = ["--strict", "--no-error-summary", "--no-pretty", "--config-file", str(ROOT / "pyproject.toml")]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(path)],
        cwd=ROOT,
        env={"PATH": "", "MYPYPATH": str(ROOT / "src"), "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache" / "examples")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not found.stderr, found.stderr
    lines = program.splitlines()
    numbers = sorted({int(line.split(":")[1]) for line in found.stdout.splitlines() if ": error:" in line})
    return [lines[number - 1].strip() for number in numbers]


@pytest.mark.slow
def test_handles_have_the_types_of_the_methods(tmp_path):
    assert checked(RIGHT, tmp_path) == []
    body = WRONG[WRONG.index("async def use") :].splitlines()[1:]
    assert checked(WRONG, tmp_path) == [line.strip() for line in body if line.strip()]
