"""Node and organisation files: what is taken as it is meant, and what is refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.systems.federated.analysis import analyse
from quorum.systems.federated.federation import DEPTH_MAX
from quorum.systems.federated.reading import groups_of, read_network, read_organizations

SET = {"threshold": 1, "validators": ["a"], "innerQuorumSets": []}


def nodes(*written: Any) -> bytes:
    return json.dumps(written).encode()


def node(quorum_set: Any = SET, key: Any = "a", **more: Any) -> dict[str, Any]:
    return {"publicKey": key, "quorumSet": quorum_set, **more}


def nested(levels: int) -> Any:
    inner: Any = SET
    for _ in range(levels - 1):
        inner = {"threshold": 1, "validators": [], "innerQuorumSets": [inner]}
    return inner


@pytest.mark.parametrize(
    "unknown",
    [
        {},
        {"quorumSet": None},
        {"quorumSet": {"threshold": 9007199254740991, "validators": [], "innerQuorumSets": []}},
        {"quorumSet": {"threshold": 1}},
    ],
)
def test_a_node_whose_quorum_set_is_not_known_is_in_no_quorum(unknown: dict[str, Any]) -> None:
    network = read_network(
        nodes({"publicKey": "a", **unknown}, node(key="b"), node({**SET, "validators": ["b"]}, "c"))
    )
    assert network.federation.quorum_sets["a"] is None
    assert analyse(network.federation).quorum is None


def test_fields_that_nobody_asked_for_are_left_alone() -> None:
    network = read_network(nodes(node(ip="127.0.0.1", geoData={"city": "B", "latitude": 1.5}, active=True)))
    assert analyse(network.federation).quorum == frozenset("a")
    assert network.countries == {}


def test_a_validator_that_the_file_does_not_describe_keeps_its_place() -> None:
    two_of = {"threshold": 2, "validators": ["a", "missing"]}
    assert analyse(read_network(nodes(node(two_of))).federation).quorum is None
    one_of = {"threshold": 1, "validators": ["a", "missing"]}
    assert analyse(read_network(nodes(node(one_of))).federation).quorum == frozenset("a")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"", "a node file was to be read, but it is none"),
        (b"{", "it is none"),
        (b"\xff\xfe[]", "it is none"),
        (b'{"nodes": []}', "it is none: Expected `array`, got `object`"),
        (b"[]", "names no node"),
        (nodes(node()) + b"]", "it is none"),
        (nodes("a"), "Expected `object`, got `str`"),
        (nodes({"quorumSet": SET}), "missing required field `publicKey`"),
        (nodes(node(key=7)), "Expected `str`, got `int`"),
        (nodes(node(key="")), "has a node with an empty public key"),
        (nodes(node(), node()), "describes a twice"),
        (nodes(node([])), "Expected `object | null`, got `array`"),
        (nodes(node({"validators": ["a"]})), "missing required field `threshold`"),
        (nodes(node({**SET, "threshold": "1"})), "Expected `int`, got `str`"),
        (nodes(node({**SET, "threshold": True})), "Expected `int`, got `bool`"),
        (nodes(node({**SET, "threshold": 1.5})), "Expected `int`, got `float`"),
        (nodes(node({**SET, "threshold": 0})), "threshold 0 of 1 members"),
        (nodes(node({"threshold": 0, "validators": []})), "threshold 0 of 0 members"),
        (nodes(node({**SET, "threshold": -1})), "threshold -1 of 1 members"),
        (nodes(node({**SET, "threshold": 2})), "threshold 2 of 1 members"),
        (nodes(node({**SET, "threshold": 2**64})), "threshold 18446744073709551616 of 1 members"),
        (nodes(node({**SET, "threshold": 9007199254740991})), "of 1 members"),
        (nodes(node({**SET, "innerQuorumSets": [{"threshold": 1}]})), "threshold 1 of 0 members"),
        (nodes(node({**SET, "validators": ["a", "a"]})), "with a twice in one list"),
        (nodes(node({**SET, "validators": "a"})), "Expected `array`, got `str`"),
        (nodes(node({**SET, "validators": [None]})), "Expected `str`, got `null`"),
        (nodes(node({**SET, "innerQuorumSets": SET})), "Expected `array`, got `object`"),
        (nodes(node(geoData=7)), "Expected `object | null`, got `int`"),
        (nodes(node(nested(DEPTH_MAX + 1))), "sets inside each other"),
        (nodes(node({**SET, "threshold": float("nan")})), "it is none"),
        (b'[{"publicKey": "a", "quorumSet": {"threshold": 1e400}}]', "it is none"),
        (
            b'[{"publicKey": "a", "quorumSet": ' + b'{"threshold": 1, "innerQuorumSets": [' * 50_000,
            "nested too deeply",
        ),
        (b"[" * 100_000, "it is none"),
    ],
)
def test_a_malformed_node_file_is_refused(written: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_network(written)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 600


def test_quorum_sets_as_deep_as_allowed_are_read() -> None:
    assert analyse(read_network(nodes(node(nested(DEPTH_MAX)))).federation).quorum == frozenset("a")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 2**70), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["publicKey", "quorumSet", "threshold", "validators", "x"]), inner),
    ),
    max_leaves=8,
)
SETS = st.fixed_dictionaries(
    {"threshold": st.one_of(st.integers(-1, 3), JSON)},
    optional={
        "validators": st.one_of(st.lists(st.sampled_from("abc"), max_size=3), JSON),
        "innerQuorumSets": JSON,
    },
)


@settings(max_examples=300)
@given(
    st.one_of(
        JSON, st.lists(st.fixed_dictionaries({"publicKey": st.text(max_size=1)}, optional={"quorumSet": SETS}))
    )
)
def test_no_json_makes_the_reader_fail_otherwise(written: Any) -> None:
    read = refused = None
    with contextlib.suppress(ConfigurationError):
        read = read_network(json.dumps(written).encode("utf-8", "surrogatepass"))
        refused = False
    assert (read is None) == (refused is None)


@settings(max_examples=300)
@given(st.binary(max_size=40))
def test_no_bytes_make_the_readers_fail_otherwise(written: bytes) -> None:
    for read in (read_network, read_organizations):
        try:
            found = read(b"[" + written)
        except ConfigurationError as error:
            found = str(error)
        assert found is not None


def test_organisations_group_nodes_and_leave_the_others_single() -> None:
    network = read_network(nodes(node(), node(key="b"), node(key="c")))
    owners = read_organizations(nodes({"id": "1", "name": "X", "validators": ["a", "b", "elsewhere"], "url": 5}))
    assert groups_of(network, "organization", owners) == {"a": "X", "b": "X", "c": "c"}
    assert groups_of(network, None, owners) is None


def test_two_organisations_of_one_name_are_told_apart_by_their_ids() -> None:
    written = [{"id": str(i), "name": "X", "validators": [f"v{i}"]} for i in (1, 2)]
    assert read_organizations(nodes(*written)) == {"v1": "X (1)", "v2": "X (2)"}


def test_countries_come_from_the_place_or_from_the_older_key() -> None:
    here = node(geoData={"countryName": "Chile"}, country="Peru")
    network = read_network(nodes(here, node(key="b", country="Peru"), node(key="c", geoData={"countryName": ""})))
    assert groups_of(network, "country") == {"a": "Chile", "b": "Peru", "c": "c"}


def test_without_an_organisation_file_the_ids_in_the_node_file_count() -> None:
    network = read_network(nodes(node(organizationId="o1"), node(key="b", organizationId="o1"), node(key="c")))
    assert groups_of(network, "organization") == {"a": "o1", "b": "o1", "c": "c"}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"7", "an organisation file was to be read, but it is none"),
        (nodes({"name": "X"}), "missing required field `validators`"),
        (nodes({"name": "X", "validators": [1]}), "Expected `str`, got `int`"),
        (nodes({"name": "", "validators": []}), "the name '' for two, or with none"),
        (nodes({"name": "X", "validators": []}, {"name": "X", "validators": []}), "'X (None)' for two"),
        (nodes({"name": "X", "validators": ["a"]}, {"name": "Y", "validators": ["a"]}), "a under X and Y"),
        (nodes({"name": "X", "validators": ["a", "a"]}), "a under X and X"),
    ],
)
def test_a_malformed_organisation_file_is_refused(written: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_organizations(written)
    assert said in str(refused.value)


def test_grouping_by_what_no_node_has_is_refused() -> None:
    network = read_network(nodes(node()))
    with pytest.raises(ConfigurationError, match="no node of the file has a country"):
        groups_of(network, "country")
    with pytest.raises(ConfigurationError, match=r"belongs to one\. Give the organisation file"):
        groups_of(network, "organization", {"b": "X"})


def test_a_group_that_has_the_key_of_a_node_outside_is_refused() -> None:
    network = read_network(nodes(node(), node(key="b")))
    with pytest.raises(ConfigurationError, match="Rename the group"):
        groups_of(network, "organization", {"a": "b"})
