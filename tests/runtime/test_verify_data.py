"""The offline check of a data folder says what a start would do, finds what is damaged, and changes nothing."""

from __future__ import annotations

import logging
import os
import shutil
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from data_folder import CLUSTER, NODE, THREE, make_folder, open_log, stock_host
from quorum.errors import ConfigurationError, StorageCorrupt
from quorum.protocols.events import SnapshotMark
from quorum.runtime.files import RealFiles
from quorum.runtime.folder import DataFolder
from quorum.runtime.snapshots import SnapshotStore
from quorum.runtime.verify_data import BEGIN, CLEAN, CUT, NO_VOTE, REFUSE, verify_data


def tree(path: Path) -> dict[str, tuple[str, int]]:
    """Contents and time of change of every file and folder."""
    return {
        str(found.relative_to(path)): (
            sha256(found.read_bytes()).hexdigest() if found.is_file() else "",
            found.stat().st_mtime_ns,
        )
        for found in sorted(path.rglob("*"))
    }


def segments(path: Path) -> list[Path]:
    return sorted((path / "wal").glob("*.wal"))


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(path: Path, offset: int) -> None:
    data = path.read_bytes()
    overwrite(path, offset, bytes((data[offset] ^ 0x40,)))


def content_end(path: Path) -> int:
    return len(path.read_bytes().rstrip(b"\0"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "data", clean=False)


def start(path: Path) -> str:
    """What a real start does."""
    folder = DataFolder.open(path, CLUSTER, NODE)
    try:
        newest = SnapshotStore(RealFiles(), folder.snapshots_path, CLUSTER).newest()
        before = b"".join(segment.read_bytes() for segment in segments(path))
        durable = open_log(folder, newest).recover()
        after = b"".join(segment.read_bytes() for segment in segments(path))
    except StorageCorrupt:
        return REFUSE
    finally:
        folder.close()
    return NO_VOTE if durable.tail_damaged else CLEAN if before == after else CUT


def test_a_sound_folder_is_described(data: Path) -> None:
    report = verify_data(data)
    assert report.sound and report.start == CLEAN and not report.damage
    assert (report.cluster, report.node, report.term, report.vote) == (CLUSTER, NODE, 2, "n2")
    assert (report.entries, report.first_index, report.last_index, report.last_term) == (60, 1, 60, 2)
    assert len(report.segments) > 2 and sum(segment.entries for segment in report.segments) == 60
    assert [snapshot.index for snapshot in report.snapshots] == [20, 40]
    assert (report.epoch, report.voters) == (1, ("n1", "n2", "n3"))


def test_not_a_byte_and_no_time_changes(data: Path) -> None:
    overwrite(segments(data)[-1], content_end(segments(data)[-1]), b"\1\2\3")
    flip(data / "snapshots" / sorted(os.listdir(data / "snapshots"))[-1], 300)
    before = tree(data)
    assert not verify_data(data).sound
    assert tree(data) == before


def test_it_reads_where_nothing_may_be_written(data: Path) -> None:
    for path in (*data.rglob("*"), data):
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        assert verify_data(data).sound
    finally:
        for path in (data, *data.rglob("*")):
            path.chmod(0o700)


def test_an_unfinished_write_is_no_damage(data: Path) -> None:
    last = segments(data)[-1]
    overwrite(last, content_end(last), b"\1\2\3\4")
    report = verify_data(data)
    assert report.sound and report.start == CUT and "4 bytes" in report.start_text
    assert report.entries == 60


def test_a_damaged_last_record_costs_the_vote_and_is_named(data: Path) -> None:
    last = segments(data)[-1]
    flip(last, content_end(last) - 20)
    report = verify_data(data)
    assert not report.sound and report.start == NO_VOTE
    assert report.damage[0].file == str(last) and report.damage[0].offset is not None


def test_damage_in_the_middle_is_named_by_file_and_offset(data: Path) -> None:
    flip(segments(data)[1], 700)
    report = verify_data(data)
    assert not report.sound and report.start == REFUSE
    named = [damage for damage in report.damage if damage.file == str(segments(data)[1])]
    assert named
    assert 0 < (named[0].offset or 0) <= 700


def test_every_damaged_segment_is_named(data: Path) -> None:
    for path in segments(data)[:2]:
        flip(path, 700)
    assert {damage.file for damage in verify_data(data).damage} >= {str(path) for path in segments(data)[:2]}


def test_a_missing_segment_is_named(data: Path) -> None:
    segments(data)[1].unlink()
    report = verify_data(data)
    assert report.start == REFUSE and "is missing" in report.damage[0].text


def test_a_log_that_is_gone_is_a_loss_once_the_node_has_run(data: Path) -> None:
    shutil.rmtree(data / "wal")
    report = verify_data(data)
    assert report.start == REFUSE and "promises" in report.start_text


def test_a_snapshot_with_objects_is_sound_also_where_their_classes_are_not_at_hand(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path / "data", CLUSTER, NODE)
    store = SnapshotStore(RealFiles(), folder.snapshots_path, CLUSTER)
    store.write(SnapshotMark(2, 1, 2, THREE), stock_host().snapshot(), lambda mark, error: None)
    folder.close()
    report = verify_data(tmp_path / "data")
    assert report.sound and [snapshot.index for snapshot in report.snapshots] == [2]


def test_a_folder_in_which_no_node_has_run_is_sound(tmp_path: Path) -> None:
    DataFolder.open(tmp_path / "data", CLUSTER, NODE).close()
    report = verify_data(tmp_path / "data")
    assert report.sound and report.start == BEGIN


def test_an_older_snapshot_serves_where_the_newest_is_damaged(data: Path) -> None:
    newest = sorted((data / "snapshots").glob("*.snap"))[-1]
    flip(newest, 300)
    report = verify_data(data)
    assert not report.sound and report.start == CLEAN
    assert [damage.file for damage in report.damage] == [str(newest)]


def test_a_log_that_does_not_reach_back_to_a_snapshot_is_refused(data: Path) -> None:
    segments(data)[0].unlink()
    for snapshot in (data / "snapshots").iterdir():
        snapshot.unlink()
    report = verify_data(data)
    assert report.start == REFUSE and "entries in between are lost" in report.start_text


def test_an_identity_that_is_gone_or_damaged_is_named(data: Path) -> None:
    (data / "identity.json").write_text("{")
    assert verify_data(data).damage[0].file == str(data / "identity.json")
    (data / "identity.json").unlink()
    report = verify_data(data)
    assert not report.sound and report.start == REFUSE and "missing" in report.start_text


def test_a_node_that_runs_is_left_alone_and_none_starts_meanwhile(data: Path) -> None:
    folder = DataFolder.open(data, CLUSTER, NODE)
    with pytest.raises(ConfigurationError, match="is using it"):
        verify_data(data)
    folder.close()

    def begin(done: int, total: int) -> None:
        with pytest.raises(ConfigurationError, match="is using it"):
            DataFolder.open(data, CLUSTER, NODE)

    verify_data(data, begin)
    DataFolder.open(data, CLUSTER, NODE).close()


def test_what_is_no_data_folder_is_refused_with_a_hint(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"Name .*/data"):
        verify_data(tmp_path)
    with pytest.raises(ConfigurationError, match="no data folder"):
        verify_data(tmp_path / "absent")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted by /proc")
def test_no_file_stays_open(data: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    verify_data(data)
    assert len(os.listdir("/proc/self/fd")) == before


def test_progress_ends_at_the_whole(data: Path) -> None:
    seen: list[tuple[int, int]] = []
    verify_data(data, lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 0


@pytest.mark.parametrize("seed", range(60))
def test_it_says_what_a_start_does(seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One fault at random, in any file; then the same start for real."""
    caplog.set_level(logging.CRITICAL)
    data = make_folder(tmp_path / "data", last=35, snapshots_at=(15,), clean=bool(seed % 2))
    random = Random(seed)
    path = random.choice(segments(data)[-2:])
    size, end = path.stat().st_size, content_end(path)
    match random.randrange(4):
        case 0:
            flip(path, random.randrange(end))
        case 1:
            overwrite(path, random.randrange(end), bytes(random.randrange(1, 600)))
        case 2:
            os.truncate(path, random.randrange(size))
        case 3:
            overwrite(path, end, random.randbytes(random.randrange(1, 100)))
    before = tree(data)
    report = verify_data(data)
    assert tree(data) == before
    started = start(data)
    assert report.start == started
    assert report.sound == (started in (CLEAN, CUT)) or report.damage
