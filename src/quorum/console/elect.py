"""`quorum elect`: campaign, hold leadership, observe."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quorum.console.command import AnswerNo, command, print_json, seconds_option, text_of, with_cluster
from quorum.console.inquiry import hold_client, run_client
from quorum.console.lock import WAIT
from quorum.console.modes import BELIEVES_ONE, crash_only

if TYPE_CHECKING:
    from quorum.apps.lock import Holder
    from quorum.runtime.client import Client


@command("elect", "quorum elect scheduler worker-7 --ttl 5")
@click.argument("name")
@click.argument("value", required=False)
@click.option("--observe", is_flag=True, help="Print who leads now and after each change. In crash mode.")
@click.option("--changes", type=click.IntRange(min=1), help="With --observe: end after so many lines.")
@seconds_option("--ttl", 10.0, "Seconds after which leadership is lost if this process or its network stops.")
@WAIT
@with_cluster
def elect(
    name: str,
    value: str | None,
    observe: bool,
    changes: int | None,
    ttl: float,
    wait: float | None,
    config: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Campaign for a leadership and hold it, or see who leads.

    With VALUE: wait to lead NAME, print the fencing token, and lead until SIGINT or SIGTERM, seen by everybody as
    VALUE. Exit 1 if leadership is lost, or the time to wait is over. Without VALUE: print who leads; exit 1 if
    nobody does.
    """
    if observe and value is not None:
        raise click.UsageError(
            "--observe and a value were given, but one looks and the other campaigns. Give one of them."
        )
    if changes is not None and not observe:
        raise click.UsageError("--changes was given without --observe, whose lines it counts. Add --observe.")
    if observe:
        crash_only(config, "a leadership was to be observed", BELIEVES_ONE)
        hold_client(config, timeout, lambda client: _observe(client, name, changes, as_json))
    elif value is None:
        leader = run_client(config, timeout, lambda client: client.election(name).leader())
        _print(name, leader, as_json)
        if leader is None:
            raise AnswerNo
    else:
        mine = value.encode("utf-8", "surrogateescape")
        hold_client(config, timeout, lambda client: _lead(client, name, mine, ttl, wait, as_json))


async def _lead(client: Client, name: str, value: bytes, ttl: float, wait: float | None, as_json: bool) -> None:
    async with client.election(name, ttl).lead(value, wait) as leading:
        if as_json:
            print_json({"name": name, "token": leading.token})
        else:
            click.echo(f"token {leading.token}")
        await asyncio.Event().wait()


async def _observe(client: Client, name: str, changes: int | None, as_json: bool) -> None:
    count = 0
    async with aclosing(client.election(name).observe()) as seen:
        async for leader in seen:
            _print(name, leader, as_json)
            count += 1
            if count == changes:
                return


def _print(name: str, leader: Holder | None, as_json: bool) -> None:
    if as_json:
        print_json(_described(name, leader))
    elif leader is None:
        click.echo(f"nobody leads {name!r}")
    else:
        click.echo(f"{text_of(leader.value)[0]}\ttoken {leader.token}")


def _described(name: str, leader: Holder | None) -> dict[str, Any]:
    if leader is None:
        return {"name": name, "leader": None, "token": None}
    text, encoding = text_of(leader.value)
    return {"name": name, "leader": text, "encoding": encoding, "token": leader.token}
