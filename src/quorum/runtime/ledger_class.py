"""The application of the ledger that cluster.toml names, imported."""

from __future__ import annotations

from pathlib import Path

from quorum.apps.ledger_application import LedgerApplication
from quorum.apps.ledger_machine import LedgerMachine
from quorum.errors import ConfigurationError
from quorum.runtime.object_classes import imported


def load_ledger(place: str, folder: Path) -> type[LedgerApplication] | None:
    """The class that MODULE:CLASS names; None for no name. Modules are also looked for in the present folder and
    in `folder`, behind all others. Raises ConfigurationError for what is not there, or cannot be one."""
    if not place:
        return None
    what = f"the ledger was to run {place}"
    found = imported(what, place, folder)
    if not isinstance(found, type) or not issubclass(found, LedgerApplication):
        raise ConfigurationError(
            f"{what}, but that is no class made from quorum.apps.ledger_application.LedgerApplication. Name one."
        )
    try:
        LedgerMachine(found())
    except Exception as error:
        raise ConfigurationError(
            f"{what}, but its state cannot begin: {type(error).__name__}: {error}. Correct the class."
        ) from error
    return found
