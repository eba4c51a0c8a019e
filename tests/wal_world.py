"""A log on a simulated disk, as the tests of the storage use it."""

from __future__ import annotations

from quorum.entry import COMMAND, CONFIGURATION, encode_entry
from quorum.header import Batch
from quorum.model import Configuration, encode_configuration
from quorum.protocols.effects import HardState
from quorum.protocols.events import Durable, SnapshotMark
from quorum.runtime.wal import Wal
from quorum.sim.disk import SimFiles

FOLDER = "n1/wal"
SEGMENT_BYTES = 4096
MEMBERS = Configuration(epoch=1, voters=("n1", "n2", "n3"))


def entry(index: int, term: int = 1, body: bytes = b"command") -> bytes:
    batch = Batch(app=1, client=0, first_sequence=0, acked_below=0, count=1, body=body)
    return encode_entry(index, term, COMMAND, 0, index * 10, 0, batch)


def configuration_entry(index: int, term: int, configuration: Configuration) -> bytes:
    body = encode_configuration(configuration)
    batch = Batch(app=0, client=0, first_sequence=0, acked_below=0, count=1, body=body)
    return encode_entry(index, term, CONFIGURATION, configuration.epoch, index * 10, 0, batch)


def mark_at(index: int, term: int = 1) -> SnapshotMark:
    return SnapshotMark(index, term, index * 10, MEMBERS, b"d" * 32, 100)


class Disk:
    """One simulated disk and the lives of a log on it."""

    def __init__(self, segment_bytes: int = SEGMENT_BYTES, cache_bytes: int = 1 << 20, nonce: int = 0) -> None:
        self.files = SimFiles()
        self.segment_bytes = segment_bytes
        self.cache_bytes = cache_bytes
        self.nonce = nonce

    def open(self, snapshot: SnapshotMark | None = None, create: bool = False, node: str = "n1") -> Wal:
        return Wal(
            self.files,
            FOLDER,
            "cluster",
            node,
            snapshot=snapshot,
            create=create,
            segment_bytes=self.segment_bytes,
            cache_bytes=self.cache_bytes,
            nonce=self.nonce,
        )

    def start(self, snapshot: SnapshotMark | None = None, create: bool = True) -> tuple[Wal, Durable]:
        """Begin another life of the log."""
        wal = self.open(snapshot, create)
        return wal, wal.recover()

    def store(self, wal: Wal, first: int, last: int, term: int = 1, body: bytes = b"command") -> None:
        """Store and sync entries `first` to `last` in one round."""
        wal.write_entries(first, [entry(index, term, body) for index in range(first, last + 1)])
        self.sync(wal)

    def vote(self, wal: Wal, term: int, vote: str | None) -> None:
        wal.write_hard_state(HardState(term, vote))
        self.sync(wal)

    def sync(self, wal: Wal) -> None:
        """One round that must succeed."""
        answers: list[BaseException | None] = []
        wal.sync(answers.append)
        assert answers == [None]

    def sync_error(self, wal: Wal) -> BaseException:
        """One round that must fail."""
        answers: list[BaseException | None] = []
        wal.sync(answers.append)
        assert len(answers) == 1 and answers[0] is not None
        return answers[0]

    def segments(self) -> list[str]:
        return [path for path in self.files.paths() if path.endswith(".wal")]

    def last_segment(self) -> str:
        return self.segments()[-1]


def whole_log(wal: Wal, durable: Durable) -> list[bytes]:
    """Every entry that recovery speaks of, read back."""
    if not durable.entries:
        return []
    return list(wal.read(durable.entries[0].index, durable.entries[-1].index, 1 << 30))


def content_end(data: bytes) -> int:
    """Where the last byte of a file that is not zero ends."""
    return len(data.rstrip(b"\0"))
