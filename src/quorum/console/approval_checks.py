"""What is looked at before members are given an operator's word: names, T, and whether newcomers could act."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection

from quorum.certificate.committee import Committee
from quorum.console.inquiry import Answers, Silence, ask_all
from quorum.console.present import Present
from quorum.errors import ConfigurationError
from quorum.model import NodeId, quorum_size
from quorum.runtime.place import Place
from quorum.runtime.status import NodeStatus
from quorum.systems.byzantine import byzantine
from quorum.systems.expression import parse

IN_STEP_BLOCKS = 100
"""A newcomer that lacks fewer blocks than this is in step: they are on their way."""
LINKS_S = 15.0
"""How long links may take to be made: members were just restarted so that they reach the newcomer."""
LOOK_S = 0.5


def check_named(nodes: tuple[NodeId, ...], at: tuple[NodeId, ...], known: Collection[NodeId]) -> None:
    """Raise ConfigurationError for a member named twice, and for one to be asked that nobody knows."""
    twice = [node for node, times in Counter(nodes).items() if times > 1]
    if twice:
        raise ConfigurationError(
            f"a committee was to be approved of that names {twice[0][:80]} twice, but each member votes once. "
            "Name it once."
        )
    strange = [node for node in nodes if node not in known]
    if strange:
        raise ConfigurationError(
            f"{strange[0][:80]} was to be in the next committee, but cluster.toml has no such node. Admit it "
            f"first: quorum admit {strange[0][:80]}."
        )
    unknown = [node for node in at if node not in known]
    if unknown:
        raise ConfigurationError(
            f"{unknown[0][:80]} was to be told by --at, but cluster.toml has no such node. Name one of "
            f"{', '.join(sorted(known)[:20])}."
        )


def acts_already(present: Present, wanted: Committee, first_quorums: str) -> bool:
    """Whether the same members act now, with the same keys and T; the first committee may have quorums by text."""
    same = (
        Committee(wanted.cluster, present.epoch, wanted.members, wanted.faults, quorums)
        for quorums in {wanted.quorums, first_quorums}
    )
    return any(committee.membership_hash.hex() == present.name for committee in same)


def check_faults(present: Present, wanted: Committee, asked: int | None) -> None:
    """Raise ConfigurationError where T would fall and nobody said so."""
    if asked is None and wanted.faults < present.faults:
        raise ConfigurationError(
            f"{', '.join(wanted.nodes)} were to be the next committee, but of {len(wanted.nodes)} members only "
            f"{wanted.faults} may lie, of those that act now {present.faults}. Name {3 * present.faults + 1} "
            f"members or more, or accept fewer liars by --faults {wanted.faults}."
        )


async def check_newcomers(place: Place, present: Present, wanted: Committee, timeout_s: float) -> None:
    """Raise ConfigurationError where statuses tell that a member without a vote now could not act at once."""
    newcomers = [node for node in wanted.nodes if node not in present.nodes]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(timeout_s, LINKS_S)
    while newcomers:
        answers = await ask_all(place)
        lacking = [(node, what) for node in newcomers if (what := lack_of(place, answers, present, node))]
        unlinked = [(node, what) for node in newcomers if (what := cut_off(answers, present, node))]
        if not lacking and not unlinked:
            return
        if lacking or loop.time() >= deadline:
            node, what = (lacking or unlinked)[0]
            raise ConfigurationError(
                f"{node} was to be in the next committee, but {what}. {_remedy(answers, lacking, node)}; "
                "or approve all the same by --force."
            )
        await asyncio.sleep(LOOK_S)


def _remedy(answers: Answers, lacking: Collection[object], node: NodeId) -> str:
    if not lacking:
        return "Restart the members, one after another, with the cluster.toml that names it"
    if isinstance(answers.get(node), NodeStatus):
        return "Wait until it has caught up"
    return "Start it, and restart the members with the cluster.toml that names it"


def lack_of(place: Place, answers: Answers, present: Present, node: NodeId) -> str:
    """What a newcomer lacks beside links; "" for nothing that statuses tell."""
    acting = present.those_of(answers)
    match answers.get(node):
        case Silence(is_discreet=False, reason=reason):
            return f"it does not answer at {place.endpoints[node]} ({reason})"
        case NodeStatus(applied_index=applied):
            decided = sorted((each.commit_index for each in acting), reverse=True)
            behind = decided[present.faults] - applied if len(decided) > present.faults else 0
            if behind >= IN_STEP_BLOCKS:
                return f"it lacks {behind} blocks that were decided"
    return ""


def cut_off(answers: Answers, present: Present, node: NodeId) -> str:
    """Which members have no link to a newcomer; "" for no more than may lie."""
    without = sorted(each.node for each in present.those_of(answers) if node not in each.connected)
    return f"{', '.join(without)} have no link to it" if len(without) > present.faults else ""


def approving(answers: Answers, present: Present, wanted: Committee) -> tuple[NodeId, ...]:
    """The members that are known to approve of this."""
    name = wanted.membership_hash.hex()
    heard = {node for each in present.those_of(answers) for node in each.approvals.get(name, ())}
    return tuple(sorted(heard & set(present.nodes)))


def are_quorum(present: Present, members: Collection[NodeId]) -> bool:
    """Whether the approvals of these members are enough."""
    return parse(present.writes).contains(frozenset(members))


def needed(present: Present) -> int | None:
    """How many approvals are enough, where it is a number that counts."""
    if str(byzantine(present.nodes, present.faults).writes) != present.writes:
        return None
    return quorum_size(len(present.nodes), present.faults, "byzantine")
