"""The fault matrix of the log: what each damage of the disk must lead to. The rows are in each docstring."""

from __future__ import annotations

import errno
import logging
from contextlib import suppress
from random import Random

import pytest

from quorum.errors import ConfigurationError, StorageCorrupt, StorageError, StorageFullError
from quorum.protocols.effects import HardState
from quorum.runtime.files import RealFiles
from quorum.runtime.wal import Wal
from quorum.runtime.wal_head import SegmentHead, encode_segment_head
from quorum.runtime.wal_records import HEADER_BYTES, Encoder
from quorum.runtime.wal_records import SEGMENT as SEGMENT_KIND
from quorum.sim.disk import SECTOR_BYTES, Fault, PowerCut
from wal_world import FOLDER, Disk, content_end, entry, mark_at, whole_log

SMALL_SEGMENT_BYTES = 16 * 1024
"""For tests that start once for each byte of a segment: a longer one only has more filling to read."""


def disk_with(rounds: int, entries: int = 2, segment_bytes: int = 1 << 20) -> tuple[Disk, Wal]:
    """A log with a vote and then `rounds` rounds of `entries` entries each."""
    disk = Disk(segment_bytes=segment_bytes)
    wal, _ = disk.start()
    disk.vote(wal, 1, "n1")
    for number in range(rounds):
        disk.store(wal, number * entries + 1, (number + 1) * entries)
    return disk, wal


def ends_of_records(disk: Disk, wal: Wal) -> list[int]:
    """Where each entry of the (only) segment begins."""
    return [wal._index.place(index)[1] for index in range(1, wal._index.last + 1)]


def test_a_torn_last_record_is_cut_at_its_boundary_with_one_warning(caplog):
    """Row 2: any number of its bytes may be there."""
    disk, wal = disk_with(1, entries=3)
    path = disk.last_segment()
    whole = disk.files.contents(path)
    begin = ends_of_records(disk, wal)[-1]
    for cut in range(begin + 1, begin + HEADER_BYTES + len(entry(3))):
        caplog.clear()
        disk.files.put(path, whole[:cut] + bytes(len(whole) - cut))
        wal, durable = disk.start(create=False)
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert whole_log(wal, durable) == [entry(1), entry(2)]
        assert (durable.term, durable.vote, durable.tail_damaged) == (1, "n1", False)
    disk.store(wal, 3, 3, term=2)
    wal, durable = disk.start(create=False)
    assert whole_log(wal, durable) == [entry(1), entry(2), entry(3, 2)]


def test_a_tail_of_zeros_is_cut_like_a_torn_one():
    """Row 3: the space is there, the data is not."""
    disk, wal = disk_with(2)
    disk.files.zero_tail(disk.last_segment(), ends_of_records(disk, wal)[2])
    wal, durable = disk.start(create=False)
    assert whole_log(wal, durable) == [entry(1), entry(2)]
    assert not durable.tail_damaged


def test_a_segment_that_became_shorter_is_cut_and_leaves_a_doubt():
    """Row 2, 3: space is reserved before it is used, so a crash cannot shorten a file."""
    disk, wal = disk_with(2)
    disk.files.truncate(disk.last_segment(), ends_of_records(disk, wal)[3])
    wal, durable = disk.start(create=False)
    assert whole_log(wal, durable) == [entry(1), entry(2), entry(3)]
    assert durable.tail_damaged
    disk.store(wal, 4, 4)
    assert len(disk.files.contents(disk.last_segment())) == disk.segment_bytes


@pytest.mark.parametrize("seed", range(20))
def test_a_tail_of_garbage_is_cut_and_no_length_in_it_is_believed(seed):
    """Row 4: the garbage may look like a head that claims gigabytes."""
    disk, _ = disk_with(1)
    path = disk.last_segment()
    end = content_end(disk.files.contents(path))
    garbage = bytearray(Random(seed).randbytes(1000))
    if seed % 2:
        garbage[8:12] = b"\xd7\x51\x03\x00"
        garbage[12:16] = b"\xff\xff\xff\x7f"
    disk.files.damage(path, end, bytes(garbage))
    largest = 0

    def pread(handle: int, size: int, offset: int) -> bytes:
        nonlocal largest
        largest = max(largest, size)
        return real_pread(handle, size, offset)

    real_pread = disk.files.pread
    disk.files.pread = pread  # type: ignore[method-assign]
    wal, durable = disk.start(create=False)
    assert whole_log(wal, durable) == [entry(1), entry(2)]
    assert durable.tail_damaged
    assert largest <= 1 << 25


def test_a_bit_flip_before_a_later_round_is_never_cut():
    """Row 5: every bit of every record of an earlier round, its head included."""
    disk, wal = disk_with(2, segment_bytes=SMALL_SEGMENT_BYTES)
    path = disk.last_segment()
    whole = disk.files.contents(path)
    end = ends_of_records(disk, wal)[2]
    flips, untouched = Random(5), 0
    for offset in range(end):
        disk.files.put(path, whole)
        disk.files.flip_bit(path, offset, flips.randrange(8))
        before = disk.files.contents(path)
        with suppress(StorageCorrupt):
            wal, durable = disk.start(create=False)
            # Only the filling between records carries nothing.
            assert whole_log(wal, durable) == [entry(index) for index in range(1, 5)]
            untouched += 1
            continue
        assert disk.files.contents(path) == before
    assert untouched < end / 8


@pytest.mark.parametrize("shift", [-9, 3, 133, 139])
def test_bytes_put_in_or_lost_before_a_later_round_are_never_cut_in_silence(shift):
    """Row 5: what follows is whole, though not where it was written. Where only the last round has moved, it may
    have been acknowledged, and the node is in doubt."""
    disk, wal = disk_with(0, segment_bytes=SMALL_SEGMENT_BYTES)
    for number in range(3):
        disk.store(wal, 2 * number + 1, 2 * number + 2, body=bytes(30))
    path = disk.last_segment()
    whole = disk.files.contents(path)
    begin, end = ends_of_records(disk, wal)[0], ends_of_records(disk, wal)[4]
    for offset in range(begin, end):
        moved = whole[:offset] + whole[offset : offset + max(shift, 0)] + whole[offset + max(-shift, 0) :]
        disk.files.put(path, (moved + bytes(16))[: len(whole)])
        with suppress(StorageCorrupt):
            _, durable = disk.start(create=False)
            assert durable.tail_damaged or len(durable.entries) == 6


def test_a_bit_flip_in_the_last_acknowledged_round_leaves_the_node_in_doubt():
    """Row 6: no record behind it proves that it was durable, but no crash flips bits."""
    disk, wal = disk_with(2, entries=1)
    path = disk.last_segment()
    disk.files.flip_bit(path, ends_of_records(disk, wal)[-1] + HEADER_BYTES + 3, 2)
    wal, durable = disk.start(create=False)
    assert durable.tail_damaged
    assert whole_log(wal, durable) == [entry(1)]


def test_a_doubt_outlives_restarts_until_the_node_votes_again():
    """Row 6: a second start must not forget what the first one cut."""
    disk, wal = disk_with(2, entries=1)
    disk.files.flip_bit(disk.last_segment(), ends_of_records(disk, wal)[-1] + HEADER_BYTES + 3, 2)
    for _ in range(3):
        wal, durable = disk.start(create=False)
        assert durable.tail_damaged
    disk.store(wal, 2, 2, term=2)
    disk.vote(wal, 2, None)
    wal, durable = disk.start(create=False)
    assert durable.tail_damaged
    disk.vote(wal, 2, "n2")
    wal, durable = disk.start(create=False)
    assert not durable.tail_damaged


def test_a_bit_flip_that_a_closed_log_or_a_next_round_disproves_stops_the_node():
    """Row 6: the watermark that goes with the next round, or with a clean end, was durable."""
    for proof in ("round", "close"):
        disk, wal = disk_with(2, entries=1)
        at = ends_of_records(disk, wal)[-1] + HEADER_BYTES + 3
        if proof == "round":
            disk.vote(wal, 2, "n2")
        else:
            wal.close()
        disk.files.flip_bit(disk.last_segment(), at, 2)
        with pytest.raises(StorageCorrupt):
            disk.start(create=False)


def test_a_stale_block_is_found_by_the_chain():
    """Row 7: a sector that shows what it held before a conflict was resolved."""
    disk = Disk(segment_bytes=1 << 20)
    wal, _ = disk.start()
    disk.vote(wal, 1, "n1")
    disk.store(wal, 1, 8)
    path = disk.last_segment()
    stale = disk.files.contents(path)
    disk.store(wal, 9, 16)
    disk.store(wal, 17, 17)
    sector = content_end(stale) // SECTOR_BYTES * SECTOR_BYTES
    disk.files.damage(path, sector, stale[sector : sector + SECTOR_BYTES])
    with pytest.raises(StorageCorrupt):
        disk.start(create=False)


def test_a_misdirected_write_is_found_even_if_the_record_is_whole():
    """Row 8: the record of another index stands where this one belongs."""
    disk, wal = disk_with(6, entries=1)
    path = disk.last_segment()
    begins = ends_of_records(disk, wal)
    whole = disk.files.contents(path)
    for to in (1, 3, 5):
        disk.files.put(path, whole)
        disk.files.damage(path, begins[to], whole[begins[0] : begins[1]])
        with pytest.raises(StorageCorrupt) as caught:
            disk.start(create=False)
        assert str(begins[to]) in str(caught.value)


def many_segments() -> Disk:
    disk, _ = disk_with(80, segment_bytes=4096)
    assert len(disk.segments()) > 4
    return disk


def test_a_missing_middle_segment_is_named():
    """Row 9."""
    disk = many_segments()
    disk.files.remove(disk.segments()[2])
    with pytest.raises(StorageCorrupt, match=r"0000000000000003\.wal is missing"):
        disk.start(create=False)


def test_a_missing_last_segment_is_noticed():
    """Row 9: the seal of the one before says that it was there."""
    disk = many_segments()
    disk.files.remove(disk.last_segment())
    with pytest.raises(StorageCorrupt, match="is missing"):
        disk.start(create=False)


def test_a_missing_first_segment_is_noticed_unless_a_snapshot_covers_it():
    """Row 9, 19."""
    disk = many_segments()
    disk.files.remove(disk.segments()[0])
    with pytest.raises(StorageCorrupt, match="there is no snapshot"):
        disk.start(create=False)
    _, durable = disk.start(create=False, snapshot=mark_at(100))
    assert durable.entries[0].index == 101


def test_a_duplicate_segment_is_refused_under_any_name():
    """Row 9: a copy of another segment, or one that a person renamed."""
    disk = many_segments()
    copy = disk.files.contents(disk.segments()[0])
    name = disk.segments()[1]
    original = disk.files.contents(name)
    disk.files.put(name, copy)
    with pytest.raises(StorageCorrupt, match="segment 1"):
        disk.start(create=False)
    disk.files.put(name, original)
    disk.files.put(f"{FOLDER}/1.wal", copy)
    with pytest.raises(StorageCorrupt, match=r"1\.wal"):
        disk.start(create=False)


def test_a_sealed_segment_that_lost_its_end_is_corrupt():
    """Row 3, 9: what precedes a segment in use was durable."""
    disk = many_segments()
    path = disk.segments()[1]
    data = disk.files.contents(path)
    for lost in (48, 200):
        disk.files.put(path, data)
        disk.files.zero_tail(path, content_end(data) - lost)
        with pytest.raises(StorageCorrupt):
            disk.start(create=False)


def test_a_new_segment_proves_what_was_durable_before_it():
    """Row 3, 9: even while it is unused, because a crash came before its first round."""
    disk, wal = disk_with(10, segment_bytes=4096)
    wal.write_entries(21, [entry(21, 1, b"x" * 4000)])
    disk.files.cut_at = disk.files.calls + 6
    with pytest.raises(PowerCut):
        wal.sync(lambda error: None)
    disk.files.cut_at = None
    disk.files.kill()
    first, second = disk.segments()
    data, other = disk.files.contents(first), disk.files.contents(second)
    _, durable = disk.start(create=False)
    assert len(durable.entries) == 20 and disk.segments() == [first]
    disk.files.put(second, other)
    disk.files.put(first, data)
    disk.files.zero_tail(first, content_end(data) - 200)
    with pytest.raises(StorageCorrupt):
        disk.start(create=False)


def test_a_log_that_is_lost_as_a_whole_is_not_taken_for_a_new_one():
    """Row 10: the hard state goes with it, so the node may neither vote nor acknowledge."""
    disk = many_segments()
    for path in disk.segments():
        disk.files.remove(path)
    with pytest.raises(StorageCorrupt, match="promises are lost"):
        disk.start(create=False)


def test_a_torn_hard_state_leaves_the_old_one_or_the_new_one():
    """Row 11: whichever sectors of the update reach the disk."""
    for filling in range(0, 600, 8):
        outcomes = set()
        for keep in ([False, False], [True, False], [False, True], [True, True]):
            disk = Disk(segment_bytes=1 << 20)
            wal, _ = disk.start()
            disk.vote(wal, 1, "n1")
            disk.store(wal, 1, 1, body=bytes(filling))
            disk.files.cut_at = disk.files.calls
            wal.write_hard_state(HardState(2, "n2"))
            with pytest.raises(PowerCut):
                wal.sync(lambda error: None)
            disk.files.power_cut(keep[: disk.files.unsynced()])
            _, durable = disk.start(create=False)
            outcomes.add((durable.term, durable.vote, durable.tail_damaged))
        assert outcomes == {(1, "n1", False), (2, "n2", False)}


def test_a_damaged_hard_state_is_never_replaced_by_an_older_one_in_silence():
    """Row 12: in the last round it leaves a doubt, before that it stops the node."""
    disk, _ = disk_with(0)
    disk.files.flip_bit(disk.last_segment(), content_end(disk.files.contents(disk.last_segment())) - 7, 1)
    wal, durable = disk.start(create=False)
    assert (durable.term, durable.vote, durable.tail_damaged) == (0, None, True)
    disk, wal = disk_with(1)
    disk.files.flip_bit(disk.last_segment(), ends_of_records(disk, wal)[0] - 7, 1)
    with pytest.raises(StorageCorrupt):
        disk.start(create=False)


def test_a_hard_state_older_than_the_log_leaves_the_node_in_doubt():
    """Row 13: entries are stored after their term, so an older hard state came back from somewhere."""
    disk, wal = disk_with(1)
    disk.store(wal, 3, 3, term=9)
    _, durable = disk.start(create=False)
    assert durable.tail_damaged


def test_a_disk_that_lies_about_its_syncs_loses_votes_and_nobody_can_tell():
    """Row 14: documented as an assumption; this shows what breaks."""
    disk, wal = disk_with(1)
    disk.files.lies = True
    disk.vote(wal, 2, "n3")
    disk.files.power_cut([False] * disk.files.unsynced())
    _, durable = disk.start(create=False)
    assert (durable.term, durable.vote, durable.tail_damaged) == (1, "n1", False)


def test_a_disk_that_lied_is_caught_when_something_later_did_arrive():
    """Row 14: a hole under a later round is no crash."""
    disk, wal = disk_with(1)
    disk.files.lies = True
    disk.store(wal, 3, 12)
    disk.store(wal, 13, 13)
    disk.files.power_cut([False] * (disk.files.unsynced() - 1) + [True])
    with pytest.raises(StorageCorrupt):
        disk.start(create=False)


@pytest.mark.parametrize("call", ["pwritev", "allocate", "open"])
def test_without_space_nothing_is_acknowledged_and_the_log_goes_on_later(call):
    """Row 21: no restart is needed once there is space."""
    disk, wal = disk_with(1, segment_bytes=4096)
    wal.write_hard_state(HardState(2, "n2"))
    wal.write_entries(3, [entry(3, 2, b"x" * 4000)])
    disk.files.faults.append(Fault(call, errno.ENOSPC, times=2, written=30))
    assert isinstance(disk.sync_error(wal), StorageFullError)
    assert wal.read(1, 3, 1 << 20)[-1] == entry(3, 2, b"x" * 4000)
    wal.write_entries(4, [entry(4, 2)])
    assert isinstance(disk.sync_error(wal), StorageFullError)
    disk.sync(wal)
    disk.files.power_cut([False] * disk.files.unsynced())
    wal, durable = disk.start(create=False)
    assert (durable.term, durable.vote) == (2, "n2")
    assert whole_log(wal, durable) == [entry(1), entry(2), entry(3, 2, b"x" * 4000), entry(4, 2)]


def test_a_crash_after_a_write_without_space_is_a_torn_tail():
    """Row 21: what the refused write left behind was not acknowledged."""
    for segment_bytes in (4096, 1 << 20):
        disk, wal = disk_with(1, segment_bytes=segment_bytes)
        wal.write_entries(3, [entry(3, 1, b"x" * 3000)])
        disk.files.faults.append(Fault("pwritev", errno.ENOSPC, written=700))
        assert isinstance(disk.sync_error(wal), StorageFullError)
        disk.files.kill()
        wal, durable = disk.start(create=False)
        assert whole_log(wal, durable) == [entry(1), entry(2)]
        assert not durable.tail_damaged


def test_a_full_disk_leaves_the_log_usable():
    """Row 21, with a disk that is really full."""
    disk, wal = disk_with(1, segment_bytes=4096)
    disk.files.capacity_bytes = 2 * 4096
    index, refused = 3, 0
    while not refused:
        wal.write_entries(index, [entry(index, 1, b"x" * 300)])
        answers: list[BaseException | None] = []
        wal.sync(answers.append)
        refused += isinstance(answers[0], StorageFullError)
        index += 1
    disk.files.capacity_bytes = None
    disk.sync(wal)
    wal, durable = disk.start(create=False)
    assert len(durable.entries) == index - 1


@pytest.mark.parametrize("call", ["fdatasync", "fsync", "fsync_dir"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_an_error_of_a_sync_is_final(call, number):
    """Row 23: never retried, never acknowledged, whatever the error; a restart reads again."""
    disk, wal = disk_with(1, segment_bytes=4096)
    disk.files.faults.append(Fault(call, number))
    wal.write_entries(3, [entry(3, 1, b"x" * 4000)])
    error = disk.sync_error(wal)
    assert isinstance(error, StorageError) and not isinstance(error, StorageFullError)
    assert error.exit_code == 4
    calls = disk.files.calls
    assert disk.sync_error(wal) is error
    for refused in (
        lambda: wal.write_entries(4, [entry(4)]),
        lambda: wal.write_hard_state(HardState(2, None)),
        lambda: wal.read(1, 1, 1),
        lambda: wal.reset(mark_at(9)),
        lambda: wal.trim(2),
    ):
        with pytest.raises(StorageError):
            refused()
    wal.close()
    assert disk.files.calls == calls
    disk.files.kill()
    wal, durable = disk.start(create=False)
    assert whole_log(wal, durable)[:2] == [entry(1), entry(2)]
    disk.files.power_cut([False] * disk.files.unsynced())
    _, again = disk.start(create=False)
    assert again.entries == durable.entries


def test_an_error_of_a_write_is_final_too():
    """Row 23: only missing space is worth another try."""
    disk, wal = disk_with(1)
    disk.files.faults.append(Fault("pwritev", errno.EIO))
    wal.write_entries(3, [entry(3)])
    error = disk.sync_error(wal)
    assert isinstance(error, StorageError) and not isinstance(error, StorageFullError)
    assert disk.sync_error(wal) is error


@pytest.mark.parametrize("skip", range(4))
def test_a_read_error_at_the_start_names_file_and_offset(skip):
    """Row 24."""
    disk, _ = disk_with(3)
    disk.files.faults.append(Fault("pread", errno.EIO, skip=skip))
    with pytest.raises(StorageCorrupt, match=r"0000000000000001\.wal .* offset [0-9]+"):
        disk.start(create=False)


def test_damage_under_a_running_node_is_never_served():
    """Row 5: an entry that left the cache is verified when it is read back."""
    disk = Disk(segment_bytes=1 << 20, cache_bytes=0)
    wal, _ = disk.start()
    disk.store(wal, 1, 3)
    disk.files.flip_bit(disk.last_segment(), ends_of_records(disk, wal)[1] + 60, 0)
    assert wal.read(1, 1, 1) == (entry(1),)
    with pytest.raises(StorageCorrupt):
        wal.read(1, 3, 1 << 20)
    disk.files.faults.append(Fault("pread", errno.EIO))
    with pytest.raises(StorageCorrupt):
        wal.read(1, 1, 1)


def test_the_log_of_another_node_or_cluster_is_refused():
    """Row 26."""
    disk, _ = disk_with(1)
    with pytest.raises(ConfigurationError, match="belongs to node n1"):
        disk.open(node="n2").recover()


def test_a_newer_log_format_is_refused():
    """Row 28."""
    disk, _ = disk_with(1)
    encoder = Encoder(0, 0, 0)
    payload = encode_segment_head(SegmentHead("cluster", "n1", 1, 1 << 20, 0, 0, 0))
    encoder.add(SEGMENT_KIND, 0, 0, b"\x02\x00" + payload[2:])
    disk.files.damage(disk.last_segment(), 0, b"".join(encoder.parts))
    with pytest.raises(ConfigurationError, match="log format 2"):
        disk.start(create=False)


@pytest.mark.parametrize(("at", "value"), [(17, 3), (16, 9)], ids=["format", "kind"])
def test_an_entry_of_a_form_that_is_not_known_is_refused_and_nothing_changed(at, value):
    """Row 28: it is refused when the log is read, not when the entry is applied."""
    disk, wal = disk_with(1)
    newer = entry(3)[:at] + bytes((value,)) + entry(3)[at + 1 :]
    wal.write_entries(3, [newer])
    disk.sync(wal)
    before = disk.files.contents(disk.last_segment())
    with pytest.raises(ConfigurationError, match=r"entry 3 .* Start the release that wrote it"):
        disk.start(create=False)
    assert disk.files.contents(disk.last_segment()) == before


def test_a_segment_that_is_a_symbolic_link_is_refused(tmp_path):
    """Row 29."""

    def recover() -> None:
        Wal(RealFiles(), str(tmp_path / "wal"), "cluster", "n1", create=True, segment_bytes=4096).recover()

    recover()
    segment = tmp_path / "wal" / "0000000000000001.wal"
    segment.rename(tmp_path / "elsewhere.wal")
    segment.symlink_to(tmp_path / "elsewhere.wal")
    with pytest.raises(ConfigurationError, match="symbolic link"):
        recover()


def test_bytes_of_a_client_never_pass_for_a_record():
    """A value that is itself a piece of a log must not turn a torn tail into corruption."""
    disk, _ = disk_with(3)
    stolen = disk.files.contents(disk.last_segment())[:2000]
    for shift in range(8):
        other = Disk(segment_bytes=1 << 20, nonce=7)
        wal, _ = other.start()
        other.vote(wal, 9, "n1")
        wal.write_entries(1, [entry(1, 9, bytes(shift) + stolen)])
        other.files.cut_at = other.files.calls
        with pytest.raises(PowerCut):
            wal.sync(lambda error: None)
        other.files.power_cut([False] + [True] * (other.files.unsynced() - 1))
        _, durable = other.start(create=False)
        assert durable.entries == () and not durable.tail_damaged
