"""`quorum version`."""

from __future__ import annotations

import platform

import click

import quorum
from quorum.console.command import command, print_json


@command("version", "quorum version --json")
def version(as_json: bool) -> None:
    """Print the version, and whether the hot modules are compiled."""
    from quorum.protocols import log

    compiled = not str(log.__file__).endswith(".py")
    if as_json:
        print_json({"version": quorum.__version__, "python": platform.python_version(), "compiled": compiled})
    else:
        kind = "compiled" if compiled else "pure Python"
        click.echo(f"quorum {quorum.__version__} ({kind}), Python {platform.python_version()}")
