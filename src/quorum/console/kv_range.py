"""`quorum kv range`: keys and values in order, at once or page by page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quorum.apps.kv import Found, Item, prefix_end
from quorum.console.command import bytes_of, command, print_json, with_cluster
from quorum.console.inquiry import hold_client
from quorum.console.modes import BELIEVES_ONE, crash_only

if TYPE_CHECKING:
    from quorum.runtime.client import Client


@command("range", "quorum kv range --prefix user/ --limit 10 --after user/7")
@click.argument("start", default="")
@click.argument("end", required=False)
@click.option("--prefix", help="All keys that begin with it, instead of START and END.")
@click.option("--after", help="Only keys behind this one: the last that was printed, to go on there.")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="At most so many.  [default: 10000]")
@click.option(
    "--page", type=click.IntRange(1, 10_000), help="Read so many at a time, until the end or --limit is reached."
)
@click.option("--one-revision", is_flag=True, help="With --page: as the store was at the first page.")
@click.option("--stale", is_flag=True, help="Ask only the node at hand, which may be behind. In crash mode.")
@click.option("--hex", "as_hex", is_flag=True, help="Keys and values are hexadecimal.")
@with_cluster
def range_(
    start: str,
    end: str | None,
    prefix: str | None,
    after: str | None,
    limit: int,
    page: int | None,
    one_revision: bool,
    stale: bool,
    as_hex: bool,
    config: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Print keys and values from START up to but without END, ascending.

    With --page everything is read, however much it is: each page is of one revision, and what is written meanwhile
    shows in later pages, unless --one-revision is given. With --json it prints one JSON object for each page.
    """
    if prefix is not None and (start or end is not None):
        raise click.UsageError(
            "--prefix and START or END were given, but each says what to list. Use one of them."
        )
    first = bytes_of(start if prefix is None else prefix, as_hex)
    stop = prefix_end(first) if prefix is not None else None if end is None else bytes_of(end, as_hex)
    last = None if after is None else bytes_of(after, as_hex)
    if stale:
        crash_only(config, "one node alone was to be asked (--stale)", BELIEVES_ONE)
    consistency = "stale" if stale else "linearizable"

    async def act(client: Client) -> None:
        size = page or min(limit or 10_000, 10_000)
        left = limit or (None if page else size)
        scan = client.kv.scan(
            first, stop, after=last, page=size, consistency=consistency, one_revision=one_revision
        )
        async for found in scan.pages():
            shown = found if left is None or len(found.items) <= left else _cut(found, left)
            left = None if left is None else left - len(shown.items)
            _print(shown, as_hex, as_json)
            if left == 0 or page is None:
                if shown.more and not as_json:
                    click.echo("there are more: go on with --after and the last key, or raise --limit", err=True)
                return

    hold_client(config, timeout, act)


def _cut(found: Found, count: int) -> Found:
    """The first `count` items of a page."""
    return Found(found.items[:count], True, found.revision)


def _print(found: Found, as_hex: bool, as_json: bool) -> None:
    if as_json:
        items = [described(item, as_hex) for item in found.items]
        print_json({"items": items, "more": found.more, "revision": found.revision})
        return
    for item in found.items:
        key, value = (item.key.hex(), item.value.hex()) if as_hex else (item.key, item.value)
        click.echo(key, nl=False)
        click.echo("\t", nl=False)
        click.echo(value)


def described(item: Item, as_hex: bool) -> dict[str, Any]:
    """An item in JSON: both texts, or both hexadecimal where that was asked for or one is no UTF-8; its lease,
    where it has one."""
    key, value, encoding = item.key.hex(), item.value.hex(), "hex"
    if not as_hex:
        try:
            key, value, encoding = item.key.decode(), item.value.decode(), "text"
        except UnicodeDecodeError:
            pass
    found = {
        "key": key,
        "value": value,
        "encoding": encoding,
        "create_revision": item.create_revision,
        "mod_revision": item.mod_revision,
        "version": item.version,
    }
    return found | ({"lease": item.lease} if item.lease else {})
