"""quorum: decisions among N nodes of which up to T may crash or lie.

The public names are loaded on first use, so that `import quorum` stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quorum.apps.replicated import Replicated, command, invariant, query, state
    from quorum.apps.replicated_lock import ReplicatedLock
    from quorum.apps.replicated_types import (
        ReplicatedCounter,
        ReplicatedDict,
        ReplicatedList,
        ReplicatedPriorityQueue,
        ReplicatedQueue,
        ReplicatedSet,
    )
    from quorum.errors import (
        ApplicationError,
        ConfigurationError,
        Definite,
        IncompatibleProgram,
        Indefinite,
        LocalProtocolError,
        LockBusy,
        LockLost,
        NodeFailed,
        NoQuorum,
        NotLeader,
        NotReplicable,
        OutcomeUnknown,
        Overloaded,
        QuorumError,
        RequestRefused,
        SessionExpired,
        StorageCorrupt,
        StorageError,
        WrongType,
    )
    from quorum.model import Configuration
    from quorum.quorum import Quorum, State
    from quorum.runtime.connect import connect
    from quorum.runtime.start import start
    from quorum.sim.simulate import Simulation, SimulationFailed, simulate
    from quorum.systems.system import QuorumSystem
    from quorum.voting.ballot.terms import Voter

__version__ = "0.1.0"
__all__ = [
    "ApplicationError",
    "Configuration",
    "ConfigurationError",
    "Definite",
    "IncompatibleProgram",
    "Indefinite",
    "LocalProtocolError",
    "LockBusy",
    "LockLost",
    "NoQuorum",
    "NodeFailed",
    "NotLeader",
    "NotReplicable",
    "OutcomeUnknown",
    "Overloaded",
    "Quorum",
    "QuorumError",
    "QuorumSystem",
    "Replicated",
    "ReplicatedCounter",
    "ReplicatedDict",
    "ReplicatedList",
    "ReplicatedLock",
    "ReplicatedPriorityQueue",
    "ReplicatedQueue",
    "ReplicatedSet",
    "RequestRefused",
    "SessionExpired",
    "Simulation",
    "SimulationFailed",
    "State",
    "StorageCorrupt",
    "StorageError",
    "Voter",
    "WrongType",
    "command",
    "connect",
    "invariant",
    "query",
    "simulate",
    "start",
    "state",
]

_HOMES = {
    "Configuration": "quorum.model",
    "Quorum": "quorum.quorum",
    "State": "quorum.quorum",
    "QuorumSystem": "quorum.systems.system",
    "Replicated": "quorum.apps.replicated",
    "ReplicatedCounter": "quorum.apps.replicated_types",
    "ReplicatedDict": "quorum.apps.replicated_types",
    "ReplicatedList": "quorum.apps.replicated_types",
    "ReplicatedLock": "quorum.apps.replicated_lock",
    "ReplicatedPriorityQueue": "quorum.apps.replicated_types",
    "ReplicatedQueue": "quorum.apps.replicated_types",
    "ReplicatedSet": "quorum.apps.replicated_types",
    "Voter": "quorum.voting.ballot.terms",
    "command": "quorum.apps.replicated",
    "connect": "quorum.runtime.connect",
    "invariant": "quorum.apps.replicated",
    "query": "quorum.apps.replicated",
    "Simulation": "quorum.sim.simulate",
    "SimulationFailed": "quorum.sim.simulate",
    "simulate": "quorum.sim.simulate",
    "start": "quorum.runtime.start",
    "state": "quorum.apps.replicated",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'quorum' has no attribute {name!r}")
    found = getattr(import_module(_HOMES.get(name, "quorum.errors")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
