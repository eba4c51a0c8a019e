"""The simulated file system forgets what a real one may forget, and nothing else."""

from __future__ import annotations

import errno
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.runtime.files import Files, RealFiles
from quorum.sim.disk import SECTOR_BYTES, Fault, PowerCut, SimFiles


def file_with(files: SimFiles, data: bytes = b"") -> int:
    """A durable file f/a that holds `data`."""
    files.make_folder("f")
    handle = files.open("f/a", create=True)
    files.pwritev(handle, [data], 0)
    files.fsync(handle)
    files.fsync_dir("f")
    return handle


def test_what_was_synced_survives_any_power_cut():
    for seed in range(50):
        files = SimFiles()
        file_with(files, b"x" * 2000)
        files.crash(Random(seed))
        assert files.contents("f/a") == b"x" * 2000


def test_a_power_cut_keeps_any_subset_of_the_sectors_that_were_not_synced():
    old, new = b"o" * 3 * SECTOR_BYTES, b"n" * 3 * SECTOR_BYTES
    seen = set()
    for seed in range(200):
        files = SimFiles()
        handle = file_with(files, old)
        files.pwritev(handle, [new], 0)
        files.crash(Random(seed))
        data = files.contents("f/a")
        sectors = [data[at : at + SECTOR_BYTES] for at in range(0, len(data), SECTOR_BYTES)]
        assert all(sector in (old[:SECTOR_BYTES], new[:SECTOR_BYTES]) for sector in sectors)
        seen.add(tuple(sector[:1] for sector in sectors))
    assert len(seen) == 8


def test_names_are_lost_until_their_folder_is_synced():
    for seed in range(20):
        files = SimFiles()
        files.make_folder("f")
        handle = files.open("f/a", create=True)
        files.fsync(handle)
        files.rename("f/a", "f/b")
        files.crash(Random(seed))
        assert files.paths() in ((), ("f/a",), ("f/b",))
    files = SimFiles()
    file_with(files)
    files.unlink("f/a")
    files.power_cut([False] * files.unsynced())
    assert files.paths() == ("f/a",)


def test_a_rename_gives_the_old_file_or_the_new_one():
    for seed in range(50):
        files = SimFiles()
        file_with(files, b"old")
        other = files.open("f/b", create=True)
        files.pwritev(other, [b"new"], 0)
        files.fsync(other)
        files.rename("f/b", "f/a")
        files.crash(Random(seed))
        assert files.contents("f/a") in (b"old", b"new")


def test_a_killed_process_loses_its_handles_and_nothing_that_it_wrote():
    files = SimFiles()
    handle = file_with(files)
    files.pwritev(handle, [b"kept"], 0)
    files.kill()
    with pytest.raises(OSError):
        files.pread(handle, 4, 0)
    assert files.contents("f/a") == b"kept"


def test_a_failed_sync_drops_the_pages_and_the_next_one_succeeds_without_them():
    """Rebello et al. (2020): ext4 marks the pages clean; reading back still shows them."""
    files = SimFiles()
    handle = file_with(files, b"old")
    files.faults.append(Fault("fdatasync", errno.EIO, path="a"))
    files.pwritev(handle, [b"new"], 0)
    with pytest.raises(OSError):
        files.fdatasync(handle)
    files.fdatasync(handle)
    assert files.pread(handle, 3, 0) == b"new"
    files.power_cut([True] * files.unsynced())
    assert files.contents("f/a") == b"old"


def test_a_full_disk_refuses_to_grow_a_file_and_lets_it_be_overwritten():
    files = SimFiles(capacity_bytes=100)
    handle = file_with(files, b"x" * 60)
    with pytest.raises(OSError) as caught:
        files.allocate(handle, 101)
    assert caught.value.errno == errno.ENOSPC
    files.pwritev(handle, [b"y" * 60], 0)
    files.allocate(handle, 100)
    assert files.contents("f/a") == b"y" * 60 + bytes(40)


def test_a_cut_in_the_middle_of_a_write_leaves_its_sectors_to_chance():
    files = SimFiles()
    handle = file_with(files, bytes(SECTOR_BYTES * 2))
    files.cut_at = files.calls
    with pytest.raises(PowerCut):
        files.pwritev(handle, [b"x" * SECTOR_BYTES * 2], 0)
    assert files.unsynced() == 2


def test_the_same_seed_gives_the_same_disk():
    def run() -> bytes:
        files = SimFiles()
        handle = file_with(files, bytes(5000))
        files.pwritev(handle, [b"x" * 5000], 0)
        files.crash(Random(3))
        return files.contents("f/a")

    assert run() == run()


def test_faults_on_what_is_there_reach_the_disk_at_once():
    files = SimFiles()
    file_with(files, b"abcdef")
    files.flip_bit("f/a", 0, 0)
    files.zero_tail("f/a", 4)
    files.truncate("f/a", 5)
    files.power_cut([])
    assert files.contents("f/a") == b"`bcd\0"


def test_the_real_files_write_many_parts_and_large_ones_whole(tmp_path):
    files, rng = RealFiles(), Random(1)
    handle = files.open(str(tmp_path / "a"), create=True)
    parts = [rng.randbytes(rng.randrange(2000)) for _ in range(3000)]
    files.pwritev(handle, parts, 10)
    assert files.pread(handle, 1 << 30, 0) == bytes(10) + b"".join(parts)
    files.pwritev(handle, [b"x" * (3 << 20)], 0)
    assert files.pread(handle, 3 << 20, 0) == b"x" * (3 << 20)
    files.close(handle)


CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 2), st.integers(0, 3000), st.binary(max_size=1500)),
        st.tuples(st.just("allocate"), st.integers(0, 2), st.integers(0, 3000), st.just(b"")),
        st.tuples(st.just("rename"), st.integers(0, 2), st.integers(0, 2), st.just(b"")),
        st.tuples(st.sampled_from(["create", "unlink", "sync"]), st.integers(0, 2), st.just(0), st.just(b"")),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(calls=CALLS)
def test_without_faults_it_behaves_like_the_real_file_system(calls, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("real"))
    real, sim = RealFiles(), SimFiles()
    assert outcome(real, folder, calls) == outcome(sim, folder, calls)


def outcome(files: Files, folder: str, calls: list[tuple[str, int, int, bytes]]) -> list[object]:
    """What a reader sees after each call, or the error that the call gave."""
    files.make_folder(folder)
    seen: list[object] = []
    for call, which, number, data in calls:
        path = f"{folder}/{which}"
        try:
            if call == "rename":
                files.rename(path, f"{folder}/{number}")
            elif call == "unlink":
                files.unlink(path)
            else:
                handle = files.open(path, create=call == "create")
                try:
                    if call == "write":
                        files.pwritev(handle, [data[:7], data[7:]], number)
                    elif call == "allocate" and number > 0:
                        files.allocate(handle, number)
                    files.fdatasync(handle)
                    seen.append((files.size(handle), files.pread(handle, 10_000, 0)))
                finally:
                    files.close(handle)
        except OSError as error:
            seen.append(error.errno)
        files.fsync_dir(folder)
        seen.append(files.names(folder))
    return seen
