"""`quorum node`: one production node, from its configuration to its exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from quorum.console.command import command, exit_code, print_json
from quorum.console.logs import set_up_logging
from quorum.console.loop import loop_factory
from quorum.errors import QuorumError
from quorum.runtime.config import load_node

if TYPE_CHECKING:
    from quorum.runtime.node import Node

PARENT_CHECK_S = 0.5
log = logging.getLogger("quorum.node")


@command("node", "quorum node --config .quorum/n1/node.toml")
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The node.toml.")
@click.option("--bootstrap", is_flag=True, help="Begin a new cluster: the first start, and only then.")
@click.option("--join", is_flag=True, help="Join a cluster that runs and has admitted it: the first start.")
@click.option("--allow-faults", is_flag=True, help="Let drills cut the links of this node.")
@click.option("--lie", default=None, help="With --allow-faults: lie to the others, say equivocate.")
@click.option("--with-parent", is_flag=True, hidden=True, help="Stop when the process that started it ends.")
@click.option("--log-format", type=click.Choice(("text", "json")), default="text", help="Log lines.")
def node(
    config: Path,
    bootstrap: bool,
    join: bool,
    allow_faults: bool,
    lie: str | None,
    with_parent: bool,
    log_format: str,
    as_json: bool,
) -> None:
    """Run one node until SIGTERM or SIGINT.

    Exit 3: its data is damaged where no crash explains it, nothing was changed; 4: the disk refused a write or a
    sync; 2: a configuration that cannot run. With --json it prints one object when it has started.
    """
    if bootstrap and join:
        raise click.UsageError(
            "--bootstrap and --join were given, but a node begins a new cluster or joins one that runs. Give one."
        )
    settings = load_node(config)
    if allow_faults:
        settings = msgspec.structs.replace(settings, allow_faults=True)
    if lie is not None and not settings.allow_faults:
        raise click.UsageError(
            "--lie was given without --allow-faults, but only a drill makes a node lie. Give both."
        )
    set_up_logging(settings.node, settings.log_level, log_format)
    from quorum.runtime.node import Node

    if lie is None:
        server = Node(settings, bootstrap=bootstrap, join=join)
    else:
        from quorum.console.lying import lying_as

        server = Node(settings, bootstrap=bootstrap, join=join, lie=lying_as(lie))
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_serve(server, with_parent, as_json))
    except QuorumError as error:
        if log_format == "text":
            raise
        log.critical("stopped: %s", error)
        click.get_current_context().exit(exit_code(error))
    log.info("stopped in good order")


async def _serve(server: Node, with_parent: bool, as_json: bool) -> None:
    loop = asyncio.get_running_loop()
    is_up = False

    def stop() -> None:
        if is_up:
            server.stop()
        else:
            serving.cancel()

    def mark_up(started: Node) -> None:
        nonlocal is_up
        is_up = True
        _announce(started, as_json)

    serving = asyncio.ensure_future(server.run(mark_up))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if with_parent:
        _watch_parent(loop, os.getppid(), stop)
    try:
        await serving
    except asyncio.CancelledError:
        log.info("told to stop before it had started")


def _announce(server: Node, as_json: bool) -> None:
    host, port = server.network.address
    log.info("node %s of cluster %s listens on %s:%d", server.config.node, server.cluster.cluster_id, host, port)
    if as_json:
        print_json({"node": server.config.node, "cluster": server.cluster.cluster_id, "pid": os.getpid()})


def _watch_parent(loop: asyncio.AbstractEventLoop, parent: int, stop: Callable[[], None]) -> None:
    """Stop when the parent has ended, and this process has become another's child."""
    if os.getppid() != parent:
        stop()
    else:
        loop.call_later(PARENT_CHECK_S, _watch_parent, loop, parent, stop)
