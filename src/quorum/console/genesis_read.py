"""The committee of a genesis file that somebody named: what is wrong with it is said of that file."""

from __future__ import annotations

from pathlib import Path

from quorum.certificate.committee import Committee
from quorum.certificate.genesis import FILE_NAME, decode_genesis
from quorum.errors import ConfigurationError


def genesis_in(path: Path, data: bytes) -> Committee:
    """The committee in the content of the file at `path`. Raises ConfigurationError, naming it."""
    try:
        return decode_genesis(data)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{path} was to say which committee to trust, but it is no genesis file of a committee: {error} Name "
            f"the {FILE_NAME} that the cluster began with."
        ) from None
