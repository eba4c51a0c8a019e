"""With which ledger a node's log began: with another, what is replayed would do what it did not do at the time."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from quorum.apps.ledger_application import LedgerApplication
from quorum.apps.ledger_machine import LedgerMachine
from quorum.errors import ConfigurationError

UNSETTLED: Final = "unsettled"
"""Of data made from a backup: the first start says with which ledger its log goes on."""


class LedgerMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ledger as identity.json has it. `application` is MODULE:CLASS, `name` the class's own name for the ledger,
    `state` the root of what its state begins with, in hexadecimal: two that begin alike may go on together."""

    application: str
    name: str
    state: str

    def __str__(self) -> str:
        named = f", name {self.name[:60]!r}" if self.name else ""
        return f"the ledger {self.application}{named}, whose state begins as {self.state[:16]}"


Settled = LedgerMark | msgspec.UnsetType
"""UNSET: no ledger."""
Known = LedgerMark | msgspec.UnsetType | Literal["unsettled"]


def mark_of(place: str, application: type[LedgerApplication] | None) -> Settled:
    """What is to be remembered of the ledger that cluster.toml calls `place`. Raises what its `begin` raises."""
    if application is None:
        return msgspec.UNSET
    name = getattr(application, "name", "")
    state = LedgerMachine(application()).state.root
    return LedgerMark(place, name if isinstance(name, str) else "", state.hex())


def refuse_other(path: str, begun: Known, given: Settled) -> None:
    """Raise ConfigurationError where the log in `path` was begun with another ledger than the one given."""
    if begun in (UNSETTLED, given):
        return
    if isinstance(begun, LedgerMark):
        line = f'ledger = "{begun.application}" in cluster.toml, with the class as it was'
    else:
        line = "a cluster.toml that names no ledger"
    raise ConfigurationError(
        f"a node was to go on in {path} with {_said(given)}, but its log began with {_said(begun)}, and what it "
        f"replays would become something else. Restore {line}, or begin a new cluster."
    )


def _said(ledger: Known) -> str:
    return str(ledger) if isinstance(ledger, LedgerMark) else "no ledger"
