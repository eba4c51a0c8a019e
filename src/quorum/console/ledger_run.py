"""Running a request to the ledger of a cluster, which may have none."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from quorum.console.inquiry import run_client
from quorum.errors import ApplicationError, ConfigurationError
from quorum.runtime.client import Client

R = TypeVar("R")
NOT_THERE = "UnknownApplication"
"""The kind of the answer where no application has the ledger's id (apps.host)."""


def run_ledger(config: Path | None, timeout: float, act: Callable[[Client], Coroutine[Any, Any, R]]) -> R:
    """As `inquiry.run_client`. Raises ConfigurationError where the cluster runs no ledger."""
    try:
        return run_client(config, timeout, act)
    except ApplicationError as error:
        if error.kind != NOT_THERE:
            raise
    raise ConfigurationError(
        "a ledger was asked, but the nodes of this cluster run none. Begin a new cluster whose cluster.toml names "
        'its application, on every node: ledger = "MODULE:CLASS".'
    )
