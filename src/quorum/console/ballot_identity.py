"""Which client a command is when it votes as somebody."""

from __future__ import annotations

from pathlib import Path

from quorum.errors import ConfigurationError
from quorum.model import NODE_ID_PATTERN
from quorum.runtime.config import find_config
from quorum.runtime.connect import IDENTITY_VARIABLE, at_config
from quorum.runtime.keyring import CLIENT_PREFIX
from quorum.runtime.setup import KEYS_FOLDER


def identity_of(voter: str | None, config: Path | None) -> str | None:
    """The client to be, to vote as `voter`: the one of that name, where its keys are in the cluster's keys folder.
    None: the client that it would be anyway."""
    name = (voter or "").removeprefix(CLIENT_PREFIX)
    if voter is None or not voter.startswith(CLIENT_PREFIX) or not NODE_ID_PATTERN.fullmatch(name):
        return None
    keys = find_config(config).parent / KEYS_FOLDER
    return voter if (keys / f"{voter}.crt").is_file() else None


def check_identity(voter: str, config: Path | None) -> None:
    """Raise ConfigurationError where this client could not vote as `voter`, who is another client."""
    place = at_config(find_config(config), identity=identity_of(voter, config))
    if place.identity and voter.startswith(CLIENT_PREFIX) and voter != place.identity:
        raise ConfigurationError(
            f"this was to vote as {voter[:80]}, but it is {place.identity}, and the keys of {voter[:80]} are not "
            f"here. Copy {voter[:80]}.crt, .key and .sign to the keys folder, or set {IDENTITY_VARIABLE}."
        )
