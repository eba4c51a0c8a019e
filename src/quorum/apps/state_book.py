"""The heads of the states whose root was computed lately, each with the proof that it belongs to that state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from quorum.apps.pieces import Tree, root_in_slices
from quorum.certificate.state_head import ProvenHead

STATES_KEPT = 128
"""Of about 3 KB each: a head, one group of entries and its path, and none of the tree besides."""


class StateBook:
    """Not part of the state: what a node remembers to make proofs."""

    def __init__(self) -> None:
        self._heads: dict[bytes, ProvenHead] = {}

    def head(self, root: bytes) -> ProvenHead | None:
        """The head of the state with this root; None: it is not among the newest STATES_KEPT."""
        return self._heads.get(root)

    def noted(self, head: bytes, parts: Iterable[tuple[int, Iterator[bytes]]]) -> Iterator[bytes]:
        """The root of a state in slices, as `pieces.root_in_slices`; its head is noted."""

        def note(tree: Tree) -> None:
            self._heads.pop(tree.root, None)
            self._heads[tree.root] = ProvenHead(head, tree.prove(0))
            if len(self._heads) > STATES_KEPT:
                del self._heads[next(iter(self._heads))]

        return root_in_slices(head, parts, note)
