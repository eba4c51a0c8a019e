"""The physical limits of this machine, measured: what a sync to disk and a loopback round trip cost.

`python bench/machine.py` prints them as JSON.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from load import PeerFailed, percentile

BLOCK_BYTES = 4096
FILE_BLOCKS = 256
SYNCS = 500
ROUND_TRIPS = 3000
MESSAGE_BYTES = 100
WAIT_S = 10.0


def measure(folder: str | None = None) -> dict[str, object]:
    """Measure the machine in about a second; `folder` says which disk, by default that of temporary files.

    Keys: `cores`, `python`, `kernel`, `filesystem`, `fdatasync_p50_us`, `fdatasync_p99_us`,
    `fdatasync_of_three_p50_us` (three processes at once, as three members on one disk do), `loopback_rtt_p50_us`.
    """
    where = folder or tempfile.gettempdir()
    p50_us, p99_us = fdatasync_us(where)
    return {
        "cores": usable_cores(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "filesystem": filesystem_of(where),
        "fdatasync_p50_us": round(p50_us, 1),
        "fdatasync_p99_us": round(p99_us, 1),
        "fdatasync_of_three_p50_us": round(fdatasync_of_three_us(where), 1),
        "loopback_rtt_p50_us": round(loopback_rtt_us(), 1),
    }


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def filesystem_of(folder: str) -> str:
    """Return the type of the file system that holds `folder` ("ext4"; "tmpfs" never syncs), or "unknown"."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown"
    path = Path(folder).resolve()
    best, kind = 0, "unknown"
    for line in mounts.read_text().splitlines():
        _, mount, mount_kind, *_ = line.split()
        if path.is_relative_to(mount) and len(mount) >= best:
            best, kind = len(mount), mount_kind
    return kind


def fdatasync_us(folder: str) -> tuple[float, float]:
    """Return p50 and p99, in microseconds, of overwriting 4 KiB of a written file and syncing it."""
    sync = getattr(os, "fdatasync", os.fsync)
    block = os.urandom(BLOCK_BYTES)
    took_us = []
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(BLOCK_BYTES * FILE_BLOCKS))
        file.flush()
        os.fsync(file.fileno())
        for number in range(SYNCS):
            started = time.perf_counter()
            os.pwrite(file.fileno(), block, number % FILE_BLOCKS * BLOCK_BYTES)
            sync(file.fileno())
            took_us.append((time.perf_counter() - started) * 1e6)
    took_us.sort()
    return percentile(took_us, 0.5), percentile(took_us, 0.99)


def fdatasync_of_three_us(folder: str) -> float:
    """Return the worst p50, in microseconds, of three processes that do `fdatasync_us` at the same time."""
    command = [sys.executable, __file__, "sync", folder]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        return max(float(child.communicate(timeout=WAIT_S)[0]) for child in children)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise PeerFailed("Three syncs at once were not measured. Try again on a calmer machine.") from error
    finally:
        for child in children:
            child.kill()
            child.wait()


def loopback_rtt_us() -> float:
    """Return the p50, in microseconds, of 100 B there and back between two Python processes over TCP loopback.

    Raises PeerFailed if the other process does not answer within 10 s.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(WAIT_S)
    child = subprocess.Popen([sys.executable, __file__, "echo", str(listener.getsockname()[1])])
    took_us = []
    try:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(WAIT_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            message = bytes(MESSAGE_BYTES)
            for _ in range(ROUND_TRIPS):
                started = time.perf_counter()
                connection.sendall(message)
                _receive(connection, MESSAGE_BYTES)
                took_us.append((time.perf_counter() - started) * 1e6)
    except (OSError, EOFError) as error:
        raise PeerFailed(
            f"The round trip over loopback was not measured: {error}. Try again on a calmer machine."
        ) from error
    finally:
        listener.close()
        child.kill()
        child.wait()
    took_us.sort()
    return percentile(took_us, 0.5)


def echo(port: int) -> None:
    """Send back every message that arrives from loopback `port`, until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for _ in range(ROUND_TRIPS):
                connection.sendall(_receive(connection, MESSAGE_BYTES))
        except EOFError:
            return


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError("the connection was closed")
        data += part
    return data


if __name__ == "__main__":
    if sys.argv[1:2] == ["echo"]:
        echo(int(sys.argv[2]))
    elif sys.argv[1:2] == ["sync"]:
        print(fdatasync_us(sys.argv[2])[0])
    else:
        print(json.dumps(measure(), indent=2))
