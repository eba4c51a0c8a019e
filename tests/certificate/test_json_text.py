"""A document that names a key twice says two things: it is refused, whichever of them would hold."""

from __future__ import annotations

import msgspec
import pytest

from quorum.certificate.json_text import read_once

DECODER = msgspec.json.Decoder(dict[str, object])


@pytest.mark.parametrize("text", ['{"a": 1, "b": {"a": 2}}', b"{}", bytearray(b'{"a": [{"b": 1}, {"b": 1}]}')])
def test_the_same_key_in_different_objects_is_no_harm(text):
    assert read_once(DECODER, text) == DECODER.decode(text)


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 1}', '{"c": {"a": 1, "b": 2, "a": 3}}', '{"c": [{"a": 1, "\\u0061": 1}]}']
)
def test_a_key_that_stands_twice_in_one_object_is_refused_by_name(text):
    assert DECODER.decode(text)
    with pytest.raises(ValueError, match="'a' twice"):
        read_once(DECODER, text)


def test_what_the_decoder_refuses_is_refused():
    with pytest.raises(msgspec.DecodeError):
        read_once(DECODER, "{")
