"""`quorum keys`: certificates for further clients, and what is in a keys folder."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from quorum.console.command import Decorated, Group, command, print_json
from quorum.errors import ConfigurationError
from quorum.model import check_node_id
from quorum.runtime.config import find_config
from quorum.runtime.keyring import CLIENT_PREFIX, LEAF_DAYS
from quorum.runtime.setup import KEYS_FOLDER
from quorum.runtime.toml import shown

RESTART = "Nodes read the list when they start: copy it to each, and restart them one after another."


@click.group(cls=Group, epilog="Example: quorum keys issue reporting --role data --out reporting-keys")
def keys() -> None:
    """Issue, list, renew and revoke certificates. Only where the authority's key, ca.key, is."""


def _subcommand(name: str, example: str) -> Callable[[Decorated], click.Command]:
    def decorate(function: Decorated) -> click.Command:
        folder = click.option(
            "--folder",
            type=click.Path(path_type=Path),
            help="The keys folder.  [default: keys beside cluster.toml]",
        )
        made = command(name, f"quorum keys {example}")(folder(function))
        keys.add_command(made)
        return made

    return decorate


def _folder(folder: Path | None) -> Path:
    found = find_config(None).parent / KEYS_FOLDER if folder is None else folder
    if not found.is_dir():
        raise ConfigurationError(
            f"keys were asked for, but {found} is no folder. Name it by --folder; a new cluster without "
            "--insecure gets one from `quorum init`."
        )
    return found


def _check_known(folder: Path, identity: str, done: str) -> None:
    """Raise ConfigurationError, with what is there, where the folder has no certificate of that name."""
    from quorum.runtime.key_folder import list_keys

    check_node_id(identity.removeprefix(CLIENT_PREFIX))
    known = [entry.identity for entry in list_keys(folder)]
    if identity not in known:
        meant = CLIENT_PREFIX + identity
        hint = f"Write {meant}." if meant in known else f"Name one of: {', '.join(known)[:400]}."
        raise ConfigurationError(
            f"the certificate of {shown(identity)} was to be {done}, but {folder} has none of that name. {hint}"
        )


@_subcommand("issue", "issue reporting --role data --out reporting-keys")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(("data", "admin")),
    default="data",
    help="data: use the applications; admin: operate the cluster, too.",
)
@click.option("--days", type=click.IntRange(1, 36_500), default=LEAF_DAYS, help="How long it holds.")
@click.option("--out", type=click.Path(path_type=Path), help="Hand it out: a new folder for this client alone.")
def issue(name: str, role: str, days: int, out: Path | None, folder: Path | None, as_json: bool) -> None:
    """Make a key and a certificate for a client called NAME.

    With --out its private keys leave the keys folder: the one for TLS, and the one that signs requests to
    members that may lie. Give that folder to the client's program as tls=FOLDER.
    """
    from quorum.runtime import keyring
    from quorum.runtime.key_folder import hand_out, refuse_taken

    place = _folder(folder)
    if out is not None:
        refuse_taken(out, CLIENT_PREFIX + name)
    identity = keyring.issue(place, name, kind="client", role="admin" if role == "admin" else "data", days=days)
    if out is not None:
        hand_out(place, identity, out)
    where = place if out is None else out
    if as_json:
        print_json({"identity": identity, "role": role, "folder": str(where)})
    else:
        click.echo(f"{identity}, role {role}, in {where}")


@_subcommand("list", "list")
def list_(folder: Path | None, as_json: bool) -> None:
    """Show every certificate: whose, what it allows, until when."""
    from quorum.runtime.key_folder import list_keys

    entries = list_keys(_folder(folder))
    if as_json:
        print_json({"keys": entries})
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("identity", "role", "until", "state"):
        table.add_column(column)
    now = datetime.now(UTC).timestamp()
    for entry in entries:
        state = "revoked" if entry.revoked else "expired" if entry.expires < now else "good"
        until = datetime.fromtimestamp(entry.expires, UTC).strftime("%Y-%m-%d")
        table.add_row(entry.identity, entry.role, until, state if entry.has_key else f"{state}, key elsewhere")
    Console(highlight=False).print(table)


@_subcommand("renew", "renew client.reporting --days 365")
@click.argument("identity")
@click.option("--days", type=click.IntRange(1, 36_500), default=LEAF_DAYS, help="How long it holds from now on.")
def renew(identity: str, days: int, folder: Path | None, as_json: bool) -> None:
    """Give the certificate of IDENTITY (a node, or client.NAME) new dates; its key stays."""
    from quorum.runtime import keyring

    place = _folder(folder)
    _check_known(place, identity, "renewed")
    keyring.renew(place, identity, days=days)
    if as_json:
        print_json({"identity": identity, "days": days})
    else:
        click.echo(
            f"{identity} holds for {days} days. Copy its .crt to where it is used; a node reads it at its start."
        )


@_subcommand("revoke", "revoke client.reporting")
@click.argument("identity")
def revoke(identity: str, folder: Path | None, as_json: bool) -> None:
    """Put the certificate of IDENTITY on the list of revoked ones, ca.crl."""
    from quorum.runtime import keyring

    place = _folder(folder)
    _check_known(place, identity, "revoked")
    keyring.revoke(place, identity)
    if as_json:
        print_json({"identity": identity, "revoked": True, "list": str(place / "ca.crl")})
    else:
        click.echo(f"{identity} is on {place / 'ca.crl'}. {RESTART}")
