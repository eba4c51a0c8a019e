"""Requests whose answers wait for the log: commands for their entry to be applied, reads for their index."""

from __future__ import annotations

from collections import deque

from quorum.apps.applied import Applied
from quorum.header import Header
from quorum.protocols import effects
from quorum.runtime.ports import Requests


class Pending:
    """What one driver has to answer. Commands by the index of their entry, with the term in which it was ordered:
    another entry may stand there once somebody else leads."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._admitted: dict[int, tuple[int, int]] = {}
        self._reads: deque[tuple[int, tuple[int, ...]]] = deque()

    @property
    def commands(self) -> int:
        """How many commands wait."""
        return len(self._admitted)

    def admit(self, effect: effects.Admitted) -> None:
        """These requests have entries, one after the other."""
        index = effect.first
        for token in effect.tokens:
            self._admitted[index] = (token, effect.term)
            index += 1

    def read_ready(self, effect: effects.ReadReady, applied_index: int) -> None:
        """These reads may be served once their index is applied."""
        if effect.index <= applied_index:
            self._requests.read_ready(effect.tokens)
        else:
            self._reads.append((effect.index, effect.tokens))

    def applied(self, header: Header, result: Applied) -> None:
        """An entry is applied: answer the command that it is, if it came from here."""
        admitted = self._admitted.pop(header.index, None)
        if admitted is None:
            return
        token, term = admitted
        if term == header.term:
            self._requests.applied(token, header, result)
        else:
            self._requests.unknown((token,))

    def serve_reads(self, applied_index: int) -> None:
        """Serve the reads whose index is applied."""
        while self._reads and self._reads[0][0] <= applied_index:
            self._requests.read_ready(self._reads.popleft()[1])

    def forget(self) -> None:
        """This node will not answer what it admitted: the entries may be committed by the next leader."""
        if self._admitted:
            tokens = [token for token, _ in self._admitted.values()]
            self._admitted = {}
            self._requests.unknown(tokens)
