"""`python bench/serial.py`: durable puts one after the other, against what a sync of this disk costs meanwhile.

The disk of a shared machine changes from minute to minute, so that puts and syncs are measured in turn, a slice of
each, and the ratio is that of neighbouring slices. Three nodes on loopback and on one disk; `awake` is the setting
of node.toml, for which this process holds processors awake during the syncs, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median, quantiles

import machine
import ours
from load import PeerFailed
from peers.processes import Processes
from quorum.errors import ConfigurationError
from quorum.runtime.awake import Awake

WARM_UP_PUTS = 1000
SLICE_PUTS = 400
VALUE = b"v" * 88


def main() -> int:
    """Return the exit code: 0 done, 1 it could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python bench/serial.py", epilog="Example: python bench/serial.py --slices 20 --ways plain awake"
    )
    parser.add_argument("--slices", type=int, default=16, help="How many slices of 400 puts, at least 4.")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="What is measured.")
    parser.add_argument("--json", action="store_true", help="Print one JSON object instead of the table.")
    options = parser.parse_args()
    if options.slices < 4:
        parser.error("fewer than 4 slices say nothing. Give --slices 4 or more.")
    found = []
    for way in options.ways:
        try:
            found.append(measure(way, options.slices))
        except (PeerFailed, ConfigurationError) as error:
            print(f"{way}: not measured: {error}", file=sys.stderr)
    if options.json:
        print(json.dumps({"ways": found}))
    else:
        for row in found:
            print(
                "{way:6}  put p50 {put_p50_us:4.0f} us  fdatasync p50 {fdatasync_p50_us:4.0f} us  ratio of "
                "neighbours {ratio_p50:.2f} (quartiles {ratio_p25:.2f} to {ratio_p75:.2f})".format(**row)
            )
    return 0 if len(found) == len(options.ways) else 1


def measure(way: str, slices: int) -> dict[str, object]:
    """Measure one way. Times in microseconds. Raises PeerFailed; ConfigurationError where `awake` may not be."""
    insecure, is_awake = WAYS[way]
    run_on = ours.runner()
    with _held(is_awake), Processes() as processes:
        members = ours.Members(processes, processes.folder / "cluster", insecure=insecure, awake=is_awake)
        puts_us, syncs_us = run_on(_slices(members, slices))
    ratios = [put / sync for put, sync in zip(puts_us, syncs_us, strict=True)]
    low, middle, high = quantiles(ratios, n=4)
    return {
        "way": way,
        "put_p50_us": round(median(puts_us), 1),
        "fdatasync_p50_us": round(median(syncs_us), 1),
        "ratio_p25": round(low, 2),
        "ratio_p50": round(middle, 2),
        "ratio_p75": round(high, 2),
    }


WAYS = {"plain": (True, False), "mtls": (False, False), "awake": (True, True)}
"""(without TLS, awake) of each way."""


@contextmanager
def _held(is_awake: bool) -> Iterator[None]:
    if not is_awake:
        yield
        return
    awake = Awake()
    awake.look(1)
    try:
        yield
    finally:
        awake.close()


async def _slices(members: ours.Members, slices: int) -> tuple[list[float], list[float]]:
    """The median put of each slice, and the mean of the median syncs before and after it."""
    await members.leader()
    puts_us, syncs_us = [], []
    async with members.client() as client:
        for number in range(WARM_UP_PUTS):
            await client.kv.put(b"key%09d" % number, VALUE)
        before_us = machine.fdatasync_us(tempfile.gettempdir())[0]
        for _ in range(slices):
            took_s = []
            for number in range(SLICE_PUTS):
                began = time.perf_counter()
                await client.kv.put(b"key%09d" % number, VALUE)
                took_s.append(time.perf_counter() - began)
            after_us = machine.fdatasync_us(tempfile.gettempdir())[0]
            puts_us.append(median(took_s) * 1e6)
            syncs_us.append((before_us + after_us) / 2)
            before_us = after_us
    return puts_us, syncs_us


if __name__ == "__main__":
    sys.exit(main())
