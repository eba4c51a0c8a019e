"""What a protocol keeps beside the log: the newest of each name, wherever the segments go."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.protocols.effects import Note
from wal_world import Disk, entry, mark_at


def test_the_newest_note_of_each_name_is_there_after_a_restart():
    disk = Disk()
    wal, _ = disk.start()
    for note in (
        Note("claim", b"old"),
        Note("view", b"v"),
        Note("claim", b"new"),
        Note("aside", b"x"),
        Note("aside", b""),
    ):
        wal.write_note(note)
    disk.sync(wal)
    disk.files.kill()
    _, durable = disk.start(create=False)
    assert durable.notes == (("claim", b"new"), ("view", b"v"))


def test_a_note_that_was_not_synced_is_not_believed():
    disk = Disk()
    wal, _ = disk.start()
    wal.write_note(Note("claim", b"durable"))
    disk.sync(wal)
    wal.write_note(Note("claim", b"lost"))
    disk.files.kill()
    _, durable = disk.start(create=False)
    assert durable.notes == (("claim", b"durable"),)


def test_notes_outlive_the_segment_that_held_them():
    disk = Disk(segment_bytes=4096)
    wal, _ = disk.start()
    wal.write_note(Note("claim", b"c" * 500))
    disk.sync(wal)
    for index in range(1, 200):
        disk.store(wal, index, index)
    before = disk.segments()
    wal.trim(190)
    assert before[0] not in disk.segments()
    disk.files.kill()
    _, durable = disk.start(snapshot=mark_at(190, 1), create=False)
    assert durable.notes == (("claim", b"c" * 500),)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(("claim", "view", "aside")), st.binary(max_size=200)),
            st.sampled_from(("entry", "sync", "restart")),
        ),
        max_size=60,
    )
)
def test_whatever_is_written_what_was_synced_is_what_is_read(steps):
    disk = Disk(segment_bytes=4096)
    wal, _ = disk.start()
    seen: dict[str, bytes] = {}
    durable: dict[str, bytes] = {}
    index = stored = 0
    for step in steps:
        if isinstance(step, tuple):
            name, data = step
            wal.write_note(Note(name, data))
            seen[name] = data
        elif step == "entry":
            index += 1
            wal.write_entries(index, [entry(index)])
        elif step == "sync":
            disk.sync(wal)
            durable, stored = dict(seen), index
        else:
            disk.files.kill()
            wal, found = disk.start(create=False)
            assert dict(found.notes) == {name: data for name, data in durable.items() if data}
            seen, index = dict(durable), stored
