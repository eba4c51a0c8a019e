"""What tests of changing committees share: nodes beyond the first committee, keys by name, and operators."""

from __future__ import annotations

from quorum.certificate.approval import approval_statement
from quorum.certificate.committee import Committee, Member
from quorum.certificate.epochs import verify_epochs
from quorum.protocols import events
from quorum.protocols.pbft.messages import Approve

from .cluster import SETTINGS, Cluster, Node, key_of, request_of
from .scene import check_blame, running

CALM_US = 40 * SETTINGS.view_timeout_us
QUIET_US = 10 * SETTINGS.view_timeout_us
"""For so long nothing may change any more, once all is decided."""


class EpochCluster(Cluster):
    """`spares` run, too: they trust the first committee, and are in none until one names them."""

    def __init__(self, count: int = 4, faults: int = 1, seed: int = 0, spares: tuple[str, ...] = ()) -> None:
        super().__init__(count, faults, seed)
        for name in spares:
            self.nodes[name] = Node(self, name)
        self.tokens = 0

    def submit(self, *requests: bytes, to: tuple[str, ...] = ()) -> None:
        super().submit(*requests, to=to or tuple(self.nodes))

    @property
    def newest(self) -> Committee:
        """The newest committee that an honest node stands in."""
        return max((node.state.committee for node in running(self)), key=lambda committee: committee.epoch)


def committee_after(
    old: Committee, names: tuple[str, ...], faults: int = 1, keys: dict[str, str] | None = None, **other: object
) -> Committee:
    """The next epoch with these members; `keys` says who signs with another key than its own name's."""
    members = tuple(Member(name, bytes(key_of((keys or {}).get(name, name)).verify_key)) for name in sorted(names))
    made = Committee(old.cluster, old.epoch + 1, members, faults)
    for field, value in other.items():
        made = Committee(*[value if each == field else getattr(made, each) for each in made.__struct_fields__])
    return made


def approve(cluster: EpochCluster, committee: Committee, *by: str) -> None:
    """The operators of these members (none named: of all that have a vote now and run) want this committee."""
    for name in by or tuple(node.name for node in running(cluster) if node.state.is_member):
        node = cluster[name]
        if node.replica is not None:
            cluster.tokens += 1
            node.step(events.ChangeApproved(node.now_us, cluster.tokens, committee))


def change(
    cluster: EpochCluster, names: tuple[str, ...], faults: int = 1, keys: dict[str, str] | None = None
) -> None:
    """Every operator wants these members next, and gets them."""
    committee = committee_after(cluster.newest, names, faults, keys)
    approve(cluster, committee)
    cluster.run(3_000_000)
    check_epoch(cluster, committee)


def approval_of(old: Committee, following: Committee, *members: str) -> Approve:
    """Approvals by the members' own keys."""
    statement = approval_statement(old, following)
    signed = tuple((name, key_of(name).sign(statement).signature) for name in sorted(members))
    return Approve(0, following, signed)


def check_epoch(cluster: EpochCluster, committee: Committee) -> None:
    """Everybody honest that runs stands in this epoch, with a chain of changes that convinces an auditor."""
    for node in running(cluster):
        epochs = node.state.epochs
        assert epochs.newest == committee, f"{node.name} is in epoch {epochs.newest.epoch}"
        assert verify_epochs(cluster.committee, epochs.changes)[1].valid
        assert (
            node.state.may_sign == (node.name in committee.nodes and node.state.is_member)
            or node.state.memory_lost
        )


def _is_settled(cluster: EpochCluster, wanted: list[bytes]) -> bool:
    """Whether all honest nodes are at one place, with all of these decided."""
    places = {(node.state.commit_sequence, node.state.committee.epoch) for node in running(cluster)}
    return len(places) == 1 and set(wanted) <= set(cluster.requests_decided())


def check_goes_on(cluster: EpochCluster, wanted: list[bytes] = [], within_us: int = CALM_US) -> None:  # noqa: B006
    """After faults stop, all that was asked for is decided by the newest committee, and known to every honest node
    that runs or follows; nobody honest is blamed."""
    last, end_us = request_of("end", cluster.now_us + 1), cluster.now_us + within_us
    cluster.submit(*wanted, last)
    while cluster.now_us < end_us and not _is_settled(cluster, [*wanted, last]):
        cluster.run(SETTINGS.view_timeout_us)
    cluster.run(min(QUIET_US, end_us - cluster.now_us))
    reached = {node.name: (node.state.commit_sequence, node.state.committee.epoch) for node in cluster.honest()}
    assert len(set(reached.values())) == 1, f"nodes are at {reached}"
    decided = cluster.requests_decided()
    missing = [each for each in [*wanted, last] if each not in decided]
    assert not missing, f"{len(missing)} requests were not decided, at {reached}"
    for node in cluster.honest():
        assert verify_epochs(cluster.committee, node.state.epochs.changes)[1].valid
    check_blame(cluster)
