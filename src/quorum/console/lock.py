"""`quorum lock`: hold a lock while a command runs."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quorum.console.command import AnswerNo, command, print_json, seconds_option, text_of, with_cluster
from quorum.console.inquiry import hold_client, run_client
from quorum.errors import ConfigurationError

if TYPE_CHECKING:
    from quorum.apps.lock import LockView
    from quorum.runtime.client import Client
    from quorum.runtime.lock_client import Lock

TOKEN_VARIABLE = "QUORUM_FENCING_TOKEN"
NAME_VARIABLE = "QUORUM_LOCK"
GRACE_PART = 0.05
"""The part of the session's time that a command has between SIGTERM and SIGKILL when the lock may be lost; what
the client trusts ends a tenth before the cluster's time does."""
INTERRUPTED = 130
WAIT = click.option(
    "--wait", type=click.FloatRange(min=0), help="Seconds to wait for it; 0: not at all.  [default: no limit]"
)


@command("lock", "quorum lock nightly-backup --ttl 30 -- ./backup.sh")
@click.argument("name")
@click.argument("argv", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@seconds_option("--ttl", 10.0, "Seconds after which the lock is lost if this process or its network stops.")
@WAIT
@click.option("--value", default="", help="Shown to whoever looks at the lock.")
@click.option("--show", is_flag=True, help="Only show who holds it. Exit 1 if nobody does.")
@with_cluster
def lock(
    name: str,
    argv: tuple[str, ...],
    ttl: float,
    wait: float | None,
    value: str,
    show: bool,
    config: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Hold a lock while a command runs, or until told to stop.

    Waits its turn in the queue of NAME, then runs COMMAND with the fencing token in QUORUM_FENCING_TOKEN, and ends
    with its exit code. Should the lock be lost meanwhile, COMMAND is ended and the exit code is 1, as it is when
    the time to wait was over. Without COMMAND, prints the token and holds the lock until SIGINT or SIGTERM.
    """
    if show:
        _show(name, argv, config, timeout, as_json)
        return
    if argv and shutil.which(argv[0]) is None:
        raise ConfigurationError(
            f"{argv[0]!r} was to be run while holding {name!r}, but there is no such program. Correct its name."
        )

    async def act(client: Client) -> int:
        async with client.lock(name, ttl, wait, value.encode("utf-8", "surrogateescape")) as held:
            if argv:
                return await _run(argv, held, ttl)
            _tell(held, as_json)
            await asyncio.Event().wait()
            raise AssertionError("only a cancellation ends it")

    code = hold_client(config, timeout, act)
    if code is None and argv:
        code = INTERRUPTED
    if as_json and argv:
        print_json({"name": name, "exit_code": code})
    if code:
        click.get_current_context().exit(code)


def _tell(held: Lock, as_json: bool) -> None:
    if as_json:
        print_json({"name": held.name, "token": held.token})
    else:
        click.echo(f"token {held.token}")


async def _run(argv: Sequence[str], held: Lock, ttl: float) -> int:
    """Run a command to its end; its exit code, as a shell counts it. Cancelled: end the command first."""
    environment = dict(os.environ, **{TOKEN_VARIABLE: str(held.token), NAME_VARIABLE: held.name})
    process = await asyncio.create_subprocess_exec(*argv, env=environment)
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        await _end(process, max(0.1, ttl * GRACE_PART))
        raise
    return code if code >= 0 else 128 - code


async def _end(process: asyncio.subprocess.Process, grace_s: float) -> None:
    """Ask a process to end, then make it."""
    try:
        process.terminate()
        try:
            async with asyncio.timeout(grace_s):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
    except ProcessLookupError:
        pass  # it has ended by itself


def _show(name: str, argv: Sequence[str], config: Path | None, timeout: float, as_json: bool) -> None:
    if argv:
        raise click.UsageError("--show and a command were given, but --show runs nothing. Give one of them.")
    view = run_client(config, timeout, lambda client: client.lock(name).look())
    if as_json:
        print_json(_described(view))
    elif view.holder is None:
        click.echo(f"nobody holds {name!r}", err=True)
    else:
        holder = view.holder
        text, _ = text_of(holder.value)
        suffix = f", value {text}" if text else ""
        click.echo(f"session {holder.session} holds it by token {holder.token}{suffix}; {view.waiting} wait")
    if view.holder is None:
        raise AnswerNo


def _described(view: LockView) -> dict[str, Any]:
    holder = view.holder
    if holder is None:
        return {"name": view.name, "held": False, "waiting": 0}
    text, encoding = text_of(holder.value)
    return {
        "name": view.name,
        "held": True,
        "session": holder.session,
        "token": holder.token,
        "value": text,
        "encoding": encoding,
        "waiting": view.waiting,
    }
