"""`quorum kv`: the key-value store."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from quorum.apps.kv import Item, prefix_end
from quorum.console.command import AnswerNo, Decorated, Group, command, print_json, with_cluster
from quorum.console.command import bytes_of as _bytes
from quorum.console.inquiry import run_client
from quorum.console.kv_watch import watch

STALE = click.option("--stale", is_flag=True, help="Ask only the node at hand, which may be behind.")
HEX = click.option("--hex", "as_hex", is_flag=True, help="Keys and values are hexadecimal.")


@click.group(cls=Group, epilog="Example: quorum kv put greeting hello")
def kv() -> None:
    """Use the key-value store. Reads are linearizable unless --stale is given."""


kv.add_command(watch)


def _subcommand(name: str, example: str) -> Callable[[Decorated], click.Command]:
    """A command of this group, with the options that all of them share."""

    def decorate(function: Decorated) -> click.Command:
        made = command(name, f"quorum kv {example}")(with_cluster(HEX(function)))
        kv.add_command(made)
        return made

    return decorate


@_subcommand("get", "get greeting")
@click.argument("key")
@STALE
def get(key: str, stale: bool, config: Path | None, timeout: float, as_hex: bool, as_json: bool) -> None:
    """Print the value under KEY. Exit 1 if there is none."""
    name = _bytes(key, as_hex)
    consistency = "stale" if stale else "linearizable"
    item = run_client(config, timeout, lambda client: client.kv.get(name, consistency))
    if as_json:
        print_json({"key": key, "value": None} if item is None else _item(item, as_hex))
    elif item is not None:
        click.echo(item.value.hex() if as_hex else item.value)
    if item is None:
        if not as_json:
            click.echo(f"{key!r} is absent", err=True)
        raise AnswerNo


@_subcommand("put", "put greeting hello")
@click.argument("key")
@click.argument("value")
def put(key: str, value: str, config: Path | None, timeout: float, as_hex: bool, as_json: bool) -> None:
    """Write VALUE ("-": standard input) under KEY."""
    name, data = _bytes(key, as_hex), _value(value, as_hex)
    written = run_client(config, timeout, lambda client: client.kv.put(name, data))
    if as_json:
        print_json({"key": key, "revision": written.revision})
    else:
        click.echo(f"revision {written.revision}")


@_subcommand("delete", "delete greeting")
@click.argument("key")
def delete(key: str, config: Path | None, timeout: float, as_hex: bool, as_json: bool) -> None:
    """Remove KEY. Exit 1 if it was not there."""
    name = _bytes(key, as_hex)
    deleted = run_client(config, timeout, lambda client: client.kv.delete(name))
    if as_json:
        print_json({"key": key, "deleted": deleted.count, "revision": deleted.revision})
    else:
        click.echo(f"deleted {deleted.count}, revision {deleted.revision}")
    if not deleted.count:
        raise AnswerNo


@_subcommand("cas", "cas greeting hello goodbye")
@click.argument("key")
@click.argument("values", metavar="[EXPECTED] [VALUE]", nargs=-1)
@click.option("--absent", is_flag=True, help="Swap only if KEY is absent; EXPECTED is left out.")
@click.option("--delete", "deletes", is_flag=True, help="Remove KEY; VALUE is left out.")
def cas(
    key: str,
    values: tuple[str, ...],
    absent: bool,
    deletes: bool,
    config: Path | None,
    timeout: float,
    as_hex: bool,
    as_json: bool,
) -> None:
    """Replace the value under KEY if it is EXPECTED. Exit 1 if it is not, and nothing was changed."""
    if len(values) != 2 - absent - deletes:
        raise click.UsageError(
            f"{len(values)} values were given, but a swap needs the expected value (unless --absent) and the new "
            "one (unless --delete). Give: KEY EXPECTED VALUE."
        )
    if values.count("-") > 1:
        raise click.UsageError("both values are '-', but standard input holds one. Give one of them as text.")
    given = [_value(value, as_hex) for value in values]
    expected = None if absent else given.pop(0)
    new = None if deletes else given.pop(0)
    name = _bytes(key, as_hex)
    swapped = run_client(config, timeout, lambda client: client.kv.compare_and_swap(name, expected, new))
    if as_json:
        print_json({"key": key, "swapped": swapped.succeeded, "revision": swapped.revision})
    elif swapped.succeeded:
        click.echo(f"swapped, revision {swapped.revision}")
    else:
        click.echo(f"not swapped: {key!r} has another value than the expected one", err=True)
    if not swapped.succeeded:
        raise AnswerNo


@_subcommand("range", "range --prefix user/ --limit 10")
@click.argument("start", default="")
@click.argument("end", required=False)
@click.option("--prefix", help="All keys that begin with it, instead of START and END.")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="At most so many.  [default: 10000]")
@STALE
def range_(
    start: str,
    end: str | None,
    prefix: str | None,
    limit: int,
    stale: bool,
    config: Path | None,
    timeout: float,
    as_hex: bool,
    as_json: bool,
) -> None:
    """Print keys and values from START up to but without END, ascending."""
    if prefix is not None and (start or end is not None):
        raise click.UsageError(
            "--prefix and START or END were given, but each says what to list. Use one of them."
        )
    first = _bytes(start if prefix is None else prefix, as_hex)
    stop = prefix_end(first) if prefix is not None else None if end is None else _bytes(end, as_hex)
    consistency = "stale" if stale else "linearizable"
    found = run_client(config, timeout, lambda client: client.kv.range(first, stop, limit, consistency))
    if as_json:
        items = [_item(item, as_hex) for item in found.items]
        print_json({"items": items, "more": found.more, "revision": found.revision})
        return
    for item in found.items:
        key, value = (item.key.hex(), item.value.hex()) if as_hex else (item.key, item.value)
        click.echo(key, nl=False)
        click.echo("\t", nl=False)
        click.echo(value)
    if found.more:
        click.echo("there are more: go on from the last key, or raise --limit", err=True)


def _item(item: Item, as_hex: bool) -> dict[str, Any]:
    """An item in JSON: both texts, or both hexadecimal where that was asked for or one is no UTF-8."""
    key, value, encoding = item.key.hex(), item.value.hex(), "hex"
    if not as_hex:
        try:
            key, value, encoding = item.key.decode(), item.value.decode(), "text"
        except UnicodeDecodeError:
            pass
    return {
        "key": key,
        "value": value,
        "encoding": encoding,
        "create_revision": item.create_revision,
        "mod_revision": item.mod_revision,
        "version": item.version,
    }


def _value(text: str, as_hex: bool) -> bytes:
    """The value of an argument, or standard input for "-" (as bytes; with --hex as hexadecimal text)."""
    if text != "-":
        return _bytes(text, as_hex)
    data = sys.stdin.buffer.read()
    return _bytes(data.decode("ascii", "replace").strip(), True) if as_hex else data
