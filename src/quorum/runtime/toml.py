"""TOML for people: read with an answer to every mistake, written so that it is pleasant to edit."""

from __future__ import annotations

import difflib
import stat
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from quorum.errors import ConfigurationError

FILE_BYTES_MAX = 1024 * 1024
PATH_CHARACTERS_MAX = 300

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def read_text(path: Path, what: str) -> str:
    """The text of a file that ought to be a `what`.

    Raises ConfigurationError when it cannot be read, is no regular file, is too large, or is no UTF-8 text.
    """
    name = shown_path(path)
    try:
        mode = path.stat().st_mode
        data = b""
        if stat.S_ISREG(mode):  # a pipe would block
            with path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"{name} was to be read as a {what}, but that failed ({reason}). "
            "Check the path and its permissions, or make a cluster with `quorum init`."
        ) from None
    if stat.S_ISDIR(mode):
        raise ConfigurationError(
            f"{name} was to be a {what}, but it is a folder. Name the file, such as {shown_path(path / what)}."
        )
    if not stat.S_ISREG(mode):
        raise ConfigurationError(f"{name} was to be a {what}, but it is no regular file. Name a file.")
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError(
            f"{name} was to be a {what}, but it is larger than {FILE_BYTES_MAX} bytes. Is it the right file?"
        )
    if 0 in data:
        raise ConfigurationError(
            f"{name} was to be a {what}, but byte {data.index(0)} is NUL: it is no text. Is it the right file?"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{name} was to be a {what}, but byte {error.start} is not UTF-8. Save it as UTF-8 text."
        ) from None


def parse(text: str) -> dict[str, Any]:
    """The values of a TOML text. Raises ConfigurationError, and nothing else, with the line of the mistake."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        reason = "its values are nested too deeply"
    except ValueError as error:  # TOMLDecodeError is one; a number of too many digits raises a plain one
        reason = str(error)
    raise ConfigurationError(
        f"TOML was expected, but it cannot be read: {reason}. Correct that line; `quorum init` writes an example."
    )


def check_keys(
    raw: dict[str, Any], kind: type[msgspec.Struct], place: str, whole: type[msgspec.Struct] | None = None
) -> None:
    """Raise ConfigurationError, with the nearest known key, when `raw` has a key that `kind` does not know.

    `place` is what stands before the keys, such as `timing.`. A key of the `whole` file, in a section of it, is
    said to be that.
    """
    above = [] if whole is None else [field.encode_name for field in msgspec.structs.fields(whole)]
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for key in raw:
        if key not in known and key in above:
            raise ConfigurationError(
                f"the key {shown(place + key)} was given, but {key} is a key of the whole file, and this line "
                "stands in a section. Move it above the first line that begins with [."
            )
        if key not in known:
            raise ConfigurationError(
                f"the key {shown(place + key)} was given, but there is none of that name"
                f"{did_you_mean(key, known)}. The keys here are {', '.join(known)}."
            )


def convert(raw: dict[str, Any], kind: type[_Struct]) -> _Struct:
    """`raw` as a `kind`, each value of exactly the declared type. Raises ConfigurationError that names the key."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        place = place.rstrip("`").lstrip(".") or "the file"
    for ours, theirs in ((" | null", ""), ("`object`", "a table"), ("`array`", "an array"), ("`str`", "text")):
        reason = reason.replace(ours, theirs)
    if "missing required field" in reason:
        key = reason.split("`")[1]
        raise ConfigurationError(
            f"{place} was read, but it lacks the key `{key}`. Add a line `{key} = ...` to it."
        )
    remedy = "Correct its value."
    if choices := _choices(kind, place):
        remedy = f"Write one of {', '.join(map(repr, choices))}."
    raise ConfigurationError(f"{place} was given, but it does not fit: {reason}. {remedy}")


def _choices(kind: Any, place: str) -> tuple[str, ...]:
    """What may stand at this place, where it is one of a few texts."""
    for key in place.split("."):
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            return ()
        kind = next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == key), None)
    return get_args(kind) if get_origin(kind) is Literal else ()


def shown(value: object) -> str:
    """A value as an error message quotes it: on one line, escaped, not too long."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # an integer of very many digits; tables nested very deeply
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def shown_path(path: Path | str) -> str:
    """A path as an error message names it: printable, and not too long."""
    text = str(path)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= PATH_CHARACTERS_MAX else f"{text[: PATH_CHARACTERS_MAX - 3]}..."


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A hint to put after an unknown `word`, or nothing when no known one is near."""
    near = difflib.get_close_matches(word[:100], known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def quoted(text: str) -> str:
    """`text` as a TOML basic string. Raises ConfigurationError for half characters, which no file can hold."""
    try:
        # A JSON string is a TOML one, but for the delete character.
        return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{shown(text)} was to be written, but it has half a character in it. Use whole ones."
        ) from None
