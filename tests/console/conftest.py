"""What the tests of the command line share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from quorum.console.cli import main
from quorum.runtime.local import LocalCluster

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a command in this process; a failure that is no exit code is raised."""

    def invoke(*arguments: object, stdin: bytes | None = None) -> Result:
        texts = [str(argument) for argument in arguments]
        return CliRunner(env={"QUORUM_CONFIG": None}).invoke(main, texts, input=stdin, catch_exceptions=False)

    return invoke


@pytest.fixture(scope="session")
def run_json(run: Run) -> Callable[..., tuple[int, Any]]:
    """Runs a command with --json; returns its exit code and the one object it printed."""

    def invoke(*arguments: object, stdin: bytes | None = None) -> tuple[int, Any]:
        result = run(*arguments, "--json", stdin=stdin)
        assert result.stdout.count("\n") == 1, result.stdout
        return result.exit_code, json.loads(result.stdout)

    return invoke


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty present folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def written(here: Path) -> Callable[..., Path]:
    """Writes a system as JSON; returns its file."""

    def write(**system: object) -> Path:
        file = here / "system.json"
        file.write_text(json.dumps(system))
        return file

    return write


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running cluster of three nodes, for one file of tests."""
    made = tmp_path_factory.mktemp("cluster") / ".quorum"
    result = run("up", "--folder", made, "--nodes", 3)
    assert result.exit_code == 0, result.output
    yield made
    run("down", "--folder", made)


@pytest.fixture
def five(run: Run, tmp_path: Path) -> Iterator[Path]:
    """The folder of a running cluster of five, none of which outlives the test."""
    made = tmp_path / ".quorum"
    result = run("up", "--folder", made, "--nodes", 5)
    assert result.exit_code == 0, result.output
    yield made
    run("down", "--folder", made)
    assert LocalCluster(made / "cluster.toml").running() == {}


@pytest.fixture
def committee(run: Run, tmp_path: Path) -> Iterator[Path]:
    """The folder of a running committee of four, of whom one may lie."""
    made = tmp_path / ".quorum"
    assert run("init", "--folder", made, "--nodes", 4, "--model", "byzantine").exit_code == 0
    assert run("up", "--folder", made).exit_code == 0
    yield made
    run("down", "--folder", made)


@pytest.fixture
def at(folder: Path) -> tuple[str, str]:
    """The options by which a command finds the cluster in `folder`."""
    return ("--config", str(folder / "cluster.toml"))
