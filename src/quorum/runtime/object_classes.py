"""The replicated classes that cluster.toml names, imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from quorum.apps.replicated_schema import schema_of
from quorum.errors import ConfigurationError, NotReplicable


def load_classes(objects: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """The classes by the names of their objects. Modules are also looked for in the present folder and in
    `folder`, behind all others.

    Raises ConfigurationError for what is not there, NotReplicable for what cannot be replicated.
    """
    return {name: _load(name, objects[name], folder) for name in sorted(objects)}


def imported(what: str, place: str, folder: Path) -> Any:
    """What MODULE:NAME names; modules are also looked for as `load_classes` says. `what` was to be done with it.

    Raises ConfigurationError for what is not there, NotReplicable where its module cannot be replicated.
    """
    for path in (os.getcwd(), str(folder)):
        if path not in sys.path:
            sys.path.append(path)
    module, _, attribute = place.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except NotReplicable as error:
        raise NotReplicable(f"{what}, but its module cannot be used: {error}") from None
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{what}, but there is no module {error.name!r}. Install it, start the node in the folder that holds "
            "it, or put it beside cluster.toml."
        ) from None
    except AttributeError:
        raise ConfigurationError(f"{what}, but {module} has no {attribute}. Correct one of them.") from None
    except Exception as error:
        raise ConfigurationError(
            f"{what}, but importing {module} failed with {type(error).__name__}: {error}. Correct the module."
        ) from error


def _load(name: str, place: str, folder: Path) -> Any:
    found = imported(f"object {name!r} was to be of class {place}", place, folder)
    schema_of(found)
    return found
