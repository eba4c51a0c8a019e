"""What one state of this project costs beside another: `python bench/interleave.py BEFORE [AFTER] --pairs 3`.

BEFORE and AFTER are source trees (say, git worktrees). Their own `bench/crash.py` runs by turns, so that a machine
that grows slower or faster meanwhile does so for both. Each runs from its own sources, pure, with the packages of
this Python. Judge by the medians of CPU seconds per 10,000 operations: throughput on a shared machine says less.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

RUN_S_MAX = 600.0
ROWS = tuple[str, int]
"""Name and puts in flight."""


class RunFailed(RuntimeError):
    """One of the runs gave no figures."""


def one_run(tree: Path, outstanding: Sequence[int], seconds: float, under: Sequence[str]) -> dict[ROWS, dict]:
    """The rows of one run of the benchmark of `tree`, by name and puts in flight. Raises RunFailed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [*under, sys.executable, str(tree / "bench" / "crash.py"), "--only", "--failovers", "0"]
        command += ["--outstanding", *map(str, outstanding), "--seconds", str(seconds), "--json", str(report)]
        env = os.environ | {"PYTHONPATH": str(tree / "src")}
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=RUN_S_MAX, check=False)
        if ended.returncode != 0:
            raise RunFailed(
                f"{tree} was to be measured, but its bench/crash.py ended with exit code {ended.returncode}. "
                f"Run it alone and see: {(ended.stderr or ended.stdout)[-400:]}"
            )
        systems = json.loads(report.read_text())["systems"]
    return {(row["name"], row["outstanding"]): row for system in systems for row in system["results"]}


def compare(before: list[dict[ROWS, dict]], after: list[dict[ROWS, dict]]) -> list[dict[str, object]]:
    """One row for each way of both: the CPU of servers and client before and after, all runs and their medians."""
    rows = []
    for key in before[0]:
        if key not in after[0]:
            continue
        row: dict[str, object] = {"name": key[0], "outstanding": key[1]}
        for what in ("server_cpu_s_per_10k", "client_cpu_s_per_10k", "ops_per_s"):
            old, new = ([run[key][what] for run in runs] for runs in (before, after))
            ratio = statistics.median(new) / max(statistics.median(old), 1e-9)
            row[what] = {"before": old, "after": new, "ratio": round(ratio, 3)}
        rows.append(row)
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """As text: the median and, in brackets, the spread of each figure."""
    lines = [f"{'way':<24}{'in flight':>9}  {'figure':<22}{'before':>26}{'after':>26}{'ratio':>8}"]
    for row in rows:
        for what in ("server_cpu_s_per_10k", "client_cpu_s_per_10k", "ops_per_s"):
            cell: dict = row[what]  # type: ignore[assignment]
            old, new = (_spread(cell[side]) for side in ("before", "after"))
            lines.append(
                f"{row['name']:<24}{row['outstanding']:>9}  {what:<22}{old:>26}{new:>26}{cell['ratio']:>8.3f}"
            )
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    digits = 0 if max(values) > 100 else 3
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def main() -> int:
    """Return the exit code: 0 done, 1 a run gave no figures."""
    parser = argparse.ArgumentParser(
        prog="python bench/interleave.py", epilog="Example: python bench/interleave.py ../before --pairs 3"
    )
    parser.add_argument("before", type=Path, help="The source tree to compare with.")
    parser.add_argument("after", type=Path, nargs="?", default=Path(__file__).parents[1], help="Else: this one.")
    parser.add_argument("--pairs", type=int, default=3, choices=range(1, 21), metavar="N", help="Runs of each.")
    parser.add_argument("--outstanding", nargs="+", type=int, default=[1, 64, 1024], help="Puts in flight.")
    parser.add_argument("--seconds", type=float, default=3.0, help="How long each row is measured.")
    parser.add_argument("--under", default="", help='Put before each run, e.g. "taskset -c 0,1".')
    parser.add_argument("--json", metavar="FILE", help="Also write one JSON object to FILE.")
    options = parser.parse_args()
    runs: dict[Path, list[dict[ROWS, dict]]] = {options.before: [], options.after: []}
    try:
        for number in range(options.pairs):
            for tree, done in runs.items():
                print(f"pair {number + 1} of {options.pairs}: {tree}", file=sys.stderr)
                done.append(one_run(tree, options.outstanding, options.seconds, shlex.split(options.under)))
    except (RunFailed, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 1
    rows = compare(runs[options.before], runs[options.after])
    print(table(rows))
    if options.json:
        Path(options.json).write_text(
            json.dumps({"pairs": options.pairs, "rows": rows}, indent=2), encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
