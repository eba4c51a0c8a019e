"""Write-once decisions: for each topic the first committed value wins, and stays.

A batch is a msgpack array of `Decide`; its reply the array of `Decision` (or `Refused`), in order. A query is a
msgpack array of topics; its reply the array of `Decision | None`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from quorum.apps.batch import BatchDecoder, Refused
from quorum.apps.leaves import Leaves
from quorum.apps.state_machine import Outputs
from quorum.entry import Buffer
from quorum.header import Header

TOPIC_BYTES_MAX = 512
VALUE_BYTES_MAX = 64 * 1024
TOPICS_MAX = 1_000_000
"""Decisions are never deleted, so their number is bounded."""


class Decide(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """Proposes `value` (at most VALUE_BYTES_MAX bytes) as the decision on `topic` (1 to TOPIC_BYTES_MAX bytes
    of UTF-8)."""

    topic: str
    value: bytes


class Decision(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """What was decided on `topic`, and where: the entry at `index` of `term`, under configuration `epoch`.

    `first`: this very command decided it. In the answer to a query it is False.
    """

    topic: str
    value: bytes
    index: int
    epoch: int
    term: int
    first: bool


class _Kept(msgspec.Struct, frozen=True, gc=False, array_like=True):
    value: bytes
    index: int
    epoch: int
    term: int


_ENCODE = msgspec.msgpack.Encoder()
_COMMANDS: BatchDecoder[Decide] = BatchDecoder(Decide)
_TOPICS: BatchDecoder[str] = BatchDecoder(str)
_DECODE_KEPT = msgspec.msgpack.Decoder(_Kept)
_DECODE_RESULTS: msgspec.msgpack.Decoder[list[Decision | Refused]] = msgspec.msgpack.Decoder(
    list[Decision | Refused]
)
_DECODE_ANSWERS: msgspec.msgpack.Decoder[list[Decision | Refused | None]] = msgspec.msgpack.Decoder(
    list[Decision | Refused | None]
)


def encode_batch(commands: Sequence[Decide]) -> bytes:
    """The body of a batch of proposals."""
    return _ENCODE.encode(commands)


def encode_query(topics: Sequence[str]) -> bytes:
    """The body of a query for the decisions on `topics`."""
    return _ENCODE.encode(topics)


def decode_results(body: Buffer) -> list[Decision | Refused]:
    """The results in the reply to a batch. Raises msgspec.DecodeError if it is none."""
    return _DECODE_RESULTS.decode(body)


def decode_answers(body: Buffer) -> list[Decision | Refused | None]:
    """The answers to a query; None: not decided. Raises msgspec.DecodeError if it is none."""
    return _DECODE_ANSWERS.decode(body)


class Decisions:
    """The replicated state machine of write-once decisions. `topics_max` must be the same on every node."""

    def __init__(self, topics_max: int = TOPICS_MAX) -> None:
        self._topics_max = topics_max
        self._decided = Leaves()

    def __len__(self) -> int:
        """The number of topics decided."""
        return len(self._decided)

    def apply(self, header: Header, body: Buffer) -> Outputs:
        """Decide, or tell what was decided. Raises msgspec.DecodeError if the body is no msgpack array."""
        results = [
            command if isinstance(command, Refused) else self._decide(header, command)
            for command in _COMMANDS.decode(body)
        ]
        return Outputs(_ENCODE.encode(results))

    def query(self, body: Buffer) -> bytes:
        """The decisions on topics. Raises msgspec.DecodeError if the body is no msgpack array."""
        answers = [topic if isinstance(topic, Refused) else self.decision(topic) for topic in _TOPICS.decode(body)]
        return _ENCODE.encode(answers)

    def decision(self, topic: str) -> Decision | None:
        """What was decided on `topic`, if anything was."""
        stored = self._decided.get(topic.encode())
        if stored is None:
            return None
        kept = _DECODE_KEPT.decode(stored.value)
        return Decision(topic, kept.value, kept.index, kept.epoch, kept.term, False)

    def digest(self) -> bytes:
        """The root over all decisions: 32 bytes."""
        return self._decided.digest()

    def snapshot(self) -> Iterator[bytes]:
        """Pin the present decisions; return their chunks."""
        return self._decided.view().chunks()

    def chunk_digests(self) -> Iterator[bytes]:
        """Pin the present decisions; give `pieces.digests_of` each chunk, and b"" after slices."""
        return self._decided.view().chunk_digests()

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace all decisions. Raises ValueError, state unchanged, if the chunks are damaged."""
        restored = self._decided.empty()
        restored.load(chunks)
        try:
            for key, stored in restored.scan(b"", None):
                key.decode()
                _DECODE_KEPT.decode(stored.value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"decisions were to be restored, but one is damaged: {error}. Fetch another snapshot."
            ) from None
        self._decided = restored

    def _decide(self, header: Header, command: Decide) -> Decision | Refused:
        key = command.topic.encode()
        if not 0 < len(key) <= TOPIC_BYTES_MAX:
            what = f"a topic has {len(key)} bytes, but topics have 1 to {TOPIC_BYTES_MAX}. Choose another."
            return Refused("topic", what)
        if len(command.value) > VALUE_BYTES_MAX:
            what = f"a value has {len(command.value)} bytes, but {VALUE_BYTES_MAX} is the most. Decide its digest."
            return Refused("value", what)
        earlier = self.decision(command.topic)
        if earlier is not None:
            return earlier
        if len(self._decided) >= self._topics_max:
            what = f"{self._topics_max} topics are decided, which is the most that is kept. Use another cluster."
            return Refused("topics", what)
        kept = _Kept(command.value, header.index, header.epoch, header.term)
        self._decided.put(key, _ENCODE.encode(kept), header.index)
        return Decision(command.topic, command.value, header.index, header.epoch, header.term, True)
