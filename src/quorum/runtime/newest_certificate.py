"""The newest certificate of a cluster whose members may lie, from nodes that are believed nothing."""

from __future__ import annotations

import asyncio

import msgspec

from quorum.certificate.audit import Audit, judge_block, read_document
from quorum.certificate.block import BlockCertificate
from quorum.certificate.chain_forms import ChainedCertificate
from quorum.certificate.committee import Committee
from quorum.errors import ConfigurationError, NotLeader, QuorumError
from quorum.model import NodeId
from quorum.runtime.place import Place

ANSWER_S = 5.0
"""How long one node is waited for."""
STRAGGLERS_S = 0.5
"""So long the others may end a connection that they were opening, once enough have answered."""


class Newest(msgspec.Struct, frozen=True):
    """A block's certificate, alone or with the changes of epoch before it: `document` is its JSON, which holds by
    the committee that the client trusts, and `audit` what it says."""

    document: bytes
    audit: Audit

    @property
    def sequence(self) -> int:
        """The block that was signed, and with it every one before."""
        return self.audit.sequence or 0


async def newest_certificate(place: Place) -> Newest:
    """Of the certificates that hold, that of the newest block.

    N-T members are heard whose certificates hold, if as many answer within ANSWER_S: liars, who may give an old
    one, are not alone then. Raises ConfigurationError where members sign nothing, and QuorumError where no node
    gives one that holds.
    """
    committee = place.committee()
    if committee is None:
        raise ConfigurationError(
            "the certificate of a block was asked for, but members that only crash sign nothing. Ask for the "
            "record of a decision: `quorum decide TOPIC --certificate FILE`."
        )
    asked = [asyncio.create_task(_named(place, node, committee)) for node in tuple(place.endpoints)]
    enough = len(committee.members) - committee.faults
    best: Newest | None = None
    problem = QuorumError("a certificate was asked for, but no node is known. Check the addresses.")
    try:
        for answer in asyncio.as_completed(asked):
            node, found = await answer
            if isinstance(found, QuorumError):
                problem = found
                continue
            enough -= node in committee.nodes  # who has no vote may lie, however many they are
            if best is None or found.sequence > best.sequence:
                best = found
            if enough == 0:
                break
        if asked:
            await asyncio.wait(asked, timeout=STRAGGLERS_S)
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    if best is None:
        raise problem
    return best


async def _named(place: Place, node: NodeId, committee: Committee) -> tuple[NodeId, Newest | QuorumError]:
    return node, await _of(place, node, committee)


async def _of(place: Place, node: NodeId, committee: Committee) -> Newest | QuorumError:
    """What one node gives, or why it is nothing."""
    try:
        async with asyncio.timeout(ANSWER_S), place.node(node) as connection:
            document = await connection.certificate("")
    except NotLeader:
        return QuorumError(
            f"a certificate was asked for, but {node} has decided nothing since it started. Send any request, "
            "then ask again."
        )
    except QuorumError as error:
        return error
    except (OSError, TimeoutError) as error:
        return QuorumError(
            f"{node} was asked for a certificate, but does not answer ({str(error) or 'in time'}). Look whether "
            "it runs."
        )
    try:
        audit = _judged(document, committee)
    except ConfigurationError as error:
        return QuorumError(str(error))
    if audit.valid:
        return Newest(document, audit)
    return QuorumError(
        f"a certificate was asked for, but that of {node} does not hold: {' '.join(audit.reasons)} Ask again."
    )


def _judged(document: bytes, committee: Committee) -> Audit:
    read = read_document(document)
    if isinstance(read, BlockCertificate):
        return judge_block(read, committee)
    if isinstance(read, ChainedCertificate):
        return judge_block(read.certificate, committee, read.changes)
    raise ConfigurationError(
        "a block's certificate was asked for, but a node gave a document of another kind. Ask another node."
    )
