"""Raising the version of an object, once every node's program knows the newer one."""

from __future__ import annotations

import asyncio

import msgspec

from quorum.apps.objects import Description
from quorum.errors import ApplicationError, LocalProtocolError, QuorumError
from quorum.runtime.client import Client
from quorum.runtime.object_client import describe, found, raise_version
from quorum.runtime.place import Place

ASK_TIMEOUT_S = 5.0
WITNESS_ANSWER = "Witness"
Answers = dict[str, list[Description] | str | None]


class Raised(msgspec.Struct, frozen=True):
    """An object that was at version `before` is now at `version`. `behind` are the nodes whose programs do not
    know the newest version that another's knows."""

    object: str
    before: int
    version: int
    behind: tuple[str, ...] = ()


async def raise_where_known(place: Place, client: Client, name: str, version: int | None = None) -> Raised:
    """Raise an object to `version` (None: the newest that the programs of all nodes know); nothing happens where
    it is there already.

    Raises LocalProtocolError, naming the node, where one does not know the version, knows another class by it, or
    cannot be asked: it would stop. Raises ApplicationError for an `upgrade` that fails, and what Client says.
    """
    present = found(await describe(client), name)
    answers = await ask_members(place)
    known: dict[str, Description] = {}
    for node, answer in answers.items():
        if isinstance(answer, str):
            raise LocalProtocolError(
                f"object {name!r} was to be raised, but {node} could not be asked what its program knows: "
                f"{answer}. Start it, or evict it first."
            )
        if answer is not None:
            known[node] = found(answer, name)
    newest = max(each.newest for each in known.values())
    behind = tuple(node for node, each in known.items() if each.newest < newest)
    target = min(each.newest for each in known.values()) if version is None else version
    if target <= present.version:
        return Raised(name, present.version, present.version, behind)
    fingerprint = next(iter(known.values())).fingerprint_of(target)
    for node, each in known.items():
        if each.fingerprint_of(target) != fingerprint or not fingerprint:
            raise LocalProtocolError(
                f"object {name!r} was to be raised to version {target}, but the program of {node} knows "
                f"{each.cls} from version {each.oldest} to {each.newest}"
                f"{', with another version ' + str(target) if each.newest >= target else ''}. Start it with the "
                "program of the others first."
            )
    return Raised(name, present.version, await raise_version(client, name, target, fingerprint), behind)


async def ask_members(place: Place) -> Answers:
    """What each member hosts; a text says why it could not be asked, None that it is a witness."""
    answers = await asyncio.gather(*(_ask(place, node) for node in place.endpoints))
    return dict(zip(place.endpoints, answers, strict=True))


async def _ask(place: Place, name: str) -> list[Description] | str | None:
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S), place.node(name) as node:
            return await node.describe_objects()
    except ApplicationError as error:
        return None if error.kind == WITNESS_ANSWER else str(error)
    except TimeoutError:
        return "it does not answer"
    except (OSError, QuorumError, msgspec.DecodeError) as error:
        return str(error) or type(error).__name__
