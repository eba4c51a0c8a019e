"""Negative controls for committees that adapt: what a policy must not do, each caught at a pinned seed."""

from __future__ import annotations

from msgspec.structs import replace

from quorum.model import Configuration
from quorum.protocols.raft import change
from quorum.runtime.steward import RaftSteward
from quorum.sim.campaign import Plan

from .planted import ACCUSED, COMPLETENESS, ELECTION_SAFETY, STATE_MACHINE, Bug

_turn = RaftSteward.turn


def _new_committee_alone(present: Configuration, target: Configuration) -> Configuration:
    """A committee of five becomes one of three in a single step: two of the old five know nothing of it."""
    return replace(target, addresses=change._addresses(present, target))


def _act_on_own_view(steward: RaftSteward, now_us: int) -> None:
    """A leader counts by whom it sees, without asking the log (participation with local committees)."""
    target = _turn(steward, now_us)
    if target is not None:
        steward._replica.state.use_configuration(target)
        steward.done(None)


def _plan(seed: int) -> Plan:
    faults = ("split", "isolate", "crash", "bridge")
    return Plan(seed, 5, 40, 6, faults=faults, faults_at_once=2, policy="adaptive", hold_ms=300)


_CLAIMS = (COMPLETENESS, ELECTION_SAFETY, STATE_MACHINE, ACCUSED)

ADAPTIVE: tuple[Bug, ...] = (
    Bug(
        "a committee changes in one step, not joint",
        _plan(10),
        _CLAIMS,
        ((change, "_joint", _new_committee_alone),),
    ),
    Bug(
        "a leader acts on its own view of the committee",
        _plan(0),
        _CLAIMS,
        ((RaftSteward, "turn", _act_on_own_view),),
    ),
)
