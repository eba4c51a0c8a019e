"""Every example runs as its first lines say. Those that take a cluster.toml run against a local cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from documented import ROOT, local_cluster, run_command

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
CONFIG = ".quorum/cluster.toml"


def on_cluster(example: Path) -> bool:
    return CONFIG in example.read_text()


def name_of(example: Path) -> str:
    return example.name


def run(example: Path) -> str:
    arguments = f" {CONFIG}" if on_cluster(example) else ""
    code, output = run_command(f"python -W error {example}{arguments}")
    assert code == 0, output
    return output


@pytest.mark.slow
@pytest.mark.parametrize("example", [path for path in EXAMPLES if not on_cluster(path)], ids=name_of)
def test_an_example_runs(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(example).strip()


@pytest.mark.cluster
@pytest.mark.slow
def test_the_examples_for_a_cluster_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with local_cluster():
        for example in filter(on_cluster, EXAMPLES):
            assert run(example).strip()


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_an_example_says_how_it_is_run(example: Path) -> None:
    assert f"Run: python examples/{example.name}" in example.read_text()
