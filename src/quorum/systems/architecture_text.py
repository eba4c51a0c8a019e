"""The SYSTEM file as text, TOML or JSON with the same keys, read into an `Architecture`.

reads = "a*b + c*d"             writes omitted: the dual; both omitted: the majority of the nodes by weight
read_fraction = 0.75            or a table of fraction to weight
[nodes.a]                       read_capacity, write_capacity, capacity (both), latency (seconds), weight,
read_capacity = 200.0           zone, failure_probability (a number, or an exact fraction as "1/100")
[zones.eu-1]
failure_probability = "1/1000"
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Literal, NoReturn

from quorum.errors import ConfigurationError
from quorum.systems.architecture import PLAIN, Architecture, NodeTraits, mixes_of, probability, shown
from quorum.systems.classic import weighted
from quorum.systems.system import QuorumSystem

TEXT_BYTES_MAX = 16 * 2**20
KEYS = ("reads", "writes", "read_fraction", "nodes", "zones")
NODE_KEYS = ("read_capacity", "write_capacity", "capacity", "latency", "weight", "zone", "failure_probability")
ZONE_KEYS = ("failure_probability",)
NAME_CHARACTERS_MAX = 255

Format = Literal["toml", "json"]


def read_architecture(data: bytes | str, form: Format | None = None) -> Architecture:
    """Read a SYSTEM text. Without `form`, text whose first sign is `{` is JSON and all other text is TOML.

    Raises ConfigurationError, and nothing else, for whatever is wrong with it: it names the key and the remedy.
    """
    text = _text_of(data)
    if form is None:
        form = "json" if text.lstrip().startswith("{") else "toml"
    raw = _json(text) if form == "json" else _toml(text)
    _check_keys(raw, KEYS, "the file")
    nodes = {name: _node(name, each) for name, each in _tables(raw, "nodes")}
    zones = {name: _zone(name, each) for name, each in _tables(raw, "zones")}
    return Architecture(_system(raw, nodes), nodes, zones, _read_fraction(raw.get("read_fraction", 0.5)))


def _text_of(data: bytes | str) -> str:
    if len(data) > TEXT_BYTES_MAX:
        raise ConfigurationError(
            f"a system of {len(data):,} bytes was given, but {TEXT_BYTES_MAX:,} is the limit. Use choose(k, ...) "
            "in place of written-out lists."
        )
    if isinstance(data, str):
        return data
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"a system was to be read, but byte {error.start} is not UTF-8. Save the file as UTF-8 text."
        ) from None


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        reason = "its values are nested too deeply"
    except ValueError as error:  # TOMLDecodeError is one; a number of too many digits raises a plain one
        reason = str(error)
    _unreadable("TOML", reason)


def _json(text: str) -> dict[str, Any]:
    try:
        raw = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        _unreadable("JSON", "its values are nested too deeply")
    except ValueError as error:
        _unreadable("JSON", str(error))
    if not isinstance(raw, dict):
        _unreadable("JSON", "it is no object of keys and values")
    return raw


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for place, (key, _) in enumerate(pairs) if key in dict(pairs[:place]))
        raise ValueError(f"the key {shown(twice)} is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _unreadable(form: str, reason: str) -> NoReturn:
    raise ConfigurationError(
        f"a system in {form} was to be read, but it cannot be: {reason[:200]}. Correct that place; a whole system "
        'is the one line: reads = "a*b + c*d".'
    )


def _system(raw: Mapping[str, Any], nodes: Mapping[str, NodeTraits]) -> QuorumSystem:
    reads, writes = (_expression(raw, side) for side in ("reads", "writes"))
    if reads is not None or writes is not None:
        return QuorumSystem(reads, writes)
    if not nodes:
        raise ConfigurationError(
            "a system without reads, writes or nodes was given, but somebody must decide. Add a line, as: "
            'reads = "majority(a, b, c)".'
        )
    return weighted({node: traits.weight for node, traits in nodes.items()})


def _expression(raw: Mapping[str, Any], side: str) -> str | None:
    text = raw.get(side)
    if text is not None and not isinstance(text, str):
        raise ConfigurationError(
            f"{side} = {shown(text)} was given, but {side} are an expression in quotes. Write it like "
            f'{side} = "a*b + c*d".'
        )
    return text


def _tables(raw: Mapping[str, Any], key: str) -> Iterable[tuple[str, dict[str, Any]]]:
    given = raw.get(key, {})
    if not isinstance(given, dict):
        raise ConfigurationError(
            f"{key} = {shown(given)} was given, but {key} is a table with one table for each name. Write "
            f"[{key}.NAME] and its keys below it."
        )
    for name, each in given.items():
        if not 0 < len(name) <= NAME_CHARACTERS_MAX or not name.isprintable():
            raise ConfigurationError(
                f"{shown(name)} was given as a name in {key}, but it could not be shown in a message. Use 1 to "
                f"{NAME_CHARACTERS_MAX} printable characters."
            )
        if not isinstance(each, dict):
            raise ConfigurationError(
                f"{key}.{shown(name)} = {shown(each)} was given, but it is a table of keys. Write "
                f"[{key}.{name[:60]}] and its keys below it."
            )
        yield name, each


def _node(name: str, raw: dict[str, Any]) -> NodeTraits:
    _check_keys(raw, NODE_KEYS, f"node {name}")
    zone = raw.get("zone")
    if zone is not None and not isinstance(zone, str):
        raise ConfigurationError(
            f"node {name} was given the zone {shown(zone)}, but a zone is a name. Put it in quotes."
        )
    failing = raw.get("failure_probability")
    both = raw.get("capacity", PLAIN.read_capacity)
    return NodeTraits(
        read_capacity=raw.get("read_capacity", both),
        write_capacity=raw.get("write_capacity", both),
        latency=raw.get("latency", PLAIN.latency),
        weight=raw.get("weight", PLAIN.weight),
        zone=zone,
        failure_probability=None if failing is None else probability(failing, f"node {name}"),
    )


def _zone(name: str, raw: dict[str, Any]) -> Fraction:
    _check_keys(raw, ZONE_KEYS, f"zone {name}")
    return probability(raw.get("failure_probability", 0), f"zone {name[:60]!r}")


def _read_fraction(given: Any) -> float | dict[float, float]:
    if not isinstance(given, dict):
        if not isinstance(given, (int, float)):
            raise ConfigurationError(
                f"read_fraction = {shown(given)} was given, but it is the share of reads among requests. Write "
                "a number from 0 to 1, or a table of fractions and weights."
            )
        mixes_of(given)
        return float(given)
    found: dict[float, float] = {}
    for key, weight in given.items():
        try:
            fraction = float(key)
        except ValueError:
            fraction = float("nan")
        if not 0 <= fraction <= 1 or fraction in found:
            raise ConfigurationError(
                f"read_fraction has the key {shown(key)}, but its keys are different fractions from 0 to 1 in "
                'quotes, each with its weight. Write it like "0.25" = 4.'
            )
        found[fraction] = weight
    return found


def _check_keys(raw: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in raw:
        if key not in known:
            near = difflib.get_close_matches(key[:100], known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ConfigurationError(
                f"{where} has the key {shown(key)}, but there is none of that name{hint}. The keys here are "
                f"{', '.join(known)}."
            )
