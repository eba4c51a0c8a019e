"""Log compaction and snapshots: Raft, section 7."""

from __future__ import annotations

import pytest

from protocols.raft.members import FIVE, THREE, Cluster, Member, append, command, effects_in, messages_in
from quorum.errors import RemoteProtocolError
from quorum.model import Configuration
from quorum.protocols.effects import Checkpoint, Commit, Compacted, FetchSnapshot, Persist, Reset
from quorum.protocols.events import CheckpointReady, Installed, SnapshotMark
from quorum.protocols.raft.messages import AppendReply, SnapshotOffer
from quorum.protocols.raft.progress import REPLICATE, SNAPSHOT
from quorum.protocols.raft.settings import Settings

OFTEN = Settings(snapshot_entries=5, log_kept_entries=1)


def _compacted(cut: str = "n3") -> Cluster:
    """n1 leads and took two snapshots, at 5 and 10; one node missed everything before the first."""
    cluster = Cluster(THREE, OFTEN)
    leader = cluster.elect("n1")
    cluster.cut = {cut}
    for n in range(12):
        leader.propose(b"%d" % n)
        cluster.settle()
        if leader.checkpoint is not None:
            leader.take_checkpoint()
    cluster.cut = set()
    return cluster


def test_a_snapshot_is_asked_for_once_enough_is_committed() -> None:
    """Section 7: each server takes snapshots independently, when the log reaches a fixed size."""
    cluster = Cluster(THREE, OFTEN)
    leader = cluster.elect("n1")
    for n in range(4):
        leader.propose(b"%d" % n)
        cluster.settle()
    (checkpoint,) = effects_in(leader.did, Checkpoint)
    assert (checkpoint.mark.index, checkpoint.mark.term, checkpoint.mark.configuration) == (5, 2, THREE)


def test_a_snapshot_is_asked_for_once_enough_bytes_are_committed() -> None:
    cluster = Cluster(THREE, Settings(snapshot_bytes=4000))
    leader = cluster.elect("n1")
    leader.propose(bytes(5000))
    cluster.settle()
    assert len(effects_in(leader.did, Checkpoint)) == 1


def test_a_second_snapshot_waits_for_the_first() -> None:
    cluster = Cluster(THREE, OFTEN)
    leader = cluster.elect("n1")
    for n in range(20):
        leader.propose(b"%d" % n)
        cluster.settle()
    assert len(effects_in(leader.did, Checkpoint)) == 1
    leader.take_checkpoint()
    leader.propose(b"more")
    cluster.settle()
    assert len(effects_in(leader.did, Checkpoint)) == 2


def test_the_log_behind_a_snapshot_is_dropped_but_for_what_slow_followers_want() -> None:
    """Section 7: the snapshot stores last included index and term, for the consistency check of what follows."""
    leader = _compacted()["n1"]
    assert leader.snapshot is not None and leader.snapshot.index == 10
    compacted = effects_in(leader.did, Compacted)[-1]
    assert compacted.first_kept == leader.state.log.base_index + 1 == 6
    assert leader.state.log.term(5) == 2
    assert leader.state.log.term(4) is None


def test_a_follower_that_differs_at_the_base_itself_is_offered_a_snapshot() -> None:
    """The hint (5, 1) is all the follower knows; asking it again after entry 5 would go on for ever."""
    leader = _compacted()["n1"]
    base = leader.state.log.base_index
    leader.state.progress["n3"].probe(base + 1)
    did = leader.receive("n3", AppendReply(leader.state.term, 0, False, base, base, 1))
    (offer,) = messages_in(did, SnapshotOffer, "n3")
    assert offer.mark == leader.state.snapshot
    assert leader.state.progress["n3"].state == SNAPSHOT


def test_the_snapshot_holds_the_newest_configuration_of_what_it_covers() -> None:
    """Section 7: the snapshot also includes the latest configuration in the log as of last included index."""
    leader = _compacted()["n1"]
    assert leader.snapshot is not None and leader.snapshot.configuration == THREE
    leader.store()
    leader.crash()
    leader.start()
    assert leader.replica.configuration == THREE
    assert (leader.state.log.base_index, leader.state.commit_index) == (10, 10)


def test_a_follower_that_needs_compacted_entries_is_offered_the_snapshot_until_it_has_it() -> None:
    """Section 7: the leader sends a snapshot when it has discarded the next entry a follower needs. Ours only
    offers it; the follower fetches it at its own pace."""
    cluster = _compacted()
    leader, behind = cluster["n1"], cluster["n3"]
    cluster.beat("n1")
    cluster.settle()
    assert leader.state.progress["n3"].state == SNAPSHOT
    assert effects_in(behind.did, FetchSnapshot) == [FetchSnapshot("n1", leader.snapshot)]
    cluster.beat("n1")
    cluster.settle()
    assert len(effects_in(behind.did, FetchSnapshot)) == 2
    behind.install()
    cluster.settle()
    assert leader.state.progress["n3"].state == REPLICATE
    assert behind.state.log.last_index == leader.state.log.last_index
    assert behind.bodies() == [b"8", b"9", b"10", b"11"]


def test_an_installed_snapshot_replaces_the_whole_log() -> None:
    """Section 7, InstallSnapshot rules 6 to 8: without a matching entry, discard the log, take the snapshot's
    configuration and state."""
    member = Member("n2", terms=(1, 1, 1), term=2)
    member.receive("n1", append(2, (1, 1)))
    mark = SnapshotMark(9, 2, 77, FIVE, b"digest", 100)
    produced = member.step(Installed(member.now_us, mark))
    assert [effect.record for effect in effects_in(produced, Persist)] == [Reset(mark)]
    assert messages_in(produced, AppendReply) == [AppendReply(2, 0, True, 9)]
    assert (member.state.log.base_index, member.state.log.last_index, member.state.commit_index) == (9, 9, 9)
    assert member.replica.configuration == FIVE
    assert member.state.last_time_us == 77


def test_entries_after_the_snapshot_are_retained() -> None:
    """Section 7, InstallSnapshot rule 6: if an existing entry has the same index and term as the snapshot's last
    included entry, retain the log entries following it."""
    member = Member("n2", terms=(1, 1, 2, 2, 2))
    member.receive("n1", append(2, (1, 1)))
    mark = SnapshotMark(3, 2, 0, THREE, b"digest", 100)
    produced = member.step(Installed(member.now_us, mark))
    assert effects_in(produced, Persist) == []
    assert effects_in(produced, Commit) == [Commit(1, 3)]
    assert member.terms() == [1, 1, 2, 2, 2]


def test_a_snapshot_that_the_log_holds_already_is_not_fetched() -> None:
    """Section 7: then it is known to be committed, and that is all."""
    member = Member("n2", terms=(1, 1, 2, 2, 2))
    produced = member.receive("n1", SnapshotOffer(2, 3, SnapshotMark(4, 2, 0, THREE)))
    assert effects_in(produced, FetchSnapshot) == []
    assert effects_in(produced, Commit) == [Commit(1, 4)]
    assert messages_in(produced, AppendReply) == [AppendReply(2, 3, True, 4)]


def test_a_snapshot_behind_the_commit_index_is_ignored() -> None:
    """The log caught up while it was fetched."""
    member = Member("n2", terms=(1, 1, 2, 2, 2))
    member.receive("n1", append(2, (5, 2), commit_index=5))
    before = member.terms()
    mark = SnapshotMark(4, 2, 0, THREE, b"digest", 100)
    assert member.step(Installed(member.now_us, mark)) == ()
    assert (member.terms(), member.state.commit_index) == (before, 5)


def test_a_fetched_snapshot_is_what_this_node_would_offer() -> None:
    """It is the newest in place, and older files go."""
    member = Member("n2", terms=(1, 1, 2, 2, 2))
    mark = SnapshotMark(4, 2, 0, THREE, b"digest", 100)
    member.step(Installed(member.now_us, mark))
    assert member.state.snapshot == mark
    member.step(CheckpointReady(member.now_us, SnapshotMark(3, 2, 0, THREE, b"older", 90)))
    assert member.state.snapshot == mark


def test_the_configuration_of_a_snapshot_survives_a_truncation() -> None:
    """A configuration above it that is truncated gives way to the snapshot's."""
    member = Member("n2", terms=(1,), term=2)
    member.receive("n1", append(2, (1, 1)))
    member.step(Installed(member.now_us, SnapshotMark(9, 2, 0, FIVE)))
    member.receive("n1", append(2, (9, 2)), command(10, 2))
    member.receive("n3", append(3, (9, 2)), command(10, 3))
    assert member.replica.configuration == FIVE


def test_stale_entries_behind_a_snapshot_are_not_taken_up_again() -> None:
    """A crash between the snapshot and the reset of the log leaves entries that are not ours any more."""
    member = Member("n2", terms=(1, 1, 1, 1), term=3)
    member.snapshot = SnapshotMark(3, 2, 0, THREE)
    member.crash()
    member.start()
    assert (member.state.log.base_index, member.state.log.last_index, member.state.log.last_term) == (3, 3, 2)


def test_an_offer_of_a_configuration_that_cannot_be_is_evidence() -> None:
    broken = Configuration(epoch=1, voters=("n1",), reads="n1 * stranger")
    with pytest.raises(RemoteProtocolError, match="configuration"):
        Member("n2").receive("n1", SnapshotOffer(2, 0, SnapshotMark(9, 2, 0, broken)))
