"""What the write-ahead log costs beside the bare disk, in one run: `python bench/wal.py [folder]`.

Raw: 152 bytes with pwrite and fdatasync, into reserved, pre-written and growing files. Log: entries of 100
bytes of body, synced in rounds of 1, 64 and 1000, through the disk thread and the event loop as in production.
Recovery: one million such entries.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import sys
import tempfile
from time import perf_counter

import uvloop

from quorum.entry import COMMAND, encode_entry
from quorum.header import Batch
from quorum.runtime.files import RealFiles
from quorum.runtime.wal import Wal

BODY = os.urandom(100)
ROUNDS = {1: 1500, 64: 800, 1000: 200}
RECOVERED = 1_000_000


def entry(index: int) -> bytes:
    return encode_entry(index, 1, COMMAND, 0, index, 0, Batch(1, 0, 0, 0, 1, BODY))


def microseconds(seconds: list[float]) -> str:
    ordered = [1e6 * one for one in sorted(seconds)]
    return f"p50 {statistics.median(ordered):7.0f} us   p99 {ordered[len(ordered) * 99 // 100]:7.0f} us"


def raw(folder: str, kind: str, rounds: int = 1500, size: int = 16 << 20) -> list[float]:
    """Seconds of each write and sync of one small record."""
    path = f"{folder}/raw"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    if kind != "growing":
        os.posix_fallocate(handle, 0, size)
    if kind == "pre-written":
        os.pwrite(handle, bytes(size), 0)
    os.fsync(handle)
    taken, data = [], bytes(range(152))
    for number in range(rounds):
        begin = perf_counter()
        os.pwrite(handle, data, number * len(data))
        os.fdatasync(handle)
        taken.append(perf_counter() - begin)
    os.close(handle)
    os.unlink(path)
    return taken


async def log_rounds(folder: str, entries: int, rounds: int) -> list[float]:
    """Seconds of each round, from staging to the answer on the loop."""
    loop = asyncio.get_running_loop()
    wal = Wal(RealFiles(), f"{folder}/wal-{entries}", "bench", "n1", create=True, post=loop.call_soon_threadsafe)
    wal.recover()
    taken, index = [], 1
    for _ in range(rounds):
        batch = [entry(index + number) for number in range(entries)]
        index += entries
        answer: asyncio.Future[BaseException | None] = loop.create_future()
        begin = perf_counter()
        wal.write_entries(index - entries, batch)
        wal.sync(answer.set_result)
        assert await answer is None
        taken.append(perf_counter() - begin)
    wal.close()
    return taken


def recovery(folder: str) -> tuple[float, float]:
    """(seconds to write, seconds to recover) a log of RECOVERED entries."""
    begin = perf_counter()
    wal = Wal(RealFiles(), f"{folder}/recovery", "bench", "n1", create=True)
    wal.recover()
    for first in range(1, RECOVERED, 5000):
        wal.write_entries(first, [entry(index) for index in range(first, first + 5000)])
        wal.sync(lambda error: None)
    wal.close()
    written = perf_counter() - begin
    begin = perf_counter()
    wal = Wal(RealFiles(), f"{folder}/recovery", "bench", "n1")
    durable = wal.recover()
    recovered = perf_counter() - begin
    assert len(durable.entries) == RECOVERED
    wal.close()
    return written, recovered


def main() -> None:
    folder = tempfile.mkdtemp(prefix="wal-bench-", dir=sys.argv[1] if len(sys.argv) > 1 else None)
    try:
        for kind in ("reserved", "pre-written", "growing"):
            print(f"raw, {kind:12s} {microseconds(raw(folder, kind))}")
        for entries, rounds in ROUNDS.items():
            taken = uvloop.run(log_rounds(folder, entries, rounds))
            print(
                f"log, {entries:4d} a round {microseconds(taken)}   {entries * rounds / sum(taken):9.0f} entries/s"
            )
        print(f"raw, reserved     {microseconds(raw(folder, 'reserved'))}")
        written, recovered = recovery(folder)
        print(f"{RECOVERED} entries: written in {written:.1f} s, recovered in {recovered:.2f} s")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
