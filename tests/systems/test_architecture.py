"""The SYSTEM file: what it says is taken exactly, and what it should not say is answered."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.systems.architecture import Architecture, Mix, NodeTraits, probability
from quorum.systems.architecture_text import read_architecture
from quorum.systems.system import QuorumSystem

WHOLE = """
reads  = "a*b + c*d"
writes = "(a + b)*(c + d)"
read_fraction = 0.75
[nodes.a]
read_capacity = 200.0
write_capacity = 100.0
latency = 1.5
weight = 2
zone = "eu-1"
failure_probability = "1/100"
[nodes.b]
capacity = 70
failure_probability = 0.01
[zones.eu-1]
failure_probability = "1/1000"
"""
WHOLE_JSON = {
    "reads": "a*b + c*d",
    "writes": "(a + b)*(c + d)",
    "read_fraction": 0.75,
    "nodes": {
        "a": {
            "read_capacity": 200.0,
            "write_capacity": 100.0,
            "latency": 1.5,
            "weight": 2,
            "zone": "eu-1",
            "failure_probability": "1/100",
        },
        "b": {"capacity": 70, "failure_probability": 0.01},
    },
    "zones": {"eu-1": {"failure_probability": "1/1000"}},
}


def test_a_file_is_read_as_it_is_written_in_both_formats():
    for found in (read_architecture(WHOLE), read_architecture(json.dumps(WHOLE_JSON).encode())):
        assert found.system == QuorumSystem("a*b + c*d", "(a + b)*(c + d)")
        assert found.mixes == (Mix(0.75, 1.0),)
        assert found.traits("a") == NodeTraits(200.0, 100.0, 1.5, 2, "eu-1", Fraction(1, 100))
        assert found.traits("b") == NodeTraits(70.0, 70.0, failure_probability=Fraction(1, 100))
        assert found.traits("d") == NodeTraits()
        assert dict(found.zones) == {"eu-1": Fraction(1, 1000)}
        assert found.fails


def test_writes_that_are_left_out_are_the_dual_of_the_reads_and_the_reverse():
    assert read_architecture('reads = "a*b + c*d"').system == QuorumSystem("a*b + c*d")
    assert read_architecture('writes = "a*b"').system == QuorumSystem(writes="a*b")
    assert not read_architecture('reads = "a"').fails


def test_nodes_alone_decide_by_the_majority_of_their_weights():
    found = read_architecture('{"nodes": {"a": {"weight": 3}, "b": {}, "c": {}}}')
    assert found.system.is_read_quorum({"a"}) and not found.system.is_write_quorum({"b", "c"})


def test_a_distribution_of_read_fractions_is_normalised():
    found = read_architecture('{"reads": "a", "read_fraction": {"0.25": 4, "1": 12}}')
    assert found.mixes == (Mix(0.25, 0.25), Mix(1.0, 0.75))
    assert found.mean_read_fraction == pytest.approx(0.8125)
    assert read_architecture('reads = "a"\n[read_fraction]\n"0.5" = 2').mixes == (Mix(0.5, 1.0),)


@pytest.mark.parametrize("given", ["1/100", "0.01", 0.01, Fraction(1, 100), "1e-2"])
def test_a_probability_is_kept_without_rounding(given: Fraction | float | str):
    assert probability(given, "node a") == Fraction(1, 100)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("reads = ", "cannot be: Invalid value"),
        ("", "somebody must decide"),
        ('{"reads": "a"', "a system in JSON was to be read"),
        ('{"reads": "a", "reads": "b"}', "is there twice"),
        ('{"reads": "a", "nodes": {"a": {"latency": NaN}}}', "NaN is no number of JSON"),
        ("{" + '"a":{' * 100_000, "a system in JSON was to be read"),
        ("[" * 5_000, "cannot be"),
        ("a = " + "[" * 5_000, "cannot be"),
        ("{" + '"reads": ' + "1" * 5_000 + "}", "cannot be"),
        ('read = "a"', "did you mean reads?"),
        ('reads = "a"\n[nodes.a]\nlatencey = 1', "did you mean latency?"),
        ('reads = "a"\n[zones.x]\nlatency = 1', "zone x has the key 'latency'"),
        ("reads = 5", "are an expression in quotes"),
        ('reads = "a*"', "a node was expected"),
        ('reads = "' + "(" * 200 + "a" + ")" * 200 + '"', "nests deeper"),
        ('reads = "a"\nnodes = 3', "nodes is a table"),
        ('reads = "a"\n[nodes]\na = 3', "it is a table of keys"),
        ('reads = "a"\n[nodes."b\\nc"]', "could not be shown"),
        ('reads = "a"\n[nodes.a]\ncapacity = 0', "leave a node that serves nothing out"),
        ('reads = "a"\n[nodes.a]\nread_capacity = -5', "counts operations per second"),
        ('reads = "a"\n[nodes.a]\nwrite_capacity = nan', "counts operations per second"),
        ('reads = "a"\n[nodes.a]\nwrite_capacity = inf', "counts operations per second"),
        ('reads = "a"\n[nodes.a]\ncapacity = true', "counts operations per second"),
        ('reads = "a"\n[nodes.a]\ncapacity = "100"', "counts operations per second"),
        ('reads = "a"\n[nodes.a]\nlatency = -1', "it is in seconds"),
        ('reads = "a"\n[nodes.a]\nlatency = inf', "it is in seconds"),
        ('reads = "a"\n[nodes.a]\nweight = 1.5', "a weight counts votes"),
        ('reads = "a"\n[nodes.a]\nzone = 1', "a zone is a name"),
        ('reads = "a"\n[nodes.a]\nfailure_probability = 1.5', "it lies from 0 to 1"),
        ('reads = "a"\n[nodes.a]\nfailure_probability = "1/0"', "it lies from 0 to 1"),
        ('reads = "a"\n[nodes.a]\nfailure_probability = "1e-99999999"', "it lies from 0 to 1"),
        ('reads = "a"\n[nodes.a]\nfailure_probability = nan', "it lies from 0 to 1"),
        ('reads = "a"\n[zones.x]\nfailure_probability = [1]', "it lies from 0 to 1"),
        ('reads = "a"\nread_fraction = 1.1', "the share of reads among requests"),
        ('reads = "a"\nread_fraction = true', "the share of reads among requests"),
        ('reads = "a"\nread_fraction = "0.5"', "the share of reads among requests"),
        ('reads = "a"\n[read_fraction]', "without a read fraction"),
        ('reads = "a"\n[read_fraction]\nhalf = 1', "different fractions from 0 to 1 in quotes"),
        ('reads = "a"\n[read_fraction]\n"0.5" = 1\n"0.50" = 1', "different fractions from 0 to 1 in quotes"),
        ('reads = "a"\n[read_fraction]\n"0.5" = 0', "how much of the time"),
        ('reads = "a"\n[read_fraction]\n"0.5" = -1', "how much of the time"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(text: str, said: str):
    with pytest.raises(ConfigurationError) as refused:
        read_architecture(text)
    message = str(refused.value)
    assert said in message
    assert "but" in message and message.endswith(".") and len(message) < 1_000


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(ConfigurationError, match="byte 9 is not UTF-8"):
        read_architecture(b'reads = "\xff"')
    with pytest.raises(ConfigurationError, match="bytes was given"):
        read_architecture(b" " * (16 * 2**20 + 1))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    (
        "reads",
        "writes",
        "read_fraction",
        "nodes",
        "zones",
        "a",
        "capacity",
        "latency",
        "weight",
        "failure_probability",
    )
)
shaped = st.recursive(json_values, lambda inner: st.dictionaries(keys, inner, max_size=4), max_leaves=8)


def outcome(text: str) -> Architecture | str:
    """What was read, or the refusal."""
    try:
        return read_architecture(text)
    except ConfigurationError as error:
        return str(error)


@settings(max_examples=100)
@given(shaped)
def test_whatever_is_in_the_file_is_read_or_refused(value: object):
    found = outcome(json.dumps({"reads": "a*b"} | value if isinstance(value, dict) else value))
    assert found.mixes if isinstance(found, Architecture) else "but" in found


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_whatever_text_there_is_is_read_or_refused(text: str):
    found = outcome(text)
    assert found.system.nodes if isinstance(found, Architecture) else "but" in found


def test_a_side_without_nodes_has_nothing_to_plan():
    from quorum.systems.algebra import ALWAYS

    with pytest.raises(ConfigurationError, match="nothing to plan"):
        Architecture(QuorumSystem(ALWAYS, ALWAYS))
