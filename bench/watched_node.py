"""`python bench/watched_node.py STALLS node --config ...`: a node as shipped, whose loop writes down its stalls.

A timer on the node's own loop fires every 2 ms. Whenever it is more than 5 ms late, one line goes to STALLS: when
that was (seconds of the monotonic clock, which all processes share), how long the loop stood still, and how long
of that its thread was ready to run but had no core, in milliseconds. The rest is the node's own: work in one turn,
waiting for the interpreter's lock, a system call that took long.

With QUORUM_BENCH_STACKS set, a second thread adds where the loop stands while it stalls, as lines with "#".
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import traceback
from pathlib import Path

PERIOD_S = 0.002
WORTH_S = 0.005
SCHEDSTAT = "/proc/thread-self/schedstat"


class Watch:
    """The timer, and what it saw."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)
        self._loop = None
        self._main = threading.main_thread().ident
        self.last_s = 0.0

    def start(self, loop) -> None:  # type: ignore[no-untyped-def]
        self._loop = loop
        self._schedstat = os.open(SCHEDSTAT, os.O_RDONLY)
        self.last_s, self._waited_ns = time.monotonic(), self._core_waits_ns()
        loop.call_later(PERIOD_S, self._tick)
        if os.environ.get("QUORUM_BENCH_STACKS"):
            threading.Thread(target=self._look, daemon=True).start()

    def _core_waits_ns(self) -> int:
        return int(os.pread(self._schedstat, 200, 0).split()[1])

    def _tick(self) -> None:
        now = time.monotonic()
        late_s, waited_ns = now - self.last_s - PERIOD_S, self._core_waits_ns()
        if late_s >= WORTH_S:
            self._file.write(f"{now:.4f} {late_s * 1e3:.2f} {(waited_ns - self._waited_ns) / 1e6:.2f}\n")
        self.last_s, self._waited_ns = now, waited_ns
        self._loop.call_later(PERIOD_S, self._tick)

    def _look(self) -> None:
        while True:
            time.sleep(PERIOD_S)
            late_s = time.monotonic() - self.last_s
            if late_s > 4 * WORTH_S:
                frames = traceback.extract_stack(sys._current_frames()[self._main])
                where = " < ".join(f"{Path(f.filename).stem}.{f.name}:{f.lineno}" for f in reversed(frames[-9:]))
                self._file.write(f"# {time.monotonic():.4f} {late_s * 1e3:.0f} ms so far: {where}\n")


def main() -> None:
    path, arguments = Path(sys.argv[1]), sys.argv[2:]
    from quorum.console import cli
    from quorum.runtime import node

    shipped = node.Node

    class Watched:
        """The node as shipped, and beside it the watch from the moment it serves."""

        def __init__(self, *given, **options) -> None:  # type: ignore[no-untyped-def]
            self._node = shipped(*given, **options)
            self.stop = self._node.stop

        async def run(self, started) -> None:  # type: ignore[no-untyped-def]
            watch = Watch(path)
            watch.start(asyncio.get_running_loop())
            await self._node.run(started)

    node.Node = Watched  # type: ignore[misc]
    cli.main(arguments)


if __name__ == "__main__":
    main()
