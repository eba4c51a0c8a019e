"""`quorum kv watch`: every change of keys, as it happens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quorum.console.command import bytes_of, command, print_json, with_cluster
from quorum.console.inquiry import hold_client
from quorum.console.modes import BELIEVES_ONE, crash_only

if TYPE_CHECKING:
    from quorum.apps.kv_watch import Event
    from quorum.runtime.client import Client
    from quorum.runtime.key_subscription import KeyWatch


@command("watch", "quorum kv watch --prefix user/ --from 120 --json")
@click.argument("key")
@click.option("--prefix", is_flag=True, help='Watch all keys that begin with KEY ("": all there are).')
@click.option("--from", "first", type=click.IntRange(min=1), help="Begin at this revision instead of now.")
@click.option("--previous", is_flag=True, help="Print also what was there before.")
@click.option("--only", type=click.Choice(["put", "delete"]), help="Leave out the other kind of change.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many changes.")
@click.option("--hex", "as_hex", is_flag=True, help="Keys and values are hexadecimal.")
@with_cluster
def watch(
    key: str,
    prefix: bool,
    first: int | None,
    previous: bool,
    only: str | None,
    count: int | None,
    as_hex: bool,
    config: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Print every change of KEY, in order and once, until SIGINT or SIGTERM. In crash mode.

    One line for each: revision, kind, key, value; with --json one JSON object a line. It goes on when nodes fail
    or the leader changes. Exit 1 if changes from --from on are not kept any more.
    """
    name = bytes_of(key, as_hex)
    crash_only(config, "changes were to be watched", BELIEVES_ONE)
    has_begun = False

    def begin(client: Client) -> KeyWatch:
        return client.kv.watch(name, prefix=prefix, start_revision=first or 0, previous=previous, only=only)

    async def act(client: Client) -> None:
        nonlocal has_begun
        seen = 0
        async with begin(client) as watching:
            has_begun = True
            click.echo(f"watching from revision {first or watching.revision + 1}", err=True)
            async for event in watching:
                _print(event, previous, as_hex, as_json)
                seen += 1
                if seen == count:
                    return

    hold_client(config, timeout, act, waits=lambda: not has_begun)


def _print(event: Event, with_previous: bool, as_hex: bool, as_json: bool) -> None:
    if as_json:
        print_json(_described(event, with_previous, as_hex))
        return
    parts = [b"%d" % event.revision, event.kind.encode(), _shown(event.key, as_hex)]
    if event.value is not None:
        parts.append(_shown(event.value, as_hex))
    if event.previous is not None:
        parts += (b"before:", _shown(event.previous.value, as_hex))
    click.echo(b"\t".join(parts))


def _shown(data: bytes, as_hex: bool) -> bytes:
    return data.hex().encode() if as_hex else data


def _described(event: Event, with_previous: bool, as_hex: bool) -> dict[str, Any]:
    """An event in JSON: all texts, or all hexadecimal where that was asked for or one is no UTF-8."""
    before = event.previous
    found = [event.key, event.value, None if before is None else before.value]
    encoding = "hex"
    shown = [None if data is None else data.hex() for data in found]
    if not as_hex:
        try:
            shown, encoding = [None if data is None else data.decode() for data in found], "text"
        except UnicodeDecodeError:
            pass
    described: dict[str, Any] = {
        "revision": event.revision,
        "kind": event.kind,
        "key": shown[0],
        "value": shown[1],
        "encoding": encoding,
        "create_revision": event.create_revision,
        "version": event.version,
    }
    if with_previous:
        described["previous"] = None
        if before is not None:
            described["previous"] = {
                "value": shown[2],
                "create_revision": before.create_revision,
                "mod_revision": before.mod_revision,
                "version": before.version,
            }
    return described
