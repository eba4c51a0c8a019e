"""CPU seconds of voters over long series: `python bench/voting.py`. A million ticks of nine channels, unless told.

The bar is 4 CPU seconds for Brooks-Iyengar, Marzullo and NTP selection. The plain mean of the same table stands
beside them: what reading the numbers once costs on this machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

from quorum.voting import intervals
from quorum.voting.control.channels import Channel, Reading
from quorum.voting.control.loop import ControlLoop
from quorum.voting.streams import RULES, fuse_stream

PARAMETERS = {"epsilon": 0.5, "k": 5, "weights": None, "a": 0.5, "t": 2, "own": 0, "delta": 0.5, "f": 2}
LOOP_TICKS = 20_000


def cpu_of(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(ticks: int, channels: int) -> dict[str, float]:
    """CPU seconds by what was done."""
    random = np.random.default_rng(1)
    values = random.normal(20.0, 0.1, (ticks, channels))
    values[ticks // 3 : ticks // 2, 3] = 85.0
    widths = np.full(values.shape, 0.4)
    pairs = np.stack([values, widths], axis=-1)
    spans = np.stack([values - widths, values + widths], axis=-1)
    found = {
        "mean": cpu_of(lambda: values.mean(axis=-1)),
        "brooks_iyengar": cpu_of(lambda: intervals.brooks_iyengar(pairs, 2)),
        "marzullo": cpu_of(lambda: intervals.marzullo(spans)),
        "ntp_select": cpu_of(lambda: intervals.ntp_select(pairs)),
    }
    for name, rule in RULES.items():
        given = {key: PARAMETERS[key] for key in rule.needs} | (
            {"weights": [1.0] * channels} if "weights" in rule.needs else {}
        )
        half = 0.4 if rule.has_widths else None
        found[f"series: {name}"] = cpu_of(lambda: fuse_stream(name, values, given, half))  # noqa: B023
    loop = ControlLoop(
        [Channel(name=f"c{at}", half_width=0.4) for at in range(channels)], f"{channels - 2}oo{channels}"
    )
    rows = values[:LOOP_TICKS].tolist()

    def control() -> None:
        for tick, row in enumerate(rows):
            loop.step([Reading(f"c{at}", tick, value) for at, value in enumerate(row)], tick)

    found["control loop, one tick"] = cpu_of(control) / len(rows)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python bench/voting.py", description=__doc__)
    parser.add_argument("--ticks", type=int, default=1_000_000)
    parser.add_argument("--channels", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = measure(given.ticks, given.channels)
    if given.json:
        print(json.dumps(found))
        return
    for name, seconds in found.items():
        print(f"{name:44} {seconds:9.6f} CPU s" if seconds < 0.01 else f"{name:44} {seconds:9.2f} CPU s")


if __name__ == "__main__":
    main()
