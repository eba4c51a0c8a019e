"""What is observed of nodes, and what a policy is told: values alone, as they were seen by whoever decides."""

from __future__ import annotations

import msgspec

from quorum.model import Configuration, NodeId


class Observation(msgspec.Struct, frozen=True):
    """One member, as it was seen last. `phi` says how sure it is that the node is gone (membership.detector),
    `lag_entries` how far its log is behind the commit index, `latency_us` how long its answers take, and `missed`
    in what share of the latest decisions its vote came too late to count. `lied`: there is transferable
    evidence. `held`: an operator keeps it out of the vote."""

    node: NodeId
    phi: float = 0.0
    lag_entries: int = 0
    latency_us: int = 0
    missed: float = 0.0
    lied: bool = False
    held: bool = False


class Limits(msgspec.Struct, frozen=True):
    """What is too much of it. A silence of `suspect_phi` begins a suspicion; it must last for `hold_us`. Whoever
    was out has to be well for `stable_us`, and for twice as long after each return that did not last, up to
    `stable_max_us`; a return that lasted `forgive_us` is forgiven."""

    suspect_phi: float = 8.0
    lag_entries_max: int = 100_000
    missed_max: float = 0.5
    hold_us: int = 10_000_000
    stable_us: int = 10_000_000
    stable_max_us: int = 600_000_000
    forgive_us: int = 600_000_000


class Situation(msgspec.Struct, frozen=True):
    """What a policy decides upon: the committee in force, who leads, and who of all members is fit to vote;
    `unfit` gives the reason for everybody else. `floor`: the fewest voters allowed; `nodes` and `faults`: the N
    and T that were agreed; `fit_witnesses`: which witnesses are fit to vote."""

    configuration: Configuration
    leader: NodeId
    fit: tuple[NodeId, ...]
    unfit: tuple[tuple[NodeId, str], ...]
    nodes: int
    faults: int
    floor: int = 3
    fit_witnesses: tuple[NodeId, ...] = ()
