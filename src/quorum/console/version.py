"""`quorum version`."""

from __future__ import annotations

import platform

import click

import quorum
from quorum.console.command import command, print_json


@command("version", "quorum version --json")
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": quorum.__version__, "python": platform.python_version()})
    else:
        click.echo(f"quorum {quorum.__version__}, Python {platform.python_version()}")
