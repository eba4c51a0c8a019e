"""What a witness runs in place of applications: it votes and stores, and has no state to answer from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from quorum.apps.answer import Answer, Failure, failure
from quorum.apps.applied import NOTHING, Applied
from quorum.certificate.requests import SignedRequest
from quorum.entry import Buffer
from quorum.header import Header


class Witness:
    """The place of a `Host` on a witness. Its digest and its snapshots say nothing."""

    keeps_state = False
    expires_in_us: int | None = None
    expiry_failure: Failure | None = None
    session_count = 0

    def __init__(self) -> None:
        self._time_us = 0

    @property
    def time_us(self) -> int:
        """Log time of the newest entry."""
        return self._time_us

    def application(self, app: int) -> None:
        """There is none."""
        return None

    def session_owner(self, client: int) -> str | None:
        """Unknown here."""
        return None

    def kept_answer(self, request: SignedRequest) -> Answer | None:
        """Unknown here."""
        return None

    def apply(self, header: Header, body: Buffer) -> Applied:
        """Take note of the time."""
        self._time_us = max(self._time_us, header.time_us)
        return NOTHING

    def vet(self, app: int, body: Buffer) -> str | None:
        """Nothing is judged here, and nothing proposed."""
        return None

    def query(self, app: int, body: Buffer) -> Answer:
        """Refuse."""
        return failure("Witness", "a read was sent to a witness, which keeps no state. Ask another node.")

    def digest(self) -> bytes:
        """32 bytes that are the same on every witness."""
        return blake2b(b"witness", digest_size=32).digest()

    def digests(self) -> Iterator[bytes]:
        """The same, at once."""
        return iter((self.digest(),))

    def spare(self) -> None:
        """There is no state to prepare."""

    def adopt(self, spare: object) -> None:
        """Nothing to take over."""

    def let_go(self) -> Iterator[object]:
        """Nothing to free."""
        return iter(())

    def snapshot(self) -> Iterator[bytes]:
        """No chunks."""
        return iter(())

    def restore(self, chunks: Iterable[bytes]) -> None:
        """There is nothing to take over. Raises ValueError for the snapshot of a node that keeps state."""
        if next(iter(chunks), None) is not None:
            raise ValueError(
                "a witness was to be restored from a snapshot with state, so it was something else before. Give "
                "it an empty data folder."
            )
