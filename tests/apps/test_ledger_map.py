"""The authenticated map: its root, and what its paths prove."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.apps.ledger_map import AuthenticatedMap, map_of
from quorum.certificate import sparse_merkle
from quorum.certificate.sparse_merkle import EMPTY, MapPath, is_mapped, leaf_hash, place_of, value_hash

KEYS = st.binary(max_size=2)
CHANGES = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=3)), max_size=60)


def built(changes) -> tuple[AuthenticatedMap, dict[bytes, bytes]]:
    made, model = AuthenticatedMap(), {}
    for key, value in changes:
        made = made.with_changes({key: value})
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value
    return made, model


@pytest.fixture(params=["spread", "crowded"])
def places(request, monkeypatch):
    """Places as they are, and places that share all but their last bits, as an adversary would like them."""
    if request.param == "crowded":
        import quorum.apps.ledger_map as where

        def crowded(key: bytes) -> bytes:
            return bytes(28) + int.from_bytes(key, "big").to_bytes(3, "big") + bytes([len(key)])

        monkeypatch.setattr(sparse_merkle, "place_of", crowded)
        monkeypatch.setattr(where, "place_of", crowded)


@given(changes=CHANGES, asked=st.lists(KEYS, max_size=10))
def test_a_map_holds_what_was_written_and_proves_it_and_what_is_absent(changes, asked):
    made, model = built(changes)
    assert dict(made.items()) == model
    assert len(made) == len(model)
    for key in [*model, *asked]:
        value, path = made.prove(key)
        assert value == model.get(key) == made.get(key)
        assert is_mapped(made.root, key, value, path)
        assert not is_mapped(made.root, key, b"another" if value is None else None, path)
        assert not is_mapped(bytes(range(32)), key, value, path)


def test_crowded_places_prove_the_same(places):
    keys = [bytes([number]) for number in range(64)] + [b"a", b"ab", b"abc"]
    made = map_of((key, key * 2) for key in dict.fromkeys(keys))
    for key in keys:
        assert is_mapped(made.root, key, key * 2, made.prove(key)[1])
    for key in keys[1:]:
        made = made.with_changes({key: None})
        assert is_mapped(made.root, key, None, made.prove(key)[1])
    assert made.root == map_of([(keys[0], keys[0] * 2)]).root


@given(changes=CHANGES)
def test_the_root_depends_on_the_content_alone(changes):
    made, model = built(changes)
    assert made.root == map_of(sorted(model.items())).root == map_of(sorted(model.items(), reverse=True)).root
    assert made.root == AuthenticatedMap().with_changes(model).root
    assert (made.root == EMPTY) == (not model)


@given(changes=CHANGES, more=CHANGES)
def test_an_old_version_stays_as_it_was(changes, more):
    made, model = built(changes)
    root = made.root
    made.with_changes(dict(more))
    assert made.root == root
    assert dict(made.items()) == model


@given(items=st.dictionaries(KEYS, st.binary(max_size=3), min_size=2, max_size=40), data=st.data())
def test_an_altered_path_proves_nothing(items, data):
    made = map_of(items.items())
    key = data.draw(st.sampled_from(sorted(items)))
    value, path = made.prove(key)
    place = data.draw(st.integers(0, len(path.beside) - 1))
    byte = data.draw(st.integers(0, 31))
    beside = list(path.beside)
    beside[place] = bytes(each ^ (at == byte) for at, each in enumerate(beside[place]))
    assert not is_mapped(made.root, key, value, MapPath(tuple(beside)))
    assert not is_mapped(made.root, key, value, MapPath(path.beside[:-1]))
    assert not is_mapped(made.root, key, value, MapPath((*path.beside, EMPTY)))
    assert not is_mapped(made.root, key, value, MapPath((*path.beside[:-1], b"short")))
    assert not is_mapped(made.root, key, value, MapPath((EMPTY,) * 257))


def test_absence_is_not_proven_by_the_leaf_of_the_key_itself():
    made = map_of([(b"a", b"1")])
    itself = (place_of(b"a"), value_hash(b"1"))
    assert leaf_hash(*itself) == made.root
    assert not is_mapped(made.root, b"a", None, MapPath((), itself))
    assert is_mapped(made.root, b"b", None, MapPath((), itself))


def test_a_key_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        map_of([(b"a", b"1"), (b"a", b"2")])
