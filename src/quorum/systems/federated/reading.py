"""Node and organisation files as monitors of the Stellar network publish them.

A node file is a JSON list of `{"publicKey", "quorumSet": {"threshold", "validators", "innerQuorumSets"}}`, an
organisation file a list of `{"id", "name", "validators"}`; other keys are left alone. What is not there:

- no `quorumSet`, or null, or one without any members: it is not known, and no quorum has that node. Monitors mark
  such nodes with an empty set and the threshold 9007199254740991.
- a validator that the file does not describe is missing: it never votes, and its place in the list remains.

Everything else that is out of order is refused: a wrong guess would make every figure wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

import msgspec

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems.federated.federation import DEPTH_MAX, Federation, QuorumSet

Grouping = Literal["organization", "country"]


class _WrittenSet(msgspec.Struct, rename="camel"):
    threshold: int
    validators: list[str] = []
    inner_quorum_sets: list[_WrittenSet] = []


class _Place(msgspec.Struct, rename="camel"):
    country_name: str | None = None


class _WrittenNode(msgspec.Struct, rename="camel"):
    public_key: str
    quorum_set: _WrittenSet | None = None
    organization_id: str | None = None
    geo_data: _Place | None = None
    country: str | None = None
    name: str | None = None


class _WrittenOrganization(msgspec.Struct, rename="camel"):
    name: str
    validators: list[str]
    id: str | None = None


class Network(msgspec.Struct, frozen=True):
    """What a node file says: the federation, and for each node its name for people, its country and its
    organisation, where it says so."""

    federation: Federation
    titles: Mapping[NodeId, str]
    countries: Mapping[NodeId, str]
    organizations: Mapping[NodeId, str]


_Written = TypeVar("_Written")


def read_network(data: bytes) -> Network:
    """Read a node file. Raises ConfigurationError for one that is malformed, or names no node."""
    written = _decoded(data, list[_WrittenNode], "a node file", 'a list of {"publicKey", "quorumSet"}')
    if not written:
        raise ConfigurationError(
            "a node file was given that names no node, but without nodes there is nothing to check. Give one "
            'with at least one {"publicKey", "quorumSet"}.'
        )
    quorum_sets: dict[NodeId, QuorumSet | None] = {}
    for node in written:
        key = node.public_key
        if key in quorum_sets or not key:
            what = f"describes {_short(key)} twice" if key else "has a node with an empty public key"
            raise ConfigurationError(
                f"a node file was given that {what}, but each node is one by its key. Correct the file."
            )
        quorum_sets[key] = _quorum_set(node.quorum_set, key)
    return Network(
        Federation(quorum_sets),
        {node.public_key: node.name for node in written if node.name},
        {node.public_key: country for node in written if (country := _country(node))},
        {node.public_key: node.organization_id for node in written if node.organization_id},
    )


def read_organizations(data: bytes) -> dict[NodeId, str]:
    """Read an organisation file: for each validator the name of its organisation; two of one name are told apart
    by their ids. Raises ConfigurationError for a file that is malformed, or gives a node to two organisations."""
    written = _decoded(
        data, list[_WrittenOrganization], "an organisation file", 'a list of {"id", "name", "validators"}'
    )
    names = [each.name for each in written]
    titles = [f"{each.name} ({each.id})" if names.count(each.name) > 1 else each.name for each in written]
    if len(set(titles)) < len(titles) or "" in names:
        twice = next(title for title in titles if titles.count(title) > 1 or title == "")
        raise ConfigurationError(
            f"an organisation file was given with the name {_short(twice)!r} for two, or with none, but figures "
            "are told by name. Give each its own name, or its own id."
        )
    found: dict[NodeId, str] = {}
    for title, organization in zip(titles, written, strict=True):
        for validator in organization.validators:
            if validator in found:
                raise ConfigurationError(
                    f"an organisation file was given that lists {_short(validator)} under "
                    f"{_short(found[validator])} and {_short(title)}, but a node is run by one. List it once."
                )
            found[validator] = title
    return found


def groups_of(
    network: Network, grouping: Grouping | None, organizations: Mapping[NodeId, str] | None = None
) -> dict[NodeId, str] | None:
    """For each node of a network who stands or falls with it: its organisation or country, else the node itself.
    None where nothing is grouped.

    `organizations` is from an organisation file; without it the ids in the node file count. Raises
    ConfigurationError where no node belongs anywhere, so that the figures would not be those asked for.
    """
    if grouping is None:
        return None
    if grouping == "country":
        known, where = network.countries, "no node of the file has a country (`geoData.countryName`)"
        remedy = "Give a node file with countries"
    else:
        known = network.organizations if organizations is None else organizations
        where, remedy = "no node of the file belongs to one", "Give the organisation file that goes with the nodes"
    found = {name: known[name] for name in network.federation.names if name in known}
    if not found:
        raise ConfigurationError(
            f"figures by {grouping} were asked for, but {where}. {remedy}, or ask for figures by node."
        )
    _check_titles(found, network.federation.names)
    return {name: found.get(name, name) for name in network.federation.names}


def _check_titles(found: Mapping[NodeId, str], names: Iterable[NodeId]) -> None:
    alone = {name for name in names if name not in found}
    for title in found.values():
        if title in alone:
            raise ConfigurationError(
                f"a group was given with the name {_short(title)}, but a node that is in none has it as its key. "
                "Rename the group."
            )


def _country(node: _WrittenNode) -> str | None:
    return (node.geo_data and node.geo_data.country_name) or node.country


def _quorum_set(written: _WrittenSet | None, of: NodeId) -> QuorumSet | None:
    """A quorum set, or None where none is known. Its depth is checked here, before anything recurses."""
    if written is None:
        return None
    if not written.validators and not written.inner_quorum_sets and written.threshold > 0:
        return None
    return _converted(written, of, 1)


def _converted(written: _WrittenSet, of: NodeId, depth: int) -> QuorumSet:
    if depth > DEPTH_MAX:
        raise ConfigurationError(
            f"the quorum set of {_short(of)} was given with more than {DEPTH_MAX} sets inside each other, but "
            "nobody writes those. Say it with fewer levels."
        )
    inner = tuple(_converted(each, of, depth + 1) for each in written.inner_quorum_sets)
    return QuorumSet(written.threshold, tuple(written.validators), inner)


def _decoded(data: bytes, kind: type[_Written], what: str, form: str) -> _Written:
    """JSON as this type. The decoder refuses NaN, and text after the end."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ConfigurationError(
            f"{what} was to be read, but it is none: {_short(reason, 200)}. Give a JSON file that is {form}."
        ) from None


def _short(text: Any, chars_max: int = 80) -> str:
    shown = str(text)
    return shown if len(shown) <= chars_max else shown[:chars_max] + "..."
