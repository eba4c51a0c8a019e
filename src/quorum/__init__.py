"""quorum: decisions among N nodes of which up to T may crash or lie.

The public names are loaded on first use, so that `import quorum` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorum.errors import (
        ApplicationError,
        ConfigurationError,
        LocalProtocolError,
        NodeFailed,
        NoQuorum,
        NotLeader,
        OutcomeUnknown,
        Overloaded,
        QuorumError,
        SessionExpired,
        StorageCorrupt,
        StorageError,
    )
    from quorum.model import Configuration
    from quorum.quorum import Quorum, State
    from quorum.runtime.connect import connect
    from quorum.systems.system import QuorumSystem

__version__ = "0.1.0"
__all__ = [
    "ApplicationError",
    "Configuration",
    "ConfigurationError",
    "LocalProtocolError",
    "NoQuorum",
    "NodeFailed",
    "NotLeader",
    "OutcomeUnknown",
    "Overloaded",
    "Quorum",
    "QuorumError",
    "QuorumSystem",
    "SessionExpired",
    "State",
    "StorageCorrupt",
    "StorageError",
    "connect",
]

_HOMES = {
    "Configuration": "quorum.model",
    "Quorum": "quorum.quorum",
    "State": "quorum.quorum",
    "QuorumSystem": "quorum.systems.system",
    "connect": "quorum.runtime.connect",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'quorum' has no attribute {name!r}")
    found = getattr(import_module(_HOMES.get(name, "quorum.errors")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
