"""What people write of ballots: voters and electorates."""

from __future__ import annotations

from pathlib import Path

import msgspec

from quorum.certificate.ballot_forms import BALLOT_BYTES_MAX
from quorum.console.documents import read_bounded
from quorum.errors import ConfigurationError
from quorum.voting.ballot.terms import Voter


class _Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    weight: int = 1
    identity: str = ""
    key: str = ""


_DECODE = msgspec.json.Decoder(list[_Listed])


def voter_of(text: str, is_known_by_name: bool) -> Voter:
    """NAME, NAME=WEIGHT, NAME:KEY or NAME=WEIGHT:KEY, the key in hexadecimal. Without a key a voter is known by
    its name, if names are vouched for. Raises ConfigurationError for anything else."""
    head, _, key_text = text.partition(":")
    name, _, weight_text = head.partition("=")
    try:
        weight = int(weight_text) if weight_text else 1
        key = bytes.fromhex(key_text)
    except ValueError:
        raise ConfigurationError(
            f"{text[:100]!r} was to vote, but it is no voter. Write NAME, NAME=WEIGHT, or with the key that "
            "`quorum ballot key` prints NAME:KEY."
        ) from None
    return Voter(name, weight, name if is_known_by_name and not key else "", key)


def electorate_in(file: Path) -> list[Voter]:
    """The voters in a JSON file: a list of objects with name, and if wanted weight, identity and key. Raises
    ConfigurationError for what is none."""
    data = read_bounded(file, BALLOT_BYTES_MAX, "an electorate")
    try:
        listed = _DECODE.decode(data)
        return [Voter(each.name, each.weight, each.identity, bytes.fromhex(each.key)) for each in listed]
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError(
            f"{file} was to be an electorate, but it is none: {error}. Write a JSON list such as "
            '[{"name": "ann", "weight": 2, "key": "3f..."}].'
        ) from None
