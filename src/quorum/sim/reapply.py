"""The log of a run applied once more in another process, where strings hash otherwise.

All replicas of a simulation live in one process, in which a set of strings has one order. So its log is given to a
child with another PYTHONHASHSEED, which must reach the same answers and states. `python -m quorum.sim.reapply` is
that child; it reads a request and writes a report, both msgpack.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from quorum.apps.log_clock import LogClock
from quorum.header import Header
from quorum.sim.subject import subject_of
from quorum.sim.watched import Applied, watched

CHILD = "QUORUM_REAPPLYING"
CHILD_SECONDS_MAX = 120


class Reference(msgspec.Struct):
    """Where a class or a function is found: by its module's name, or else in its file. `arguments` are those of a
    generic class."""

    module: str
    name: str
    file: str
    arguments: list[Reference] = []


class Entry(msgspec.Struct):
    header: Header
    body: bytes
    told: bytes
    digest: bytes


class Request(msgspec.Struct):
    what: Reference
    path: list[str]
    logs: list[list[Entry]]


class Report(msgspec.Struct):
    """The first entry that did something else, by its log and place; or why nothing could be seen."""

    log: int = -1
    place: int = -1
    unchecked: str = ""


def is_reapplying() -> bool:
    """Whether this is the child."""
    return CHILD in os.environ


def differing(
    what: Any, hash_seed: int, logs: Mapping[int, Sequence[Applied]]
) -> tuple[int, Applied] | str | None:
    """Apply logs, by their seeds, under another PYTHONHASHSEED: the first entry that does something else, with its
    seed; None where all do the same; or, as text, why that could not be seen."""
    if not logs:
        return None
    try:
        reference = _reference(what)
    except LookupError as error:
        return f"other hash seeds were not tried, because {error}"
    seeds = list(logs)
    entries = [[Entry(each.header, each.body, each.told, each.digest) for each in logs[seed]] for seed in seeds]
    request = msgspec.msgpack.encode(Request(reference, [str(Path(part).resolve()) for part in sys.path], entries))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "quorum.sim.reapply"],
            input=request,
            capture_output=True,
            env=os.environ | {"PYTHONHASHSEED": str(hash_seed), CHILD: "1"},
            timeout=CHILD_SECONDS_MAX,
            check=True,
        )
        report = msgspec.msgpack.decode(done.stdout, type=Report)
    except (subprocess.SubprocessError, OSError, msgspec.MsgspecError) as error:
        return f"other hash seeds were not tried, because the process for it failed: {error}"
    if report.unchecked:
        return f"other hash seeds were not tried, because {report.unchecked}"
    return None if report.log < 0 else (seeds[report.log], logs[seeds[report.log]][report.place])


def _reference(what: Any) -> Reference:
    """How another process finds `what`. Raises LookupError where it cannot."""
    origin = get_origin(what) or what
    module, name = getattr(origin, "__module__", ""), getattr(origin, "__qualname__", "")
    if not name or "<" in name:
        raise LookupError(
            f"{what!r} has no name at the top level of a module, where another process could find it"
        )
    if module == "__main__":
        raise LookupError(f"{name} is in the program that runs, which another process should not run. Move it out")
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return Reference(module, name, file, [_reference(each) for each in get_args(what)])


def _found(reference: Reference) -> Any:
    try:
        module: Any = importlib.import_module(reference.module)
    except ImportError:
        spec = importlib.util.spec_from_file_location(reference.module, reference.file)
        if spec is None or spec.loader is None:
            raise
        module = importlib.util.module_from_spec(spec)
        sys.modules[reference.module] = module
        spec.loader.exec_module(module)
    for name in reference.name.split("."):
        module = getattr(module, name)
    arguments = tuple(_found(each) for each in reference.arguments)
    return module[arguments] if arguments else module


def _report(request: Request) -> Report:
    sys.path[:] = request.path
    try:
        subject = subject_of(_found(request.what))
    except Exception as error:
        return Report(unchecked=f"{request.what.name} was not found there: {type(error).__name__}: {error}")
    for number, log in enumerate(request.logs):
        clock = LogClock()
        machine = watched(subject.make(clock), clock)
        for place, entry in enumerate(log):
            clock.advance(entry.header)
            with contextlib.suppress(Exception):  # what it raised is in `last`, too
                machine.apply(entry.header, entry.body)
            last = machine.last
            assert last is not None
            if (last.told, last.digest) != (entry.told, entry.digest):
                return Report(number, place)
    return Report()


def main() -> None:
    """Read a request from stdin, write the report to stdout; what modules print on the way is dropped."""
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Request)
    with contextlib.redirect_stdout(io.StringIO()):
        report = _report(request)
    sys.stdout.buffer.write(msgspec.msgpack.encode(report))


if __name__ == "__main__":
    main()
