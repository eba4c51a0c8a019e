"""`quorum kv lease`: leases that keys hang on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from quorum.console.command import AnswerNo, Group, command, print_json, with_cluster
from quorum.console.inquiry import hold_client, run_client
from quorum.errors import ApplicationError

if TYPE_CHECKING:
    from quorum.apps.kv import LeaseView
    from quorum.runtime.client import Client

LEASE = click.argument("number", metavar="LEASE", type=click.IntRange(min=1))
R = TypeVar("R")


@click.group(cls=Group, epilog="Example: quorum kv lease grant --ttl 60")
def lease() -> None:
    """Grant, keep alive, revoke, show and list leases. The keys of a lease are removed when it ends."""


@command("grant", "quorum kv lease grant --ttl 60")
@click.option("--ttl", type=float, required=True, help="Seconds after which it ends unless it is kept alive.")
@with_cluster
def grant(ttl: float, config: Path | None, timeout: float, as_json: bool) -> None:
    """Grant a lease and print its number, for `quorum kv put --lease`."""
    granted = run_client(config, timeout, lambda client: client.kv.grant_lease(ttl))
    if as_json:
        print_json({"lease": granted.lease, "ttl": granted.ttl_us / 1e6})
    else:
        click.echo(f"lease {granted.lease}")


@command("keepalive", "quorum kv lease keepalive 7 --once")
@LEASE
@click.option("--once", is_flag=True, help="Prolong it once, and end.")
@with_cluster
def keepalive(number: int, once: bool, config: Path | None, timeout: float, as_json: bool) -> None:
    """Let LEASE last for its whole time again, and again, until SIGINT or SIGTERM. Exit 1 if it has ended.

    Prints one line each time; with --json one JSON object a line.
    """

    async def act(client: Client) -> None:
        while True:
            kept = await client.kv.keep_lease(number)
            seconds = kept.ttl_us / 1e6
            if as_json:
                print_json({"lease": number, "ttl": seconds})
            else:
                click.echo(f"lease {number} lasts for {seconds:g} s")
            if once:
                return
            await asyncio.sleep(seconds / 3)

    _unless_ended(number, lambda: hold_client(config, timeout, act), as_json)


@command("revoke", "quorum kv lease revoke 7")
@LEASE
@with_cluster
def revoke(number: int, config: Path | None, timeout: float, as_json: bool) -> None:
    """End LEASE now: all its keys are removed. Exit 1 if there was none."""
    revoked = run_client(config, timeout, lambda client: client.kv.revoke_lease(number))
    if as_json:
        print_json(
            {"lease": number, "revoked": revoked.existed, "keys": revoked.count, "revision": revoked.revision}
        )
    elif revoked.existed:
        click.echo(f"revoked, {revoked.count} keys removed, revision {revoked.revision}")
    else:
        click.echo(f"lease {number} has ended, or never was", err=True)
    if not revoked.existed:
        raise AnswerNo


@command("show", "quorum kv lease show 7")
@LEASE
@click.option("--limit", type=click.IntRange(min=0), default=0, help="At most so many keys.  [default: all]")
@with_cluster
def show(number: int, limit: int, config: Path | None, timeout: float, as_json: bool) -> None:
    """Print what is left of LEASE, and its keys. Exit 1 if it has ended."""

    def look() -> LeaseView:
        return run_client(config, timeout, lambda client: client.kv.look_lease(number, limit=limit))

    view = _unless_ended(number, look, as_json)
    if as_json:
        print_json(_described(view))
        return
    click.echo(f"{view.remaining_us / 1e6:.1f} of {view.ttl_us / 1e6:g} s left, {view.count} keys")
    for key in view.keys:
        click.echo(key)
    if view.more:
        click.echo("there are more: raise --limit", err=True)


@command("list", "quorum kv lease list --limit 100 --after 7")
@click.option(
    "--after", metavar="LEASE", type=click.IntRange(min=0), default=0, help="Only leases behind this one."
)
@click.option("--limit", type=click.IntRange(min=0), default=0, help="At most so many.  [default: 10000]")
@with_cluster
def list_(after: int, limit: int, config: Path | None, timeout: float, as_json: bool) -> None:
    """Print every lease, those of keys with a --ttl included: number, what is left, how many keys it has."""
    found = run_client(config, timeout, lambda client: client.kv.leases(after, limit))
    if as_json:
        leases = [
            {
                "lease": each.lease,
                "ttl": each.ttl_us / 1e6,
                "remaining": each.remaining_us / 1e6,
                "count": each.count,
                "own": each.is_own,
            }
            for each in found.leases
        ]
        print_json({"leases": leases, "more": found.more, "total": found.total})
        return
    for each in found.leases:
        left = f"{each.remaining_us / 1e6:.1f} of {each.ttl_us / 1e6:g} s left"
        click.echo(f"{each.lease}\t{left}\t{'put with --ttl' if each.is_own else f'{each.count} keys'}")
    if found.more:
        click.echo(f"of {found.total}: go on with --after {found.leases[-1].lease}", err=True)
    elif not found.total:
        click.echo("there is no lease", err=True)


for _made in (grant, keepalive, list_, revoke, show):
    lease.add_command(_made)


def _described(view: LeaseView) -> dict[str, Any]:
    """A lease in JSON: its keys as text, or all hexadecimal where one is no UTF-8."""
    try:
        keys, encoding = [key.decode() for key in view.keys], "text"
    except UnicodeDecodeError:
        keys, encoding = [key.hex() for key in view.keys], "hex"
    return {
        "lease": view.lease,
        "ttl": view.ttl_us / 1e6,
        "remaining": view.remaining_us / 1e6,
        "count": view.count,
        "keys": keys,
        "encoding": encoding,
        "more": view.more,
    }


def _unless_ended(number: int, act: Callable[[], R], as_json: bool) -> R:
    """What `act` gives. Raises AnswerNo, having said so, where the lease has ended."""
    try:
        return act()
    except ApplicationError as error:
        if error.kind != "ended":
            raise
    if as_json:
        print_json({"lease": number, "ended": True})
    else:
        click.echo(f"lease {number} has ended, or never was", err=True)
    raise AnswerNo
