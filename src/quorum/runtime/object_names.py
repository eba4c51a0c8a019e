"""`[objects]` in cluster.toml: a name for each replicated object, and MODULE:CLASS for its class."""

from __future__ import annotations

import re

from quorum.errors import ConfigurationError
from quorum.runtime import toml

_PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def check_place(key: str, place: object) -> None:
    """Raise ConfigurationError unless `place`, given under `key`, is MODULE:CLASS."""
    if not isinstance(place, str) or _PLACE.fullmatch(place) is None:
        raise ConfigurationError(
            f"{key} = {toml.shown(place)} was given, but a class is named by its module and its name. Write it "
            "like "
            '"shop.models:Stock".'
        )


def named_objects(value: object) -> dict[str, str]:
    """What `objects` in cluster.toml says; one MODULE:CLASS alone is an object with the name of its class, in
    small letters. Raises ConfigurationError."""
    if isinstance(value, str):
        value = {value.rpartition(":")[2].lower(): value}
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"objects = {toml.shown(value)} was given, but objects have names and classes. Write a table "
            '[objects] with lines like: stock = "shop:Stock".'
        )
    for name, place in value.items():
        check_place(f"objects.{name}", place)
    return value
