"""Runs one notebook in the present folder, and writes it with its outputs: `python notebook_run.py NOTEBOOK DONE`.

In a process of its own, with which all ends that the kernel and its client leave open. Warnings are errors, as in
all tests. Exit 1, with the traceback, for a cell that fails.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

CELL_SECONDS_MAX = 120
STRICT = "import sys, warnings\nwarnings.simplefilter('error')\nprint(sys.executable)"
LENIENT = "warnings.simplefilter('default')"
"""Around the cells; what the kernel itself does at its end is not judged."""


def main(source: str, done: str) -> int:
    notebook = nbformat.read(source, as_version=4)
    before, after = nbformat.v4.new_code_cell(STRICT), nbformat.v4.new_code_cell(LENIENT)
    notebook.cells = [before, *notebook.cells, after]
    with tempfile.TemporaryDirectory(prefix="nb") as sockets:  # a short name, as those of sockets must be
        settings = {
            "KernelManager": {"transport": "ipc", "ip": str(Path(sockets) / "kernel")},  # no ports of others
            "KernelSpecManager": {"kernel_dirs": []},  # this interpreter, and not what else is called python3
        }
        try:
            nbclient.NotebookClient(notebook, timeout=CELL_SECONDS_MAX, config=Config(settings)).execute()
        except CellExecutionError as error:
            print(error, file=sys.stderr)
            return 1
    if before.outputs[0].text.strip() != sys.executable:
        print(f"it ran in {before.outputs[0].text}", file=sys.stderr)
        return 1
    nbformat.write(notebook, done)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
