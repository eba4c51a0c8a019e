"""cluster.toml of a cluster whose members may lie: what is refused, and the committee that follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from quorum.errors import ConfigurationError
from quorum.runtime.byzantine_config import committee_of, limits_of, system_of, tolerated, voters_of
from quorum.runtime.config import load_cluster, load_node, parse_cluster
from quorum.runtime.engine import PbftEngine
from quorum.runtime.keyring import load_client_signer, load_public_keys
from quorum.runtime.setup import init_cluster

FOUR = """
cluster_id = "c"
model = "byzantine"
"""


def members(count: int, more: str = "") -> str:
    return "".join(
        f'[[members]]\nid = "n{place}"\nlisten = "127.0.0.1:{7000 + place}"\n{more}\n'
        for place in range(1, count + 1)
    )


def test_the_engine_follows_from_the_model_and_t_from_n():
    cluster = parse_cluster(FOUR + members(4))
    assert (cluster.engine, tolerated(cluster)) == ("pbft", 1)
    assert [tolerated(parse_cluster(FOUR + members(count))) for count in (1, 4, 6, 7, 10)] == [0, 1, 1, 2, 3]


@pytest.mark.parametrize(("count", "quorum"), [(4, 3), (5, 4), (6, 4), (7, 5), (8, 6), (9, 6)])
def test_the_configuration_names_the_quorums_of_liars_not_the_majority(count, quorum):
    """ceil((N+T+1)/2), never 2T+1 off the sizes 3T+1."""
    cluster = parse_cluster(FOUR + members(count))
    nodes = sorted(f"n{place}" for place in range(1, count + 1))
    system = system_of(cluster)
    assert system.is_write_quorum(nodes[:quorum]) and not system.is_write_quorum(nodes[: quorum - 1])
    assert cluster.configuration().writes == str(system.writes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FOUR + "faults = 2\n" + members(6), "3T.1 = 7 are needed"),
        (FOUR + 'engine = "raft"\n' + members(4), 'engine = "raft" was asked for with model = "byzantine"'),
        (FOUR + 'reads = "n1"\nwrites = "choose(3, n1, n2, n3, n4)"\n' + members(4), "Give writes alone"),
        (FOUR + 'writes = "choose(2, n1, n2, n3, n4)"\n' + members(4), "share"),
        (FOUR + 'writes = "n1*n2*n3*n4"\n' + members(4), "no quorum is left"),
        (FOUR + members(4, 'role = "witness"'), "was not to vote"),
        (
            FOUR + 'policy = "adaptive"\nwrites = "choose(4, n1, n2, n3, n4, n5)"\n' + members(5),
            "Leave writes out",
        ),
        (FOUR + 'policy = "participation"\n' + members(5), "Use fixed or adaptive"),
        (FOUR + "[participation]\nfloor = 5\n" + members(5), "the floor is 3T.1"),
        (FOUR + '[participation]\nfunction = "a:b"\n' + members(5), "Leave them out"),
        (FOUR + "[timing]\nlease_reads = true\n" + members(4), "a lease is one member's word"),
    ],
)
def test_what_liars_could_break_is_refused_with_the_remedy(text, said):
    with pytest.raises(ConfigurationError, match=said):
        parse_cluster(text)


@pytest.mark.parametrize(
    ("count", "policy"), [(4, "fixed"), (5, "adaptive"), (6, "adaptive"), (7, "fixed"), (8, "adaptive")]
)
def test_a_new_cluster_gets_the_policy_that_its_size_allows_and_an_old_file_without_one_stays_fixed(
    tmp_path, count, policy
):
    assert init_cluster(tmp_path / "c", nodes=count, model="byzantine").config.policy == policy
    assert parse_cluster(FOUR + members(count)).policy == "fixed"


def test_complaints_and_returns_take_the_times_of_the_participation_table():
    table = '[participation]\nhold = "3s"\nstable = "4s"\nlag_entries = 5000\n'
    limits = limits_of(parse_cluster(FOUR + table + members(5)))
    assert (limits.hold_us, limits.stable_us, limits.lag_entries_max) == (3_000_000, 4_000_000, 50)


def test_weights_count_where_they_are_given():
    heavy = '[[members]]\nid = "n7"\nlisten = "127.0.0.1:7007"\nweight = 2\n'
    system = system_of(parse_cluster(FOUR + "faults = 1\n" + members(6) + heavy))
    assert system.is_write_quorum(("n1", "n2", "n3", "n4", "n7"))
    assert not system.is_write_quorum(("n1", "n2", "n3", "n4", "n5"))


def test_a_new_committee_has_a_key_for_each_member_and_client_and_a_genesis_file(tmp_path: Path):
    layout = init_cluster(tmp_path / "c", nodes=4, model="byzantine")
    committee = committee_of(load_cluster(layout.cluster), layout.keys)
    assert committee.keys == load_public_keys(layout.keys)
    assert (layout.folder / "genesis.json").is_file()
    assert len(load_client_signer(layout.keys, "client.admin").public_key) == 32


def test_a_node_whose_key_is_not_the_one_in_the_list_is_refused(tmp_path: Path):
    layout = init_cluster(tmp_path / "c", nodes=4, model="byzantine")
    mine, other = (layout.keys / f"node.{node}.sign" for node in ("n1", "n2"))
    mine.write_bytes(other.read_bytes())
    with pytest.raises(ConfigurationError, match="another public key"):
        PbftEngine(load_node(layout.nodes["n1"]), load_cluster(layout.cluster))


def test_a_missing_key_list_is_refused_with_the_remedy(tmp_path: Path):
    layout = init_cluster(tmp_path / "c", nodes=4, model="byzantine")
    (layout.keys / "signing-keys.json").unlink()
    with pytest.raises(ConfigurationError, match=r"signing-keys\.json"):
        PbftEngine(load_node(layout.nodes["n1"]), load_cluster(layout.cluster))


def test_a_learner_is_in_no_committee_and_believed_by_no_client_before_one_names_it():
    fifth = '[[members]]\nid = "n5"\nlisten = "127.0.0.1:7005"\nrole = "learner"\n'
    cluster = parse_cluster(FOUR + members(4) + fifth)
    assert cluster.configuration().members == ("n1", "n2", "n3", "n4")
    assert tuple(member.id for member in voters_of(cluster)) == ("n1", "n2", "n3", "n4")
    with pytest.raises(ConfigurationError, match=r"3T.1 = 7"):
        parse_cluster(FOUR + "faults = 2\n" + members(6) + fifth.replace("n5", "n7").replace("7005", "7007"))
