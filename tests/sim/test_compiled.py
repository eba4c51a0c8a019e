"""The compiled package behaves as the pure one."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest

from quorum.protocols import log
from quorum.sim.campaign import Plan, run_seed

ROOT = Path(__file__).resolve().parents[2]
PURE = os.environ.get("QUORUM_PURE_PYTHON", "")
RUN = "from quorum.sim.campaign import Plan, run_seed; print(run_seed(Plan(seed=7, nodes=5, seconds=60))[0].trace)"


def compiled_modules() -> list[Path]:
    """What setup.py compiles."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMPILED":
            return [ROOT / "src" / "quorum" / f"{name}.py" for name in ast.literal_eval(node.value)]
    raise AssertionError("setup.py names what is compiled")


def test_no_compiled_module_defines_a_struct() -> None:
    """A compiled Struct loses its annotations, and decodes anything."""
    for path in compiled_modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                assert not any("Struct" in ast.unparse(base) for base in node.bases), f"{path}: {node.name}"


@pytest.mark.skipif(not PURE, reason="QUORUM_PURE_PYTHON names no pure interpreter to compare with")
def test_a_seed_gives_the_same_trace_compiled_and_pure() -> None:
    assert not str(log.__file__).endswith(".py"), "the compiled package is under test"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [PURE, "-c", RUN], capture_output=True, text=True, check=True, cwd=ROOT, env=environment, timeout=300
    )
    assert done.stdout.strip() == run_seed(Plan(seed=7, nodes=5, seconds=60))[0].trace
