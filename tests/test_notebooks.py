"""Every notebook of the examples runs from top to bottom and asserts what it says. It is kept without outputs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from documented import ROOT

NOTEBOOKS = sorted((ROOT / "examples").rglob("*.ipynb"))
NOTEBOOK_BYTES_MAX = 300_000
RUN_SECONDS_MAX = 300
PICTURE = re.compile(r'savefig\("([a-z0-9-]+\.png)"')
PATH_OF_A_MACHINE = re.compile(r"""["'(\s](/[a-z]+/|~/|[A-Z]:\\)""")


def name_of(path: Path) -> str:
    return path.name


def run(notebook: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook in `folder`, where it is written to as done.ipynb."""
    home = folder / "home"
    home.mkdir()
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", IPYTHONDIR=str(home))
    environment |= {"JUPYTER_RUNTIME_DIR": str(home), "JUPYTER_CONFIG_DIR": str(home)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), environment.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, str(ROOT / "tests" / "notebook_run.py"), str(notebook), "home/done.ipynb"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_runs_and_makes_its_pictures(path: Path, tmp_path: Path) -> None:
    found = run(path, tmp_path)
    assert found.returncode == 0, found.stderr
    done = nbformat.read(tmp_path / "home" / "done.ipynb", as_version=4)
    named = set(PICTURE.findall("\n".join(cell.source for cell in done.cells)))
    assert named
    assert {file.name for file in tmp_path.glob("*.*")} == named
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in named)
    shown = [out for cell in done.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert len(shown) == len(named), "each picture is also shown"


@pytest.mark.slow
@pytest.mark.parametrize("source", ["assert 1 == 2", "import warnings\nwarnings.warn('1 == 2')"])
def test_a_notebook_that_does_not_hold_fails(source: str, tmp_path: Path) -> None:
    cells = [nbformat.v4.new_code_cell(source)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "wrong.ipynb")
    found = run(tmp_path / "wrong.ipynb", tmp_path)
    assert found.returncode == 1
    assert "1 == 2" in found.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_begins_with_a_title_and_says_what_it_shows(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    title, intro = notebook.cells[0].source.split("\n\n")[:2]
    assert notebook.cells[0].cell_type == "markdown"
    assert re.fullmatch(r"# \S.*", title)
    assert re.match(r"[A-Z].*\.", intro, re.DOTALL)
    assert "This notebook shows" in intro.replace("\n", " ")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_is_kept_small_and_without_what_a_run_leaves(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert path.stat().st_size < NOTEBOOK_BYTES_MAX
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert not any(cell.metadata for cell in notebook.cells)
    assert not PATH_OF_A_MACHINE.search("\n".join(cell.source for cell in notebook.cells))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_asserts_what_it_says_and_is_named_on_a_page(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    asserting = [cell for cell in cells if re.search(r"^\s*assert ", cell.source, re.MULTILINE)]
    sections = [cell for cell in cells if re.search(r"^## ", cell.source, re.MULTILINE)]
    assert len(asserting) + 2 >= len(sections), "the last two sections conclude, and name sources"
    assert any(str(path.relative_to(ROOT)) in page.read_text() for page in (ROOT / "docs").glob("*.md"))
