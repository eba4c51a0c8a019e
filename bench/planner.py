"""`python bench/planner.py`: our planner beside quoracle, in one run over systems that grow.

Both get the same expression, the same nodes and the same mix of requests, and look for the strategy of least load
(or of least latency within a limit of load). Each case has a process of its own; what counts is its CPU time from
the expression to the figures. quoracle writes all quorums down, so each family has a size that is its last.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

CHILD = Path(__file__).parent / "peers" / "planning.py"
PEER = "quoracle"
BAR_CASE, BAR = "majority of 15", 100.0
SAME = 1e-6
"""quoracle reads its solver's answer as text: eight digits."""
OURS_S_MAX = 20
WALL_FACTOR, WALL_START_S = 6, 20.0
"""How long a process may take on a busy machine for so much CPU, and for its start."""

MAJORITIES = (5, 7, 9, 11, 13, 15, 51, 101, 501, 1001)
GRIDS = (3, 4, 5, 6, 10, 20, 30)
NESTED = (9, 27, 81, 243, 729)
STUDY_NODES = {
    "a": (4000, 2000, 1),
    "b": (2000, 1000, 1),
    "c": (4000, 2000, 3),
    "d": (2000, 1000, 4),
    "e": (4000, 2000, 5),
}
STUDY_MIX = ((0.9, 10), (0.8, 20), (0.7, 100), (0.6, 100), (0.5, 100), (0.4, 60), (0.3, 30), (0.2, 30), (0.1, 20))
STUDY = {
    "majority": [3, "a", "b", "c", "d", "e"],
    "a*b + c*d*e": [1, [2, "a", "b"], [3, "c", "d", "e"]],
    "bridge": [1, [2, "a", "b"], [3, "a", "c", "e"], [2, "d", "e"], [3, "d", "c", "b"]],
}
"""Whittaker and others, "Read-Write Quorum Systems Made Practical" (2021), section 6."""


class Case(NamedTuple):
    """A question for both planners. In a family each case is larger than the one before it."""

    name: str
    family: str
    nodes: int
    question: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A case and its answers. `quoracle_cpu_s` is None where it was not asked; `is_over` says that it had not
    answered by then, `is_failure` that it broke off. `difference` is relative, of what was optimised."""

    case: str
    nodes: int
    figure: str
    value: float | None
    quorum_cpu_s: float | None
    quoracle_cpu_s: float | None
    is_over: bool
    is_failure: bool
    ratio: float | None
    difference: float | None
    note: str


def cases() -> Iterator[Case]:
    """All of them; in a family each is larger than the one before it."""
    for size in MAJORITIES:
        names = [f"n{place}" for place in range(size)]
        yield _case(f"majority of {size}", "majority", names, [size // 2 + 1, *names])
    for side in GRIDS:
        rows = [[f"n{row}_{place}" for place in range(side)] for row in range(side)]
        names = [name for row in rows for name in row]
        yield _case(f"grid {side}x{side}", "grid", names, [1, *([side, *row] for row in rows)])
    for size in NESTED:
        number = count()
        names = [f"n{place}" for place in range(size)]
        yield _case(f"majorities of 3, {size} nodes", "nested", names, _nested(size, number))
    for name, reads in STUDY.items():
        for failures, limit in ((0, None), (1, None), (0, 1 / 2000)):
            told = "least latency, load <= 1/2000" if limit else f"f={failures}"
            question = {
                "reads": reads,
                "traits": STUDY_NODES,
                "mix": STUDY_MIX,
                "failures": failures,
                "load_limit": limit,
            }
            yield Case(f"case study, {name}, {told}", f"{name} {told}", len(STUDY_NODES), question)


def _case(name: str, family: str, nodes: list[str], reads: Any) -> Case:
    """Half of the nodes serve twice as much as the others; half of the requests are reads."""
    traits = {node: (2000, 1000, 1) if place % 2 else (4000, 2000, 1) for place, node in enumerate(nodes)}
    question = {"reads": reads, "traits": traits, "mix": ((0.5, 1),), "failures": 0, "load_limit": None}
    return Case(name, family, len(nodes), question)


def _nested(size: int, number: Iterator[int]) -> Any:
    if size == 1:
        return f"n{next(number)}"
    return [2, *(_nested(size // 3, number) for _ in range(3))]


def ask(planner: str, case: Case, seconds: int) -> tuple[dict[str, float] | None, float, str]:
    """The answer of a planner (None: there was none), the CPU seconds that its process took, and why there was
    none."""
    before_s = _children_cpu_s()
    child = subprocess.Popen(
        [sys.executable, "-P", str(CHILD), planner, str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        told, complaint = child.communicate(json.dumps(case.question), WALL_START_S + WALL_FACTOR * seconds)
    except subprocess.TimeoutExpired:
        told, complaint = "", "no answer in time"
    finally:
        _end(child)
    took_s = _children_cpu_s() - before_s
    if child.returncode == 0:
        return json.loads(told), took_s, ""
    reason = (complaint.strip().splitlines() or [f"ended by signal {-child.returncode}"])[-1]
    return None, took_s, reason[:120]


def _end(child: subprocess.Popen[str]) -> None:
    """Also the solver that it may have started: they are a session of their own."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(seconds: int, has_peer: bool, families: list[str] | None = None) -> Iterator[Row]:
    """A row for each case. The peer is not asked for what is larger than where it stopped."""
    stopped: dict[str, str] = {}
    for case in cases():
        if families and not any(each in (case.family, case.name, case.name.split(",")[0]) for each in families):
            continue
        mine, _, why = ask("quorum", case, OURS_S_MAX)
        theirs, took_s, note = None, 0.0, ""
        is_asked = has_peer and case.family not in stopped
        if is_asked:
            theirs, took_s, note = ask(PEER, case, seconds)
            if theirs is None:
                stopped[case.family] = case.name
        elif has_peer:
            note = f"not asked: stopped at {stopped[case.family]}"
        is_over = theirs is None and took_s >= seconds
        spent_s = seconds if is_over else theirs["cpu_s"] if theirs else None
        note = why or (f"no answer after {seconds} CPU s" if is_over else note)
        yield _row(case, mine, theirs, spent_s, is_asked, note)


def _row(
    case: Case,
    mine: dict[str, float] | None,
    theirs: dict[str, float] | None,
    spent_s: float | None,
    is_asked: bool,
    note: str,
) -> Row:
    figure = "capacity" if case.question["load_limit"] is None else "latency"
    return Row(
        case=case.name,
        nodes=case.nodes,
        figure=figure,
        value=mine and mine[figure],
        quorum_cpu_s=mine and mine["cpu_s"],
        quoracle_cpu_s=spent_s,
        is_over=theirs is None and spent_s is not None,
        is_failure=is_asked and spent_s is None,
        ratio=spent_s / mine["cpu_s"] if mine and spent_s else None,
        difference=abs(mine[figure] / theirs[figure] - 1) if mine and theirs else None,
        note=note,
    )


HEAD = f"{'case':54}{'nodes':>6}{'quorum':>10}{'quoracle':>10}{'ratio':>11}{'figure':>22}{'difference':>12}"


def line_of(row: Row) -> str:
    """A row for people; CPU seconds of both."""
    sign = ">" if row.is_over else ""
    mine = "-" if row.quorum_cpu_s is None else f"{row.quorum_cpu_s:.4f}"
    theirs = "-" if row.quoracle_cpu_s is None else f"{sign}{row.quoracle_cpu_s:.3f}"
    ratio = "-" if row.ratio is None else f"{sign}{row.ratio:,.{0 if row.ratio >= 10 else 1}f}x"
    value = "-" if row.value is None else f"{row.figure} {row.value:.6g}"
    apart = "-" if row.difference is None else f"{row.difference:.0e}"
    return (
        f"{row.case:54}{row.nodes:>6}{mine:>10}{theirs:>10}{ratio:>11}{value:>22}{apart:>12}  {row.note}".rstrip()
    )


def verdict_of(rows: list[Row]) -> tuple[bool, str]:
    """Whether all is as it should be, in words."""
    silent = [row.case for row in rows if row.value is None]
    apart = [row.case for row in rows if row.difference is not None and row.difference > SAME]
    compared = [row for row in rows if row.difference is not None]
    told = [f"{len(compared)} cases answered by both, figures {'NOT ' if apart else ''}equal to {SAME:g}"]
    told += [f"no answer of ours: {', '.join(silent)}"] * bool(silent)
    told += [f"different: {', '.join(apart)}"] * bool(apart)
    failed = [row for row in rows if row.is_failure]
    told += [f"quoracle failed in {len(failed)}, first in {row.case}: {row.note}" for row in failed[:1]]
    bar = next((row for row in rows if row.case == BAR_CASE and row.ratio is not None), None)
    if bar is None or bar.ratio is None:
        return not (silent or apart or failed), "; ".join([*told, f"{BAR_CASE} was not compared"])
    least = "at least " if bar.is_over else ""
    is_met = bar.ratio >= BAR
    told.append(
        f"{BAR_CASE}: {least}{bar.ratio:.0f} times faster, {'' if is_met else 'NOT '}above the bar of {BAR:g}"
    )
    return is_met and not (silent or apart or failed), "; ".join(told)


def main() -> int:
    """Return the exit code: 0 done, 1 figures differ or the bar is missed, 2 asked wrongly."""
    parser = argparse.ArgumentParser(
        prog="python bench/planner.py", epilog="Example: python bench/planner.py --seconds 60 --only majority"
    )
    parser.add_argument(
        "--seconds", type=int, default=4, help="CPU seconds that quoracle has for a case, 1 to 600."
    )
    parser.add_argument("--only", nargs="*", help='Families or cases: majority, grid, nested, "case study".')
    parser.add_argument("--json", metavar="FILE", help="Also write one JSON object to FILE.")
    options = parser.parse_args()
    if not 1 <= options.seconds <= 600:
        parser.error(
            f"{options.seconds} CPU seconds for a case were asked for, but 1 to 600 are possible. Change it."
        )
    has_peer = importlib.util.find_spec(PEER) is not None
    if not has_peer:
        print('no `quoracle` in this Python: pip install "quoracle>=0.0.4,<0.1" "pulp>=2.7,<4"', file=sys.stderr)
    version = importlib.metadata.version(PEER) if has_peer else None
    print(f"CPU seconds; quoracle {version or 'not installed'}, at most {options.seconds} for a case\n{HEAD}")
    rows = []
    for row in measure(options.seconds, has_peer, options.only):
        print(line_of(row), flush=True)
        rows.append(row)
    if not rows:
        parser.error(f"{', '.join(options.only)} was asked for, but no case has that name. See --help.")
    is_good, told = verdict_of(rows)
    print(told)
    if options.json:
        facts = {"quoracle": version, "seconds": options.seconds, "rows": [asdict(row) for row in rows]}
        Path(options.json).write_text(json.dumps(facts | {"is_good": is_good, "verdict": told}), encoding="utf-8")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
