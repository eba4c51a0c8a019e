"""`quorum kv`: the key-value store."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from quorum.console.command import AnswerNo, Decorated, Group, command, print_json, with_cluster
from quorum.console.command import bytes_of as _bytes
from quorum.console.inquiry import run_client
from quorum.console.kv_lease import lease
from quorum.console.kv_range import described, range_
from quorum.console.kv_watch import watch
from quorum.console.modes import BELIEVES_ONE, crash_only

STALE = click.option("--stale", is_flag=True, help="Ask only the node at hand, perhaps behind. In crash mode.")
HEX = click.option("--hex", "as_hex", is_flag=True, help="Keys and values are hexadecimal.")


ELSEWHERE = {
    "scan": "quorum kv range --page 1000",
    "list": "quorum kv range",
    "ls": "quorum kv range",
    "set": "quorum kv put",
}


@click.group(cls=Group, epilog="Example: quorum kv put greeting hello", elsewhere=ELSEWHERE)
def kv() -> None:
    """Use the key-value store. Reads are linearizable unless --stale is given."""


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
    if stale:
        crash_only(config, "one node alone was to be asked (--stale)", BELIEVES_ONE)
    consistency = "stale" if stale else "linearizable"
    item = run_client(config, timeout, lambda client: client.kv.get(name, consistency))
    if as_json:
        print_json({"key": key, "value": None} if item is None else described(item, as_hex))
    elif item is not None:
        click.echo(item.value.hex() if as_hex else item.value)
    if item is None:
        if not as_json:
            click.echo(f"{key!r} is absent", err=True)
        raise AnswerNo


@_subcommand("put", "put greeting hello --ttl 60")
@click.argument("key")
@click.argument("value")
@click.option("--lease", "number", type=click.IntRange(min=1), help="Remove it when this lease ends.")
@click.option("--ttl", type=float, help="Remove it after so many seconds, unless it is written again.")
def put(
    key: str,
    value: str,
    number: int | None,
    ttl: float | None,
    config: Path | None,
    timeout: float,
    as_hex: bool,
    as_json: bool,
) -> None:
    """Write VALUE ("-": standard input) under KEY. Without --lease it stays, also if it had one before."""
    if number is not None and ttl is not None:
        raise click.UsageError("--lease and --ttl were given, but each says when the key ends. Use one of them.")
    name, data = _bytes(key, as_hex), _value(value, as_hex)
    written = run_client(config, timeout, lambda client: client.kv.put(name, data, lease=number, ttl=ttl))
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


@command("compact", "quorum kv compact 1200")
@click.argument("revision", type=click.IntRange(min=0))
@with_cluster
def compact(revision: int, config: Path | None, timeout: float, as_json: bool) -> None:
    """Forget the changes up to REVISION: no watch can begin there any more. The keys stay as they are."""
    compacted = run_client(config, timeout, lambda client: client.kv.compact(revision))
    if as_json:
        print_json({"compacted": compacted.revision})
    else:
        click.echo(f"compacted up to revision {compacted.revision}")


def _value(text: str, as_hex: bool) -> bytes:
    """The value of an argument, or standard input for "-" (as bytes; with --hex as hexadecimal text)."""
    if text != "-":
        return _bytes(text, as_hex)
    data = sys.stdin.buffer.read()
    return _bytes(data.decode("ascii", "replace").strip(), True) if as_hex else data


for _made in (compact, lease, range_, watch):
    kv.add_command(_made)
