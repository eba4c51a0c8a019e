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
    if not objects:
        return {}
    for path in (os.getcwd(), str(folder)):
        if path not in sys.path:
            sys.path.append(path)
    return {name: _load(name, objects[name]) for name in sorted(objects)}


def _load(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    what = f"object {name!r} was to be of class {place}"
    try:
        found = getattr(import_module(module), attribute)
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
    schema_of(found)
    return found
