"""The parts of the states whose digest was computed lately, by that digest: what leads from an application to
it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from quorum.certificate.state_parts import StateParts, root_over

STATES_KEPT = 128


class StateBook:
    """Not part of the state: what a node remembers to make proofs."""

    def __init__(self) -> None:
        self._parts: dict[bytes, StateParts] = {}

    def parts(self, root: bytes) -> StateParts | None:
        """The parts of the state with this digest; None: it is not among the newest STATES_KEPT."""
        return self._parts.get(root)

    def noted(
        self, head: bytes, sessions: bytes, applications: Sequence[tuple[int, Iterator[bytes]]]
    ) -> Iterator[bytes]:
        """The digest of a state in slices (see `slices`), given those of its applications; its parts are noted."""
        digests = []
        for app, slices in applications:
            found = b""
            for digest in slices:
                if digest:
                    found = digest
                else:
                    yield b""
            digests.append((app, found))
        root = root_over(head, sessions, digests)
        self._parts.pop(root, None)
        self._parts[root] = StateParts(head, sessions, tuple(digests))
        if len(self._parts) > STATES_KEPT:
            del self._parts[next(iter(self._parts))]
        yield root
