"""Going on from one survivor: what is in its folder stays, whatever stops the command, and it can be run again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from data_folder import CLUSTER, THREE, make_folder, open_log, stock_host
from quorum.apps.catalogue import new_host
from quorum.apps.kv_store import REVISION_GAP
from quorum.console.cli import main
from quorum.entry import Buffer
from quorum.errors import ConfigurationError
from quorum.membership.recovery import EPOCH_GAP
from quorum.model import Recovery
from quorum.protocols.effects import HardState
from quorum.protocols.events import SnapshotMark
from quorum.runtime.config import load_cluster, load_node
from quorum.runtime.files import RealFiles
from quorum.runtime.folder import DataFolder
from quorum.runtime.node import Node
from quorum.runtime.recovery import finish_recovery, recover_cluster
from quorum.runtime.restore import INDEX_GAP
from quorum.runtime.snapshots import SnapshotStore
from quorum.runtime.verify_data import CLEAN, CUT, FolderReport, verify_data

RECOVERY = Recovery(1, "0123456789abcdef", "n1", 60, 2, ("n2", "n3"), "somebody", 1)
CLUSTER_TOML = f"""\
cluster_id = "{CLUSTER}"
reads = "majority(n1, n2, n3)"
faults = 1

[timing]
heartbeat = "50ms"

""" + "\n".join(f'[[members]]\nid = "n{number}"\nlisten = "127.0.0.1:{20_000 + number}"\n' for number in (1, 2, 3))
NODE_TOML = 'cluster = "../cluster.toml"\nnode = "n1"\ndata = "data"\nkeys = "../keys"\ninsecure = true\n'


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """The cluster.toml of three members; only n1 has anything left: 60 entries, 40 of them in a snapshot."""
    return set_up(tmp_path / "c")


def set_up(folder: Path, clean: bool = False) -> Path:
    (folder / "n1").mkdir(parents=True)
    (folder / "cluster.toml").write_text(CLUSTER_TOML)
    (folder / "n1" / "node.toml").write_text(NODE_TOML)
    make_folder(folder / "n1" / "data", clean=clean)
    return folder / "cluster.toml"


def data_of(cluster: Path) -> Path:
    return cluster.parent / "n1" / "data"


def state_of(data: Path) -> bytes:
    """The digest of the state in the newest snapshot: sessions, applications, revisions, place."""
    store = SnapshotStore(RealFiles(), f"{data}/snapshots", CLUSTER)
    mark = store.newest()
    assert mark is not None
    host = new_host()
    host.restore(store.load(mark.index))
    return host.digest()


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_node_that_fails_to_start_leaves_the_next_one_in_its_process_alone(cluster, tmp_path):
    """Compiled, an error was raised once more by the next node that ended in good order."""
    recover_cluster(cluster, data_of(cluster), RECOVERY)
    shutil.rmtree(data_of(cluster))
    make_folder(data_of(cluster), clean=True)
    with pytest.raises(ConfigurationError, match="recovered without this log"):
        asyncio.run(Node(load_node(cluster.parent / "n1" / "node.toml")).run())
    healthy = set_up(tmp_path / "healthy", clean=True)
    asyncio.run(Node(load_node(healthy.parent / "n1" / "node.toml")).run(Node.stop))


def test_the_folder_goes_on_far_above_all_that_was_given_out_with_all_of_the_state(cluster):
    before = verify_data(data_of(cluster))
    done: list[str] = []
    recover_cluster(cluster, data_of(cluster), RECOVERY, done.append)
    report = verify_data(data_of(cluster))
    assert done == ["copied", "entered", "logged", "filed"]
    assert report.sound and report.start == CLEAN
    assert report.configuration.members == ("n1",) and report.configuration.recovered == RECOVERY
    assert report.epoch == before.epoch + EPOCH_GAP and report.term > before.term
    assert (report.first_index, report.last_index) == (60 + INDEX_GAP + 1, 60 + INDEX_GAP + 1)


def test_entries_behind_the_snapshot_are_part_of_the_state_although_nobody_knows_them_as_decided(cluster):
    recover_cluster(cluster, data_of(cluster), RECOVERY)
    store = SnapshotStore(RealFiles(), f"{data_of(cluster)}/snapshots", CLUSTER)
    host = new_host()
    host.restore(store.load(60 + INDEX_GAP))
    kv = host.application(1)
    assert kv.revision == 59 + REVISION_GAP, "one put an entry, from the second on, then the gap"


def test_what_was_in_the_folder_is_kept_beside_as_it_was(cluster):
    before = verify_data(data_of(cluster))
    copy = recover_cluster(cluster, data_of(cluster), RECOVERY)
    assert copy.name == f"data.before-{RECOVERY.incarnation}"
    kept = verify_data(copy)
    assert kept == replace(before, folder=str(copy)) and kept.last_index == 60


def test_cluster_toml_names_the_incarnation_and_the_survivor_alone_and_keeps_the_rest(cluster):
    before = load_cluster(cluster)
    recover_cluster(cluster, data_of(cluster), RECOVERY)
    after = load_cluster(cluster)
    assert after.incarnation == RECOVERY.incarnation
    assert [member.id for member in after.members] == ["n1"]
    assert after.timing == before.timing and (after.reads, after.faults) == ("", None)


def test_a_policy_that_the_survivor_alone_cannot_have_is_not_left_in_the_file(cluster):
    cluster.write_text('policy = "participation"  # who votes\n' + cluster.read_text())
    recover_cluster(cluster, data_of(cluster), RECOVERY)
    assert load_cluster(cluster).policy == "adaptive"


def test_a_damaged_end_of_the_log_takes_no_vote_from_the_survivor_any_more(cluster):
    wal = data_of(cluster) / "wal"
    (wal / "tail-damaged").touch()
    assert verify_data(data_of(cluster)).start == "no vote"
    recover_cluster(cluster, data_of(cluster), RECOVERY)
    assert verify_data(data_of(cluster)).start == CLEAN


def test_a_folder_that_has_grown_since_it_was_looked_at_is_not_touched(cluster):
    before = everything(cluster.parent)
    with pytest.raises(ConfigurationError, match="its node has run since"):
        recover_cluster(cluster, data_of(cluster), replace(RECOVERY, index=59))
    after = everything(cluster.parent)
    assert {name for name in after if name != "n1/data/lock"} == {
        name for name in before if name != "n1/data/lock"
    }
    assert all(after[name] == content for name, content in before.items() if not name.endswith("lock"))


def test_another_recovery_follows_the_first_one(cluster):
    recover_cluster(cluster, data_of(cluster), RECOVERY)
    last = verify_data(data_of(cluster))
    second = replace(
        RECOVERY, number=2, identity="f" * 16, index=last.last_index, term=last.last_term, given_up=()
    )
    recover_cluster(cluster, data_of(cluster), second)
    report = verify_data(data_of(cluster))
    assert report.sound and report.configuration.recovered == second
    assert report.last_index == last.last_index + INDEX_GAP + 1
    assert load_cluster(cluster).incarnation == second.incarnation
    assert cluster.read_text().count("incarnation =") == 1


def test_a_learner_that_goes_on_is_a_voter_in_the_file_too(cluster):
    text = cluster.read_text().replace('id = "n1"', 'id = "n1"\nrole = "learner"').replace("(n1, ", "(")
    cluster.write_text(text.replace("faults = 1\n", ""))
    recover_cluster(cluster, data_of(cluster), RECOVERY)
    assert load_cluster(cluster).member("n1").role == "voter"


def test_a_file_that_cannot_be_changed_safely_stays_as_it_is_and_what_to_write_is_told(cluster):
    two = ", ".join(f'{{id = "n{number}", listen = "127.0.0.1:2000{number}"}}' for number in (1, 2))
    inline = f'cluster_id = "cluster"\nmembers = [{two}]\n'
    cluster.write_text(inline)
    with pytest.raises(
        ConfigurationError, match=f'incarnation = "{RECOVERY.incarnation}" below cluster_id by hand'
    ):
        recover_cluster(cluster, data_of(cluster), RECOVERY)
    assert cluster.read_text() == inline
    assert verify_data(data_of(cluster)).configuration.recovered == RECOVERY, "the data is recovered all the same"


def test_the_most_advanced_folder_goes_on_also_where_it_was_brought_from_elsewhere(cluster, tmp_path):
    """n1 has 60 entries here, a copy of n2's folder 80."""
    brought = tmp_path / "from-machine-2"
    make_folder(brought, last=80, node="n2")
    command = ["recover", "--config", str(cluster), "--data", str(brought)]
    shown = CliRunner().invoke(main, [*command, "--dry-run"])
    assert shown.exit_code == 1 and "n1, n2 are enough" in shown.stderr, "two of three are a quorum"
    (data_of(cluster) / "wal" / "tail-damaged").touch()
    done = CliRunner().invoke(main, [*command, "--yes"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert verify_data(brought).configuration.members == ("n2",)
    assert verify_data(data_of(cluster)).last_index == 60, "the other one is left alone"
    assert [member.id for member in load_cluster(cluster).members] == ["n2"]


def test_two_folders_of_one_node_are_told_apart_by_whoever_gave_them(cluster, tmp_path):
    make_folder(tmp_path / "copy", last=55)
    command = ["recover", "--config", str(cluster), "--data", str(tmp_path / "copy"), "--dry-run"]
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 2 and "both are of n1" in told.stderr


def test_a_node_whose_log_is_from_before_the_recovery_does_not_start_under_the_new_file(cluster):
    finish_recovery(cluster, None, RECOVERY)
    before = verify_data(data_of(cluster))
    with pytest.raises(ConfigurationError, match="recovered without this log"):
        asyncio.run(Node(load_node(cluster.parent / "n1" / "node.toml")).run())
    assert same(verify_data(data_of(cluster)), before)


def test_nobody_begins_anew_what_was_recovered(cluster):
    finish_recovery(cluster, None, RECOVERY)
    shutil.rmtree(data_of(cluster))
    with pytest.raises(ConfigurationError, match="Let it join"):
        asyncio.run(Node(load_node(cluster.parent / "n1" / "node.toml"), bootstrap=True).run())


def with_objects(cluster: Path) -> Recovery:
    """The survivor's state has an object, whose class is Stock; what would be recovered."""
    shutil.rmtree(data_of(cluster))
    folder = DataFolder.open(data_of(cluster), CLUSTER, "n1")
    store = SnapshotStore(RealFiles(), folder.snapshots_path, CLUSTER)
    store.write(SnapshotMark(2, 1, 2, THREE), stock_host().snapshot(), lambda mark, error: None)
    log = open_log(folder, store.newest())
    log.recover()
    log.write_hard_state(HardState(1, None))
    log.sync(lambda error: None)
    log.close()
    folder.mark_used()
    folder.close()
    return replace(RECOVERY, index=2, term=1)


def test_objects_need_their_classes_and_without_them_nothing_is_changed(cluster):
    recovery = with_objects(cluster)
    before = everything(cluster.parent)
    with pytest.raises(ConfigurationError, match=r"hosts no such object.*under \[objects\] in cluster.toml"):
        recover_cluster(cluster, data_of(cluster), recovery)
    after = everything(cluster.parent)
    assert {name: after[name] for name in before} == before and verify_data(data_of(cluster)).last_index == 2
    cluster.write_text(
        cluster.read_text().replace("[timing]", '[objects]\nstock = "data_folder:Stock"\n\n[timing]')
    )
    recover_cluster(cluster, data_of(cluster), recovery)
    assert verify_data(data_of(cluster)).configuration.recovered == recovery


class Through:
    """The real files, call by call: where they are compiled, nothing inherits from them."""

    def __init__(self) -> None:
        self._real = RealFiles()

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def make_folder(self, path: str) -> None:
        self._real.make_folder(path)

    def open(self, path: str, create: bool = False) -> int:
        return self._real.open(path, create)

    def pwritev(self, handle: int, parts: Sequence[Buffer], offset: int) -> None:
        self._real.pwritev(handle, parts, offset)

    def allocate(self, handle: int, size: int) -> None:
        self._real.allocate(handle, size)

    def fdatasync(self, handle: int) -> None:
        self._real.fdatasync(handle)

    def fsync(self, handle: int) -> None:
        self._real.fsync(handle)

    def fsync_dir(self, path: str) -> None:
        self._real.fsync_dir(path)

    def rename(self, old: str, new: str) -> None:
        self._real.rename(old, new)

    def unlink(self, path: str) -> None:
        self._real.unlink(path)


class Unsynced(Through):
    """Knows the names, and the files, that a power cut would lose now."""

    def __init__(self) -> None:
        super().__init__()
        self.names_lost: set[str] = set()
        self.files_lost: set[str] = set()
        self._paths: dict[int, str] = {}

    def make_folder(self, path: str) -> None:
        if not os.path.isdir(path):
            self.names_lost.add(path)
        super().make_folder(path)

    def open(self, path: str, create: bool = False) -> int:
        handle = super().open(path, create)
        if create:
            self.names_lost.add(path)
        self._paths[handle] = path
        return handle

    def pwritev(self, handle: int, parts: Sequence[Buffer], offset: int) -> None:
        self.files_lost.add(self._paths[handle])
        super().pwritev(handle, parts, offset)

    def fsync(self, handle: int) -> None:
        super().fsync(handle)
        self.files_lost.discard(self._paths[handle])

    def fdatasync(self, handle: int) -> None:
        super().fdatasync(handle)
        self.files_lost.discard(self._paths[handle])

    def fsync_dir(self, path: str) -> None:
        super().fsync_dir(path)
        self.names_lost = {name for name in self.names_lost if os.path.dirname(name) != path}

    def rename(self, old: str, new: str) -> None:
        assert not {name for name in self.names_lost if name.startswith(f"{old}/")}, "the name before its content"
        assert not {name for name in self.files_lost if name.startswith(old)}, "the name before its content"
        super().rename(old, new)
        self.names_lost.discard(old)
        self.names_lost.add(new)

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self.names_lost.discard(path)
        self.files_lost.discard(path)


def test_each_step_is_durable_before_the_next_begins(cluster):
    """A power cut forgets what was not synced: the copy is whole before anything else is touched."""
    files = Unsynced()

    def done(step: str) -> None:
        assert not files.names_lost and not files.files_lost, f"{step}, but {files.names_lost | files.files_lost}"

    recover_cluster(cluster, data_of(cluster), RECOVERY, done, files)


# Stopped in the middle.


class Killed(Through):
    """Its process ends by SIGKILL at the `at`-th call that changes anything."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def _count(self) -> None:
        self.at -= 1
        if self.at < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def make_folder(self, path: str) -> None:
        self._count()
        super().make_folder(path)

    def open(self, path: str, create: bool = False) -> int:
        if create:
            self._count()
        return super().open(path, create)

    def pwritev(self, handle: int, parts: Sequence[Buffer], offset: int) -> None:
        self._count()
        super().pwritev(handle, parts, offset)

    def allocate(self, handle: int, size: int) -> None:
        self._count()
        super().allocate(handle, size)

    def fdatasync(self, handle: int) -> None:
        self._count()
        super().fdatasync(handle)

    def fsync(self, handle: int) -> None:
        self._count()
        super().fsync(handle)

    def fsync_dir(self, path: str) -> None:
        self._count()
        super().fsync_dir(path)

    def rename(self, old: str, new: str) -> None:
        self._count()
        super().rename(old, new)

    def unlink(self, path: str) -> None:
        self._count()
        super().unlink(path)


def recovered_until(cluster: Path, at: int = 1_000_000, step: str = "") -> bool:
    """Recover in a process that is killed at some call, or behind a step; whether it came to its end before."""

    def done(what: str) -> None:
        if what == step:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            recover_cluster(cluster, data_of(cluster), RECOVERY, done, Killed(at))
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status)


def run_again(cluster: Path) -> None:
    """The command as an operator runs it: nothing answers."""
    again = CliRunner().invoke(main, ["recover", "--yes", "--config", str(cluster)], catch_exceptions=False)
    assert again.exit_code == 0, again.output


@pytest.mark.parametrize("step", ["copied", "entered", "logged"])
def test_killed_behind_any_step_it_is_run_again_and_comes_to_its_end(step, cluster):
    assert not recovered_until(cluster, step=step)
    assert load_cluster(cluster).incarnation == ""
    run_again(cluster)
    report = verify_data(data_of(cluster))
    assert report.sound and report.start == CLEAN and report.configuration.members == ("n1",)
    assert load_cluster(cluster).incarnation == report.configuration.incarnation
    assert (report.configuration.recovered == RECOVERY) == (step != "copied")


def test_killed_behind_the_last_step_nothing_is_left_to_do(cluster):
    assert not recovered_until(cluster, step="filed")
    before = everything(cluster.parent)
    again = CliRunner().invoke(main, ["recover", "--yes", "--config", str(cluster)])
    assert again.exit_code == 1 and "n1 is enough to decide" in again.stderr
    assert everything(cluster.parent) == before


@pytest.mark.slow
def test_killed_at_any_call_it_leaves_the_old_data_or_the_new_and_is_run_again(tmp_path):
    whole = set_up(tmp_path / "whole")
    original = verify_data(data_of(whole))
    recover_cluster(whole, data_of(whole), RECOVERY)
    wanted = state_of(data_of(whole))
    seen: set[bool] = set()
    at = 0
    while True:
        cluster = set_up(tmp_path / "c")
        if recovered_until(cluster, at):
            break
        report = verify_data(data_of(cluster))
        assert report.sound and report.start in (CLEAN, CUT), f"killed at call {at}: {report.start_text}"
        has_entered = report.configuration.incarnation == RECOVERY.incarnation
        seen.add(has_entered)
        if not has_entered:
            assert same(report, original), f"killed at call {at}: the old data is not what it was"
        run_again(cluster)
        after = verify_data(data_of(cluster))
        assert after.sound and after.start == CLEAN and after.entries == 1
        assert state_of(data_of(cluster)) == wanted, f"killed at call {at}"
        assert load_cluster(cluster).incarnation == after.configuration.incarnation
        copies = list(data_of(cluster).parent.glob("data.before-*"))
        assert not [copy for copy in copies if copy.suffix == ".new"], f"killed at call {at}: half a copy is left"
        assert any(same(verify_data(copy), original) for copy in copies), f"killed at call {at}: no whole copy"
        shutil.rmtree(tmp_path / "c")
        at += 1
    assert seen == {False, True} and at > 20


def same(report: FolderReport, other: FolderReport) -> bool:
    """Whether two folders hold the same log and the same snapshots."""
    kept = (report.last_index, report.last_term, report.term, report.configuration)
    return kept == (other.last_index, other.last_term, other.term, other.configuration) and report.sound


def test_what_is_left_to_do_is_found_also_where_the_file_alone_is_old(cluster):
    """Another machine: the survivor is elsewhere, and its cluster.toml was not copied here."""
    finish_recovery(cluster, None, RECOVERY)
    text = cluster.read_text()
    assert load_cluster(cluster).incarnation == RECOVERY.incarnation
    finish_recovery(cluster, None, RECOVERY)
    assert cluster.read_text() == text, "twice is once"


def test_whoever_has_no_name_on_this_machine_recovers_too_and_is_recorded_by_number(cluster, monkeypatch):
    """As in a container that runs as a number."""

    def getuser() -> str:
        raise KeyError(f"getpwuid(): uid not found: {os.getuid()}")

    monkeypatch.setattr("quorum.console.recover.getpass.getuser", getuser)
    result = CliRunner().invoke(main, ["recover", "--config", str(cluster), "--yes", "--json"])
    assert result.exit_code == 0, result.output
    assert msgspec.json.decode(result.stdout)["recovered"]["by"].startswith(f"user {os.getuid()}@")
