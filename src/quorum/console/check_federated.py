"""`quorum check --fbas`: federated quorums, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import click

from quorum.console.command import AnswerNo, plain, print_json
from quorum.console.documents import read_bounded
from quorum.model import NodeId
from quorum.systems.federated.analysis import Figures, Scope, analyse
from quorum.systems.federated.reading import Grouping, Network, groups_of, read_network, read_organizations

FILE_BYTES_MAX = 64 * 2**20
NAMES_SHOWN = 20
LINE_CHARACTERS_MAX = 8_000
COLUMNS = 100
KEY_SHOWN = 8
"""Characters of a long key, which are enough to find it."""
PLURALS = {
    None: ("node", "nodes"),
    "organization": ("organization", "organizations"),
    "country": ("country", "countries"),
}


def check_federated(
    nodes: Path, organizations: Path | None, group_by: Grouping | None, scope: Scope, as_json: bool
) -> None:
    """Print the figures of the federation in these files. Raises AnswerNo where two quorums share no node, and
    ConfigurationError for files that are malformed."""
    network = read_network(_read(nodes, "a node file"))
    owners = None
    if organizations is not None:
        owners = read_organizations(_read(organizations, "an organisation file"))
    figures = analyse(network.federation, scope, groups_of(network, group_by, owners))
    if as_json:
        print_json(facts_of(figures))
    else:
        for line in lines_of(figures, network, owners or {}, group_by):
            click.echo(_wrapped(plain(line, LINE_CHARACTERS_MAX)))
    if not figures.intersection:
        raise AnswerNo


def facts_of(figures: Figures) -> dict[str, Any]:
    """For programs. A size is null where no set has the property."""
    witness: dict[str, Any] | None = None
    if figures.witness is not None:
        first, second = map(sorted, figures.witness)
        witness = {"first": first, "second": second}
        witness |= {"first_committee": None, "second_committee": None, "faulty": []}
    return {
        "intersection": figures.intersection,
        "witness": witness,
        "top_tier": list(figures.top_tier),
        "minimal_blocking_size": figures.minimal_blocking_size,
        "minimal_splitting_size": figures.minimal_splitting_size,
        "minimal_quorum_size": figures.minimal_quorum_size,
        "scope": figures.scope,
    }


def lines_of(
    figures: Figures, network: Network, owners: Mapping[NodeId, str], group_by: Grouping | None
) -> list[str]:
    """For people: each figure with a set that has it."""

    def told(names: Iterable[str]) -> str:
        return _listed(_called(name, network, owners) for name in names)

    def sized(names: tuple[str, ...]) -> str:
        one, many = PLURALS[group_by]
        return f"{len(names)} {one if len(names) == 1 else many}: {told(names)}"

    everyone = len(network.federation.names)
    if figures.scope == "core":
        lines = [
            f"{everyone} nodes; scope core: the {figures.nodes} of them that are in a component with a quorum"
        ]
    else:
        lines = [f"{everyone} nodes; scope all"]
    if figures.quorum is None:
        return [
            *lines,
            "no quorum: no set of nodes satisfies the quorum set of each of them, so nothing is decided",
        ]
    if figures.witness is None:
        lines.append("intersection      yes: every two quorums share a node")
    else:
        first, second = figures.witness
        lines.append("intersection      no: these two quorums share no node, so they can decide differently")
        lines += [f"  first           {told(sorted(first))}", f"  second          {told(sorted(second))}"]
    lines.append(f"top tier          {sized(figures.top_tier)}")
    lines.append(f"smallest quorum   {sized(figures.counted(figures.quorum))}")
    lines.append(f"can stop it       {sized(figures.counted(figures.blocking))}")
    if figures.splitting is None:
        lines.append("can split it      no set of nodes")
    elif figures.splitting:
        lines.append(f"can split it      {sized(figures.counted(figures.splitting))}")
    else:
        lines.append("can split it      nobody is needed: it is split")
    return lines


def _read(path: Path, what: str) -> bytes:
    return read_bounded(path, FILE_BYTES_MAX, what)


def _wrapped(line: str) -> str:
    """Broken into lines behind commas alone."""
    joined = line.replace(" ", "\xa0").replace(",\xa0", ", ")
    indent = "\xa0" * 18
    whole = fill(joined, COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return whole.replace("\xa0", " ")


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = [f"and {len(shown) - NAMES_SHOWN} more"] if len(shown) > NAMES_SHOWN else []
    return ", ".join(shown[:NAMES_SHOWN] + more)


def _called(name: str, network: Network, owners: Mapping[NodeId, str]) -> str:
    """A node by its name for people where it has one, else by who runs it, and the beginning of a long key."""
    if name not in network.federation.quorum_sets:
        return name
    key = name if len(name) <= 2 * KEY_SHOWN else name[:KEY_SHOWN] + ".."
    title = network.titles.get(name) or owners.get(name)
    return f"{title} ({key})" if title else key
