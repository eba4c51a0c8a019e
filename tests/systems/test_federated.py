"""Federated quorums: every figure against brute force, worked examples, and the published network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.systems.federated import search
from quorum.systems.federated.analysis import Figures, analyse, find_disjoint
from quorum.systems.federated.core import core, quorum_components
from quorum.systems.federated.federation import DEPTH_MAX, Federation, QuorumSet
from quorum.systems.federated.reading import Network, groups_of, read_network, read_organizations
from quorum.systems.federated.symmetry import symmetry_of
from quorum.systems.federated.witness import is_quorum, verify_disjoint
from systems.federations import Answer, QuorumSets, brute_force, core_of, of, quorums, tangles, teamed

FEDERATIONS = st.one_of(tangles(), teamed())
SCOPES = st.sampled_from(["core", "all"])


def answer(figures: Figures) -> Answer:
    return Answer(
        figures.intersection,
        figures.top_tier,
        figures.minimal_blocking_size,
        figures.minimal_splitting_size,
        figures.minimal_quorum_size,
    )


@settings(max_examples=250, deadline=None)
@given(FEDERATIONS, SCOPES)
def test_every_figure_agrees_with_brute_force(sets: QuorumSets, scope: str) -> None:
    assert answer(analyse(Federation(sets), scope)) == brute_force(sets, scope)


@settings(max_examples=120, deadline=None)
@given(FEDERATIONS, SCOPES, st.data())
def test_every_figure_by_group_agrees_with_brute_force(sets: QuorumSets, scope: str, data: st.DataObject) -> None:
    groups = {name: data.draw(st.sampled_from(["G", "H", name])) for name in sets}
    assert answer(analyse(Federation(sets), scope, groups)) == brute_force(sets, scope, groups)


@settings(max_examples=120, deadline=None)
@given(FEDERATIONS, SCOPES)
def test_every_set_that_is_shown_has_what_it_is_shown_for(sets: QuorumSets, scope: str) -> None:
    figures = analyse(Federation(sets), scope)
    scoped = {name: sets[name] for name in core_of(sets)} if scope == "core" else sets
    if figures.witness is not None:
        assert verify_disjoint(sets, *figures.witness)
        assert set(figures.witness) <= set(quorums(sets)), "both are minimal"
    assert figures.quorum is None or is_quorum(sets, figures.quorum)
    left = {name: mine for name, mine in sets.items() if name not in figures.blocking}
    assert quorums(left) == []
    if figures.splitting is not None:
        apart = quorums(scoped, figures.splitting)
        assert any(not one & other for one in apart for other in apart)


@given(FEDERATIONS)
def test_the_core_is_what_its_definition_says(sets: QuorumSets) -> None:
    federation = Federation(sets)
    assert federation.named(core(federation)) == core_of(sets)


def test_a_node_alone_is_its_own_quorum() -> None:
    assert answer(analyse(Federation({"a": of(1, "a")}))) == (True, ("a",), 1, None, 1)


def test_without_any_quorum_nothing_can_be_split_and_nothing_need_be_stopped() -> None:
    figures = analyse(Federation({"a": of(2, "a", "missing"), "b": None}))
    assert answer(figures) == (True, (), 0, None, None)
    assert figures.nodes == 0


def test_two_thirds_of_a_symmetric_cluster_are_counted_exactly() -> None:
    """3f+1 nodes that all want 2f+1 of all: f+1 can stop or split them."""
    nodes = [f"n{i}" for i in range(10)]
    figures = analyse(Federation(dict.fromkeys(nodes, of(7, *nodes))))
    assert answer(figures) == (True, tuple(nodes), 4, 4, 7)


def test_a_ring_is_split_by_every_second_node() -> None:
    """Who is deleted satisfies everybody: Mazieres (2015), section 4.2. The ring has one quorum, all nodes."""
    ring = Federation({"a": of(1, "b"), "b": of(1, "c"), "c": of(1, "d"), "d": of(1, "a")})
    figures = analyse(ring)
    assert (figures.minimal_quorum_size, figures.minimal_splitting_size) == (4, 2)
    assert figures.splitting in (frozenset("ac"), frozenset("bd"))


def test_a_liar_splits_by_its_quorum_set_although_there_is_one_quorum_alone() -> None:
    sets: QuorumSets = {
        "a": of(3, "a", "b", "c"),
        "b": of(3, "a", "b", "c"),
        "c": of(5, *"abcde"),
        "d": of(3, "c", "d", "e"),
        "e": of(3, "c", "d", "e"),
    }
    figures = analyse(Federation(sets))
    assert figures.quorum == frozenset("abcde")
    assert figures.splitting == frozenset("c")


def test_a_node_at_the_edge_is_split_off_by_fewer_than_the_core() -> None:
    """The scope decides: `w` trusts `a` alone, so `a` can tell it something else."""
    sets: QuorumSets = dict.fromkeys("abcd", of(3, *"abcd"))
    federation = Federation(sets | {"w": of(1, "a")})
    assert analyse(federation, "core").minimal_splitting_size == 2
    figures = analyse(federation, "all")
    assert (figures.minimal_splitting_size, figures.splitting) == (1, frozenset("a"))


def test_two_components_with_a_quorum_each_are_a_witness() -> None:
    sets: QuorumSets = {"a": of(2, "a", "b"), "b": of(2, "a", "b"), "c": of(1, "c", "a")}
    federation = Federation(sets)
    assert len(quorum_components(federation)) == 2
    assert set(find_disjoint(federation) or ()) == {frozenset("ab"), frozenset("c")}
    assert analyse(federation).minimal_splitting_size == 0


def test_a_node_of_the_core_need_not_be_of_the_top_tier() -> None:
    """`b` names `e`, so both are of one component; but every quorum that has `e` holds one without it."""
    sets: QuorumSets = dict.fromkeys("cd", of(2, *"bcd"))
    sets |= {"b": of(1, of(2, *"bcd"), of(3, *"bce")), "e": of(3, *"bce")}
    figures = analyse(Federation(sets))
    assert answer(figures) == brute_force(sets, "core")
    assert (figures.nodes, figures.top_tier) == (4, ("b", "c", "d"))


def test_organisations_are_swapped_as_a_whole_only_where_nothing_changes() -> None:
    teams = [of(2, *(f"{team}{i}" for i in "123")) for team in "abcd"]
    common = of(3, *teams)
    federation = Federation({f"{team}{i}": common for team in "abcd" for i in "123"})
    symmetry = symmetry_of(federation)
    assert [len(each) for each in symmetry.lists] == [4]
    assert [len(each) for each in symmetry.nodes] == [3, 3, 3, 3]
    odd = Federation({name: (of(2, *teams) if name == "a1" else common) for name in federation.names})
    assert [len(each) for each in symmetry_of(odd).lists] == [3]
    grouped = symmetry_of(federation, {name: "X" if name in ("a1", "b1") else name for name in federation.names})
    assert [len(each) for each in grouped.lists] == [2]


def test_sixteen_organisations_of_three_are_settled() -> None:
    """Of 48 nodes no list of quorums could be made; what is symmetric is looked at once."""
    teams = [of(2, *(f"o{team}n{i}" for i in "123")) for team in range(16)]
    common = of(11, *teams)
    figures = analyse(Federation({name: common for team in teams for name in team.validators}))
    assert (figures.minimal_quorum_size, figures.minimal_blocking_size) == (22, 12)
    assert (figures.minimal_splitting_size, len(figures.top_tier)) == (6, 48)


def test_a_witness_with_a_flaw_is_refused() -> None:
    sets: QuorumSets = {"a": of(1, "a"), "b": of(1, "b"), "c": of(2, "b", "c"), "d": None}
    good = frozenset("a"), frozenset("b")
    assert verify_disjoint(sets, *good)
    assert not verify_disjoint(sets, frozenset("a"), frozenset("ab")), "they share a node"
    assert not verify_disjoint(sets, frozenset("a"), frozenset("c")), "c needs b"
    assert not verify_disjoint(sets, frozenset("a"), frozenset()), "nobody is no quorum"
    assert not verify_disjoint(sets, frozenset("a"), frozenset("bd")), "what d needs is not known"
    assert not verify_disjoint(sets, frozenset("a"), frozenset({"b", "stranger"}))


def test_brute_force_notices_a_search_that_is_wrong() -> None:
    """A negative control: a search that takes another federation for this one is found out."""
    sets: QuorumSets = dict.fromkeys("abcd", of(3, *"abcd"))
    wrong = Federation(dict.fromkeys("abcd", of(2, *"abcd")))
    assert answer(analyse(wrong)) != brute_force(sets, "core")


@pytest.mark.parametrize(
    "wrong",
    [
        of(0, "a"),
        of(-1, "a"),
        of(2, "a"),
        of(1, "a", "a"),
        of(1, of(2, "a")),
        QuorumSet(1),
        of(1, "a", QuorumSet(0)),
    ],
)
def test_a_quorum_set_that_means_nothing_is_refused(wrong: QuorumSet) -> None:
    with pytest.raises(ConfigurationError, match="the quorum set of a was given"):
        Federation({"a": wrong})


def test_quorum_sets_inside_each_other_have_a_bound() -> None:
    deep = of(1, "a")
    for _ in range(DEPTH_MAX - 1):
        deep = of(1, deep)
    assert analyse(Federation({"a": deep})).quorum == frozenset("a")
    with pytest.raises(ConfigurationError, match="sets inside each other"):
        Federation({"a": of(1, deep)})


def test_a_search_that_gives_up_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CONFLICTS_MAX", 1)
    names, drawn = [f"n{i}" for i in range(20)], Random(1)
    sets = {name: of(7, *drawn.sample(names, 10)) for name in names}
    with pytest.raises(ConfigurationError, match="1 attempts did not settle it"):
        analyse(Federation(sets))


def test_quorum_systems_load_no_solver() -> None:
    code = (
        "import sys, quorum.systems, quorum.systems.federated.analysis as a, quorum.systems.federated.reading\n"
        "from quorum.systems.federated.federation import Federation, QuorumSet\n"
        "a.find_disjoint(Federation({'a': QuorumSet(1, ('a',)), 'b': QuorumSet(1, ('b',))}))\n"
        "a.find_disjoint(Federation(dict.fromkeys('abc', QuorumSet(2, ('a', 'b', 'c')))))\n"
        "sys.exit('pysat' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def folder() -> Path:
    found = os.environ.get("QUORUM_TEST_DATA")
    if not found:
        pytest.skip("QUORUM_TEST_DATA is not set: the files of the Stellar network are not here")
    return Path(found)


@pytest.fixture(scope="module")
def stellar(folder: Path) -> Network:
    return read_network((folder / "stellar_nodes_2019-09-17.json").read_bytes())


def test_the_published_figures_of_the_network_of_2019_hold(stellar: Network) -> None:
    """Test data of Florian et al.: top tier 17, blocking 4, splitting 3, quorums 8, in the core."""
    figures = analyse(stellar.federation, "core")
    assert answer(figures)[2:] == (4, 3, 8)
    assert (figures.intersection, len(figures.top_tier), len(stellar.federation.names)) == (True, 17, 172)


def test_on_all_nodes_of_that_network_two_can_split(stellar: Network) -> None:
    figures = analyse(stellar.federation, "all")
    assert (figures.minimal_splitting_size, figures.minimal_blocking_size, len(figures.top_tier)) == (2, 4, 17)
    assert figures.nodes == 172


def test_the_published_figures_by_organisation_hold(stellar: Network, folder: Path) -> None:
    owners = read_organizations((folder / "stellar_organizations_2019-09-17.json").read_bytes())
    figures = analyse(stellar.federation, "core", groups_of(stellar, "organization", owners))
    assert figures.top_tier == (
        "COINQVEST Limited",
        "Keybase",
        "LOBSTR",
        "SatoshiPay",
        "Stellar Development Foundation",
    )
    assert answer(figures)[2:] == (2, 3, 4)


def test_the_published_figures_by_country_hold(stellar: Network) -> None:
    figures = analyse(stellar.federation, "core", groups_of(stellar, "country"))
    assert figures.top_tier == ("Finland", "Germany", "United States")
    assert answer(figures)[2:4] == (1, 1)


@pytest.mark.parametrize(
    ("file", "intersection", "splitting"),
    [("stellar_trivial_intact.json", True, 1), ("stellar_trivial_split.json", False, 0)],
)
def test_the_trivial_networks_are_told_apart(folder: Path, file: str, intersection: bool, splitting: int) -> None:
    network = read_network((folder / file).read_bytes())
    figures = analyse(network.federation)
    assert (figures.intersection, figures.minimal_blocking_size) == (intersection, 2)
    assert figures.minimal_splitting_size == splitting
    if figures.witness is not None:
        assert verify_disjoint(network.federation.quorum_sets, *figures.witness)


def test_followers_whom_nobody_names_are_led_astray_one_by_one() -> None:
    """Two of them may be the two sides, also with the same wish; one alone needs a quorum beside it."""
    core_sets: QuorumSets = dict.fromkeys("abcd", of(4, *"abcd"))
    follower = of(2, "a", "b")
    assert analyse(Federation(core_sets), "all").splitting is None, "all four are needed by each"
    two = core_sets | {"v": follower, "w": follower}
    assert analyse(Federation(two), "all").splitting == frozenset("ab")
    one = core_sets | {"w": follower}
    assert answer(analyse(Federation(one), "all")) == brute_force(one, "all")
    assert answer(analyse(Federation(two), "all")) == brute_force(two, "all")
