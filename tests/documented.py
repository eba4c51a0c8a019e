"""Reads the runnable blocks of a page, and runs them as a reader would: in order, in one folder.

A `python` block runs in the page's namespace; a `text` block right behind it is what it prints. In a `console`
block each line after `$ ` is run; the lines below it, where there are any, are its output, and `# exit 1` behind
the command is its exit code. `...` stands for anything. A block below `<!-- cluster -->` needs the page's local
cluster, which is started for it unless the page does so itself.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from quorum.errors import ConfigurationError
from quorum.runtime.local import PID_FILE, LocalCluster
from quorum.runtime.setup import CLUSTER_FILE

ROOT = Path(__file__).parent.parent
COMMAND_SECONDS_MAX = 90
GRACE_S = 5.0
PROGRAMS = ("quorum ", "python ", "cat ", "ls ")
_EXIT = re.compile(r"\s+# exit (\d+)$")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    """One fenced block: where it begins, what is in it, what it prints (None: not said), what it needs."""

    line: int
    language: str
    text: str
    prints: str | None
    is_cluster: bool


def blocks_of(page: Path) -> list[Block]:
    """Every fenced block of a page, in order. Raises AssertionError for a fence that never closes."""
    found: list[Block] = []
    lines = page.read_text().splitlines()
    at, mark, gap = 0, "", 0
    while at < len(lines):
        line = lines[at]
        if not line.startswith("```"):
            if line.strip():
                mark, gap = line.strip(), gap + 1
            at += 1
            continue
        language = line[3:].strip()
        end = next((n for n in range(at + 1, len(lines)) if lines[n] == "```"), None)
        assert end is not None, f"{page.name}:{at + 1}: the block never ends"
        text = "\n".join(lines[at + 1 : end]) + "\n"
        if language == "text" and found and found[-1].language == "python" and gap == 0:
            found[-1] = found[-1]._replace(prints=text)
        else:
            found.append(Block(at + 1, language, text, None, mark == "<!-- cluster -->"))
        at, mark, gap = end + 1, "", 0
    return found


def run_page(page: Path, is_cluster: bool) -> None:
    """Run the page's blocks, either those that need a cluster or the others, in the present folder."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.is_cluster != is_cluster:
            continue
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.language == "python":
            _run_python(block, where, namespace)
        elif block.language == "console":
            _run_console(block, where)


def starts_cluster(page: Path) -> bool:
    """Whether the page itself runs `quorum up`."""
    return any("$ quorum up" in block.text for block in blocks_of(page) if block.language == "console")


@contextlib.contextmanager
def local_cluster(is_started: bool = False) -> Iterator[None]:
    """A cluster of five nodes in the present folder, taken down at the end whoever started it."""
    with nodes_stopped():
        if not is_started:
            code, output = run_command("quorum up")
            assert code == 0, f"quorum up: exit {code}\n{output}"
        yield


@contextlib.contextmanager
def nodes_stopped() -> Iterator[None]:
    """However this ends, no node of any cluster below the present folder runs after it."""
    folder = Path.cwd()
    try:
        yield
    finally:
        for file in sorted(folder.rglob(CLUSTER_FILE)):
            with contextlib.suppress(ConfigurationError):  # the page may have broken the file: see below
                LocalCluster(file).stop_all(grace_s=GRACE_S)
        for file in sorted(folder.rglob(PID_FILE)):
            _kill(file)


def _kill(file: Path) -> None:
    """End the process of a pid file by force, if it is the node that the file stands beside."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(file.read_text())
        if f"quorum node --config {file.parent.resolve()}/" in command_of(pid):
            os.kill(pid, signal.SIGKILL)


def command_of(pid: int) -> str:
    """The command line of a process; "" for none."""
    asked = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return asked.stdout


def run_command(command: str) -> tuple[int, str]:
    """Exit code and output, errors included, of a shell command in this interpreter's environment."""
    environment = dict(os.environ, COLUMNS="110", NO_COLOR="1")
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment.pop("QUORUM_CONFIG", None)
    with open("command-output", "w+b") as output:  # a file, not a pipe: nodes that stay must not hold it open
        running = subprocess.Popen(
            command,
            shell=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = running.wait(COMMAND_SECONDS_MAX)
        except BaseException:  # what the shell started must not outlive it
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            raise
        output.seek(0)
        return code, output.read().decode()


def _run_python(block: Block, where: str, namespace: dict[str, Any]) -> None:
    printed = io.StringIO()
    code = compile("\n" * block.line + block.text, where, "exec", dont_inherit=True)
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    if block.prints is not None:
        _compare(block.prints, printed.getvalue(), where)


def _run_console(block: Block, where: str) -> None:
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"{where}: a console block begins with a command"
    for part in parts[1:]:
        command, _, expected = part.partition("\n")
        exits = _EXIT.search(command)
        command = _EXIT.sub("", command)
        assert f"{command} ".startswith(PROGRAMS), f"{where}: {command!r} is not run by this test"
        code, output = run_command(command)
        assert code == (int(exits[1]) if exits else 0), f"{where}: {command}: exit {code}\n{output}"
        if expected.strip():
            _compare(expected, output, f"{where}: {command}")


def _compare(expected: str, printed: str, where: str) -> None:
    matches = doctest.OutputChecker().check_output(expected, printed, _FLAGS)
    assert matches, f"{where}\n--- the page says\n{expected}\n--- it printed\n{printed}"
