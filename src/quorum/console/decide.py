"""`quorum decide`: one decision for each topic, and the certificate of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import msgspec

from quorum.apps.decide import Decision
from quorum.certificate import DecisionCertificate, decode_json, encode_json, verify
from quorum.console.command import AnswerNo, command, print_json, with_cluster
from quorum.console.documents import write_whole
from quorum.console.inquiry import ask_all, leader_of, no_quorum, refuse_discretion, run_client
from quorum.errors import ConfigurationError, QuorumError
from quorum.runtime.client import Client
from quorum.runtime.config import find_config
from quorum.runtime.connect import at_config
from quorum.runtime.newest_certificate import Newest, newest_certificate
from quorum.runtime.place import Place
from quorum.systems.build import build

CERTIFICATE_PAUSE_S = 0.1


@command("decide", "quorum decide colour green --certificate colour.json")
@click.argument("topic")
@click.argument("value", required=False)
@click.option("--certificate", type=click.Path(path_type=Path), help="Write the decision's certificate here.")
@with_cluster
def decide(
    topic: str,
    value: str | None,
    certificate: Path | None,
    config: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Decide a topic once and for all, or read its decision.

    VALUE ("-": standard input) is proposed; the first value that is committed stays. Exit 1 when that is another
    value than VALUE, or, without VALUE, when nothing is decided. Where members may lie, the certificate is that of
    a block: a quorum signed it, and with it the decision's block; which value that block holds it does not show.
    """
    proposed = None if value is None else _proposed(value)
    place = at_config(find_config(config))

    async def act(client: Client) -> Decision | None:
        if certificate is not None:
            refuse_discretion(await ask_all(place))  # before anything is decided
        return await (client.decision(topic) if proposed is None else client.decide(topic, proposed))

    decision = run_client(config, timeout, act)
    if decision is None:
        if as_json:
            print_json({"topic": topic, "decided": False, "value": None})
        else:
            click.echo(f"{topic!r} is not decided", err=True)
        raise AnswerNo
    block = None
    if certificate is not None and place.may_lie:
        newest = asyncio.run(covering(place, decision, timeout))
        block = newest.sequence
        _write(certificate, newest.document)
    elif certificate is not None:
        _write(certificate, encode_json(asyncio.run(certified(place, decision, timeout))))
    _show(decision, proposed, certificate, block, as_json)
    if proposed is not None and decision.value != proposed:
        raise AnswerNo


async def certified(place: Place, decision: Decision, timeout: float = 10.0) -> DecisionCertificate:
    """The leader's certificate for a decision, checked against the quorum system in force.

    A leader that was just elected does not know at once who stores what, so it is asked again until a quorum of
    voters is known. Raises NoQuorum, or QuorumError with what is wrong, when `timeout` seconds have passed.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        answers = await ask_all(place)
        leader = leader_of(answers, place)
        problem: QuorumError = no_quorum(answers, place)
        if leader is not None:
            try:
                async with asyncio.timeout(timeout), place.node(leader.node) as connection:
                    found = decode_json(await connection.certificate(decision.topic))
                # It names the epoch in which this was decided, and of those who vote now the ones that store it.
                configuration = msgspec.structs.replace(leader.configuration(), epoch=found.epoch)
                verdict = verify(found, build(configuration), configuration=configuration, value=decision.value)
                if verdict.valid:
                    return found
                problem = QuorumError(
                    f"a certificate for {decision.topic!r} was asked for, but the one of {leader.node} does not "
                    f"hold: {' '.join(verdict.reasons)} The decision stands; retry without a value."
                )
            except (OSError, QuorumError) as error:
                problem = QuorumError(
                    f"a certificate for {decision.topic!r} was asked for, but {leader.node} gave none ({error}). "
                    "The decision stands; retry without a value."
                )
        if asyncio.get_running_loop().time() >= deadline:
            raise problem
        await asyncio.sleep(CERTIFICATE_PAUSE_S)


async def covering(place: Place, decision: Decision, timeout: float = 10.0) -> Newest:
    """The certificate of a block at or behind that of a decision, where members may lie: it covers all before its
    own. Raises QuorumError with what is wrong, when `timeout` seconds have passed."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        try:
            newest = await newest_certificate(place)
            if newest.sequence >= decision.index:
                return newest
            reason = f"the newest that a node gave is of block {newest.sequence}, before block {decision.index}"
        except ConfigurationError:
            raise
        except QuorumError as error:
            reason = str(error)
        if asyncio.get_running_loop().time() >= deadline:
            raise QuorumError(
                f"a certificate for {decision.topic!r} was asked for, but none covers it as yet: {reason}. The "
                "decision stands; retry without a value."
            )
        await asyncio.sleep(CERTIFICATE_PAUSE_S)


def _proposed(value: str) -> bytes:
    if value == "-":
        return sys.stdin.buffer.read()
    return value.encode("utf-8", "surrogateescape")


def _write(path: Path, document: bytes) -> None:
    remedy = "The decision stands; name another file and run this without a value."
    write_whole(path, document + b"\n", "the certificate", remedy)


def _show(
    decision: Decision, proposed: bytes | None, certificate: Path | None, block: int | None, as_json: bool
) -> None:
    """`block`: the one that the certificate is of, where members may lie."""
    if as_json:
        try:
            value, encoding = decision.value.decode(), "text"
        except UnicodeDecodeError:
            value, encoding = decision.value.hex(), "hex"
        print_json(
            {
                "topic": decision.topic,
                "decided": True,
                "value": value,
                "encoding": encoding,
                "first": decision.first,
                "index": decision.index,
                "epoch": decision.epoch,
                "term": decision.term,
                "certificate": None if certificate is None else str(certificate),
                "certified_block": block,
            }
        )
        return
    click.echo(decision.value)
    if proposed is not None:
        how = "decided now" if decision.first else "decided earlier"
        click.echo(f"{how}, at index {decision.index} of term {decision.term}, epoch {decision.epoch}", err=True)
    if block is not None:
        proves = f"{certificate} proves block {block}, and block {decision.index} of the decision with it"
        click.echo(f"{proves}, by signatures of a quorum; not which value that block holds", err=True)
