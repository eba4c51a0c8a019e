"""`quorum certificate`: what a quorum signed last where members may lie, for `quorum verify` and `follow`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from quorum.console.command import command, plain, print_json, with_cluster
from quorum.console.documents import write_whole
from quorum.console.signers import signers_text
from quorum.errors import NoQuorum
from quorum.runtime.config import find_config
from quorum.runtime.connect import at_config
from quorum.runtime.newest_certificate import Newest, newest_certificate


@command("certificate", "quorum certificate -o cert.json")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write it here.  [default: standard output]")
@with_cluster
def certificate(output: Path | None, config: Path | None, timeout: float, as_json: bool) -> None:
    """Write the newest block's certificate, where members may lie, for `quorum verify` and `quorum follow`.

    It proves that block and every one before it: a quorum signed its header, which names its parent by digest.
    After changes of epoch it has those, too. Each node's answer is judged by the keys of the cluster's members
    before it is written. Only an admin's certificate may ask.
    """
    newest = asyncio.run(_within(find_config(config), timeout))
    if output is None:
        sys.stdout.buffer.write(newest.document + b"\n")
        sys.stdout.buffer.flush()
        return
    write_whole(output, newest.document + b"\n", "the certificate")
    audit = newest.audit
    if as_json:
        where = {"cluster": audit.cluster, "epoch": audit.epoch, "view": audit.view, "sequence": audit.sequence}
        print_json({"certificate": str(output), **where, "signers": audit.signers})
    else:
        click.echo(plain(certified_line(newest)))


def certified_line(newest: Newest) -> str:
    """What a certificate is about."""
    audit = newest.audit
    where = (
        f"block {audit.sequence}, decided in view {audit.view}, of cluster {audit.cluster}, epoch {audit.epoch}"
    )
    return f"{where}, signed by {signers_text(audit.signers)}"


async def _within(config: Path, timeout: float) -> Newest:
    try:
        async with asyncio.timeout(timeout):
            return await newest_certificate(at_config(config))
    except TimeoutError:
        raise NoQuorum(
            f"a certificate was asked for, but no node gave one within {timeout:g} s. Look at `quorum status`, "
            "and retry."
        ) from None
