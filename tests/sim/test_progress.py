"""The bar of simulations: on a terminal alone, and never among what a program prints."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

import quorum
from quorum.sim.progress import progress
from simulated_classes import Counter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_of(monkeypatch) -> Terminal:
    """What stands in for stderr from now on. Not a fixture: pytest sets stderr once more before it runs a test."""
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return found


def test_a_simulation_shows_on_a_terminal_how_far_it_is(monkeypatch):
    terminal = terminal_of(monkeypatch)
    result = quorum.simulate(Counter, seeds=2, duration_s=2, hash_seeds=())
    assert "0/2" in terminal.getvalue() and "2/2" in terminal.getvalue()
    assert f"0 failed, {result.operations} operations" in terminal.getvalue()


def test_what_a_program_prints_meanwhile_stays_on_its_stdout(monkeypatch, capsys):
    terminal = terminal_of(monkeypatch)
    quorum.simulate(Counter, seeds=1, duration_s=2, hash_seeds=(), on_run=lambda run: print("seed", run.seed))
    assert "1/1" in terminal.getvalue() and "seed" not in terminal.getvalue()
    assert capsys.readouterr().out == "seed 0\n"


def test_a_bar_goes_when_a_seed_fails(monkeypatch):
    terminal = terminal_of(monkeypatch)
    with pytest.raises(quorum.SimulationFailed):
        quorum.simulate(Counter, seeds=3, duration_s=2, hash_seeds=(), check=lambda counter: False)
    assert "\x1b[2K" in terminal.getvalue(), "the line is erased"


def test_nothing_is_drawn_where_it_is_not_wanted(monkeypatch):
    terminal = terminal_of(monkeypatch)
    quorum.simulate(Counter, seeds=1, duration_s=2, hash_seeds=(), show_progress=False)
    with progress(3, is_quiet=True) as advance:
        advance("0 failed")
    assert terminal.getvalue() == ""


def test_nothing_is_drawn_where_there_is_no_terminal(capsys):
    quorum.simulate(Counter, seeds=1, duration_s=2, hash_seeds=())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_draws_on_a_terminal_unless_it_prints_json(as_json):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "quorum", "simulate", "--seeds", "2", "--seconds", "14", "--workers", "1"]
    done = subprocess.run(
        command + ["--json"] * as_json,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
        check=False,
        timeout=120,
    )
    os.write(theirs, b"end")
    drawn = b""
    while not drawn.endswith(b"end"):
        drawn += os.read(ours, 4096)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0 and b"2/2" not in done.stdout
    assert (drawn == b"end") if as_json else (b"2/2" in drawn)
