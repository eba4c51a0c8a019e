"""Every page is true: its code runs, its output is as printed, its links lead somewhere."""

from __future__ import annotations

import re
import runpy
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import documented
from documented import (
    ROOT,
    blocks_of,
    command_of,
    local_cluster,
    nodes_stopped,
    run_command,
    run_page,
    starts_cluster,
)

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
RUNNABLE = ("python", "console")
FRAGMENTS = sorted((ROOT / "changes").glob("*.md"))
LANGUAGES = {"python", "console", "text", "sh", "toml", "json"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def pages_with(is_cluster: bool) -> list[Path]:
    return [
        page
        for page in PAGES
        if any(block.language in RUNNABLE and block.is_cluster == is_cluster for block in blocks_of(page))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with(is_cluster=False), ids=name_of)
def test_a_page_runs_as_written(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with nodes_stopped():
        run_page(page, is_cluster=False)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with(is_cluster=True), ids=name_of)
def test_a_page_runs_as_written_on_a_cluster(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with local_cluster(is_started=starts_cluster(page)):
        run_page(page, is_cluster=True)


PAGE = """
```console
$ quorum up --folder here --nodes 1
...
$ python -c "print(1)"
2
```
"""


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("spoil", [False, True], ids=["whole", "spoilt"])
def test_a_page_that_fails_leaves_no_node_running(
    spoil: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the page has spoilt the cluster's file, and in whatever folder the cluster is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(documented, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    pids: list[int] = []
    with pytest.raises(AssertionError, match="the page says"):
        fail_on(page, pids, tmp_path / "here", spoil)
    deadline = time.monotonic() + 10
    while "quorum node" in command_of(pids[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "quorum node" not in command_of(pids[0])


def fail_on(page: Path, pids: list[int], folder: Path, spoil: bool) -> None:
    with nodes_stopped():
        try:
            run_page(page, is_cluster=False)
        finally:
            pids.append(int((folder / "n1" / "node.pid").read_text()))
            assert "quorum node" in command_of(pids[0]), "it runs until then"
            if spoil:
                (folder / "cluster.toml").write_text("spoilt")


def test_a_command_that_takes_too_long_is_ended_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(documented, "COMMAND_SECONDS_MAX", 0.5)
    with pytest.raises(subprocess.TimeoutExpired):
        run_command("sleep 600 & echo $! > pid; wait")
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while "sleep 600" in command_of(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "sleep 600" not in command_of(pid)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_a_page_says_its_language(page: Path) -> None:
    assert {block.language for block in blocks_of(page)} <= LANGUAGES


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name_of(page)} links to {target}"


def test_every_page_of_the_documentation_is_in_the_menu() -> None:
    menu = set(re.findall(r"[a-z-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert menu == {page.name for page in (ROOT / "docs").glob("*.md")}


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"\bmake ([a-z]+)`", page.read_text())) <= targets, name_of(page)


def test_every_example_is_named_on_some_page() -> None:
    pages = "".join(page.read_text() for page in PAGES)
    for example in (ROOT / "examples").glob("*.py"):
        assert f"examples/{example.name}" in pages, example.name


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=name_of)
def test_a_change_fragment_is_well_formed(fragment: Path) -> None:
    assert re.fullmatch(r"[0-9]+-[a-z0-9-]+\.md", fragment.name), "name it ISSUE-FEATURE.md"
    assembler()["parse"](fragment)


def test_the_changelog_holds_every_fragment() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert assembler()["assembled"](text, FRAGMENTS) == text, "run `python changes/assemble.py`"


def test_a_fragment_that_is_not_well_formed_is_refused(tmp_path: Path) -> None:
    for text in ("", "### Added\n", "- a change\n", "### Improved\n- a change\n", "### Added\n- a\n\nprose\n"):
        fragment = tmp_path / "9-bad.md"
        fragment.write_text(text)
        with pytest.raises(ValueError, match=r"9-bad\.md"):
            assembler()["parse"](fragment)


def assembler() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "changes" / "assemble.py"))


def test_the_table_of_errors_says_of_each_what_its_class_says() -> None:
    import quorum.errors

    text = (ROOT / "docs" / "clients.md").read_text()
    rows = re.findall(r"^\| (`[A-Z][^|]*) \| *(`[A-Za-z]+`|) *\|", text, re.MULTILINE)
    told = {name: kind.strip("`") for names, kind in rows for name in re.findall(r"`(\w+)`", names)}
    kinds = (quorum.errors.Definite, quorum.errors.Indefinite)
    for name, kind in told.items():
        error = getattr(quorum.errors, name)
        assert [base.__name__ for base in kinds if issubclass(error, base)] == ([kind] if kind else []), name
    for error in vars(quorum.errors).values():
        if isinstance(error, type) and issubclass(error, kinds) and error not in kinds:
            assert error.__name__ in told, error
