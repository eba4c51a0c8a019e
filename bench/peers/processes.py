"""Server processes of a measured system: started on loopback, read through /proc, ended by their pid."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from load import PeerFailed

PORTS = range(20_000, 32_000)  # below the range from which a kernel takes the ports of outgoing connections
END_WAIT_S = 10.0
LOG_TAIL_BYTES = 600


def measurable() -> str | None:
    """Return None where CPU and memory of a process can be read, else the reason why not."""
    return (
        None
        if Path("/proc/self/stat").exists()
        else "CPU and memory of processes are read from /proc: run on Linux"
    )


def free_ports(count: int) -> list[int]:
    """Return `count` different loopback ports that nobody listened on a moment ago.

    Raises PeerFailed if the range has no more.
    """
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    if len(found) < count:
        raise PeerFailed(f"{count} free loopback ports were asked for, {len(found)} found. End some listeners.")
    return found


class Processes:
    """Named processes and one temporary folder for their files; leaving the block ends and removes all of them.

    The folder is made where Python puts temporary files (TMPDIR), which decides what a sync costs.
    """

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.folder = Path()

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="quorum-bench-"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for process in self._running.values():
                process.kill()  # sends nothing to a process that was already waited for
            for name in self._running:
                self.reap(name)
        finally:
            shutil.rmtree(self.folder)

    def start(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None, piped: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start `command` under `name`, its output in `<name>.log`; `piped` gives it stdin and stdout instead.

        Raises PeerFailed if it cannot be started.
        """
        assert name not in self._running or self._running[name].poll() is not None, "one process per name"
        pipe = subprocess.PIPE if piped else None
        with (self.folder / f"{name}.log").open("ab") as log:
            try:
                process = subprocess.Popen(
                    list(command), stdin=pipe or subprocess.DEVNULL, stdout=pipe or log, stderr=log, env=env
                )
            except OSError as error:
                raise PeerFailed(f"{command[0]} was to run as {name}: {error}. Install it again.") from error
        self._running[name] = process
        return process

    def kill(self, name: str) -> None:
        """Send SIGKILL, the crash that the system has to survive, and return at once."""
        os.kill(self._running[name].pid, signal.SIGKILL)

    def signal(self, name: str, number: int) -> None:
        """Send another signal, such as SIGSTOP."""
        os.kill(self._running[name].pid, number)

    def reap(self, name: str) -> None:
        """Wait until a killed process is gone, and close its pipes."""
        process = self._running[name]
        process.wait(END_WAIT_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def check_alive(self) -> None:
        """Raise PeerFailed, with the end of its log, if a process ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise PeerFailed(
                    f"{name} was to serve, but ended with exit code {process.returncode}. "
                    f"Read the end of its log: {self.last_words(name)}"
                )

    def last_words(self, name: str) -> str:
        """Return the end of a process's log."""
        return (self.folder / f"{name}.log").read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def cpu_s(self) -> float:
        """Return the user and system time, in seconds, that all processes and their ended children have used."""
        ticks = sum(sum(map(int, self._stat(name)[11:15])) for name in self._running)
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> list[float]:
        """Return the resident memory of each process in MB, in the order they were first started."""
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        return [round(int(self._stat(name)[21]) * page_bytes / 1e6, 1) for name in self._running]

    def _stat(self, name: str) -> list[str]:
        """Fields of /proc/<pid>/stat from the third on (the second may hold spaces), see proc(5)."""
        try:
            text = Path(f"/proc/{self._running[name].pid}/stat").read_text()
        except OSError as error:
            raise PeerFailed(f"{name} was to be measured, but is gone. {self.last_words(name)}") from error
        return text.rpartition(") ")[2].split()
