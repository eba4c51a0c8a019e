"""`quorum plot SYSTEM`: the numbers that are drawn, that a picture is the same each time, and what is refused."""

from __future__ import annotations

import json
import math
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from quorum.console.plot_panels import capacity_title, nines_title, text_of, use_title, zones_title
from quorum.console.plotted import (
    FRACTIONS,
    Capacity,
    Use,
    Zone,
    best_of,
    capacity_of,
    kinds_of,
    nines_of,
    use_of,
    zones_of,
)
from quorum.systems import classic
from quorum.systems.architecture import Architecture, NodeTraits
from quorum.systems.optimum import optimise
from quorum.systems.system import QuorumSystem

PAPER = {
    "a": NodeTraits(read_capacity=200, write_capacity=100),
    "b": NodeTraits(read_capacity=200, write_capacity=100),
    "c": NodeTraits(read_capacity=100, write_capacity=50),
    "d": NodeTraits(read_capacity=100, write_capacity=50),
}
FIVE = {
    "reads": "a*b + c*d*e",
    "read_fraction": 0.5,
    "nodes": {
        node: {"capacity": 1000, "zone": zone, "failure_probability": "1/100"}
        for node, zone in zip("abcde", ("z1", "z1", "z2", "z2", "z3"), strict=True)
    },
    "zones": {"z1": {"failure_probability": "1/1000"}},
}


@pytest.fixture
def five(here: Path) -> Path:
    """A system that has figures for every picture."""
    file = here / "five.json"
    file.write_text(json.dumps(FIVE))
    return file


def grid(read_fraction: float = 0.5) -> Architecture:
    return Architecture(QuorumSystem("a*b + c*d"), PAPER, read_fraction=read_fraction)


def test_the_curve_of_capacity_goes_through_the_figures_of_the_paper():
    """Whittaker and others 2021, section 3.3: 300 at r=1, 200 at r=.5, 100 at r=0."""
    found = capacity_of(grid(), best_of(grid()))
    assert (found.best[0], found.best[10], found.best[20]) == tuple(map(pytest.approx, (100, 200, 300)))
    assert all(kept <= best * (1 + 1e-9) for best, kept in zip(found.best, found.kept, strict=True))


def test_the_strategy_that_is_kept_is_best_where_it_was_made_for_and_nowhere_better():
    at = FRACTIONS.index(0.75)
    one = grid(0.75)
    found = capacity_of(one, best_of(one))
    assert found.kept[at] == pytest.approx(found.best[at]) == pytest.approx(optimise(one).capacity)
    assert found.kept[0] < 0.99 * found.best[0] or found.kept[20] < 0.99 * found.best[20]


def test_a_majority_is_not_drawn_beside_itself():
    plain = Architecture(classic.majority(list("abc")))
    assert capacity_of(plain, best_of(plain)).majority is None
    assert capacity_of(grid(), best_of(grid())).majority is not None


def test_the_busiest_nodes_are_full_and_come_first():
    one = Architecture(QuorumSystem("a*b + c*d*e"), {"b": NodeTraits(0.1, 0.1)}, read_fraction={0.2: 1, 0.8: 3})
    best = best_of(one)
    uses = use_of(one, best)
    assert uses[0].whole == pytest.approx(1) and uses[0].node in best.binding_nodes
    assert all(first.whole >= second.whole - 1e-9 for first, second in pairwise(uses))
    assert all(use.reads >= 0 and use.writes >= 0 and use.whole <= 1 + 1e-9 for use in uses)


def test_nines_are_the_binomial_tail_and_the_own_system_lies_on_its_curve():
    p = Fraction(1, 100)
    one = Architecture(classic.majority(list("abcde")), dict.fromkeys("abcde", NodeTraits(failure_probability=p)))
    found = nines_of(one)
    down = sum(math.comb(5, lost) * p**lost * (1 - p) ** (5 - lost) for lost in range(3, 6))
    assert dict(found.majority)[5] == pytest.approx(-math.log10(down)) == pytest.approx(found.own)
    three_of_four = 1 - (1 - p) ** 4 - 4 * p * (1 - p) ** 3
    assert dict(found.byzantine)[4] == pytest.approx(-math.log10(three_of_four))
    assert found.spread is None and found.failed == p


def test_zones_that_fail_take_nines_from_the_majority():
    nodes = {f"n{at}": NodeTraits(failure_probability=Fraction(1, 100), zone=f"z{at % 3}") for at in range(9)}
    found = nines_of(Architecture(classic.majority(nodes), nodes, dict.fromkeys(("z0", "z1", "z2"), "1/1000")))
    assert found.spread is not None
    assert dict(found.spread)[9] == pytest.approx(found.own)
    assert dict(found.spread)[9] < dict(found.majority)[9] - 1


def test_of_a_thousand_nodes_some_sizes_are_drawn_and_what_never_fails_has_no_nines():
    found = nines_of(Architecture(classic.majority([f"n{at}" for at in range(301)]), zones={"unused": "1/2"}))
    assert found.own is None and len(found.majority) <= 30 and len(found.byzantine) <= 30
    assert {nines for _, nines in found.majority} == {math.inf}


def test_the_map_says_what_stops_without_each_zone():
    nodes = {node: NodeTraits(zone=zone) for node, zone in (("a", "left"), ("b", "left"), ("c", "right"))}
    found = zones_of(Architecture(QuorumSystem("a*b + c*d*e"), nodes))
    assert [(zone.name, zone.nodes) for zone in found] == [
        ("left", ("a", "b")), ("right", ("c",)), (None, ("d", "e")),
    ]  # fmt: skip
    assert [(zone.is_readable_without, zone.is_writable_without) for zone in found] == [
        (True, False), (True, True), (True, True),
    ]  # fmt: skip


def test_a_picture_is_left_out_where_the_file_has_no_figures_for_it(five):
    bare = Architecture(QuorumSystem("a*b + c*d"))
    assert kinds_of(bare) == ("capacity", "utilisation")
    failing = Architecture(QuorumSystem("a*b + c*d"), {"a": NodeTraits(failure_probability=Fraction(1, 2))})
    assert kinds_of(failing) == ("capacity", "utilisation", "nines")


def test_titles_say_what_there_is_to_see():
    flat, rising = Capacity((5.0,) * 21, (5.0,) * 21, None), tuple(float(at) for at in range(1, 22))
    assert capacity_title(flat) == "Reads and writes cost the same: 5 operations per second"
    assert capacity_title(Capacity(rising, rising, None)) == "Capacity grows from 1 to 21 with the share of reads"
    assert use_title([Use("a", 0.5, 0.5), Use("b", 0.2, 0.1)], 7.0) == "a limits the system; b is used 30 %"
    assert use_title([Use("a", 0.5, 0.5)], 7.0) == "The only node is full at 7 operations per second"
    zones = [Zone("x", ("a",), Fraction(0), True, True), Zone("y", ("b",), Fraction(0), True, False)]
    assert zones_title(zones).startswith("Losing y stops writes")
    assert zones_title(zones[:1]).startswith("x may be lost")
    assert nines_title(nines_of(Architecture(QuorumSystem("a"), zones={"z": 0})), 1).endswith(
        "never without a quorum"
    )


def test_a_name_is_never_taken_for_a_formula():
    assert text_of("$a$") == r"\$a\$" and len(text_of("n" * 200)) == 14


@pytest.mark.parametrize(
    ("name", "options", "drawn"),
    [
        ("x.svg", (), "capacity, utilisation, nines, zones"),
        ("x.png", ("--kind", "capacity"), "capacity"),
        ("x.pdf", ("--kind", "nines"), "nines"),
    ],
)
def test_the_same_file_gives_the_same_picture_byte_for_byte(run, five, name, options, drawn):
    pytest.importorskip("matplotlib")
    pictures = []
    for _ in range(2):
        result = run("plot", five, "--output", name, *options)
        assert (result.exit_code, result.stdout) == (0, f"drawn: {name} ({drawn})\n")
        pictures.append(Path(name).read_bytes())
    assert pictures[0] == pictures[1] and len(pictures[0]) > 5_000


def test_another_file_gives_another_picture(run, five):
    pytest.importorskip("matplotlib")
    for fraction, name in ((0.5, "one.png"), (0.9, "two.png")):
        five.write_text(json.dumps(FIVE | {"read_fraction": fraction}))
        assert run("plot", five, "--output", name, "--kind", "capacity").exit_code == 0
    assert Path("one.png").read_bytes() != Path("two.png").read_bytes()


def test_odd_names_and_many_nodes_and_zones_are_drawn(run, here):
    pytest.importorskip("matplotlib")
    nodes = {f"$_{{{at}\u4e16": {"zone": f"$z{at % 14}^", "failure_probability": 0.1} for at in range(60)}
    (here / "odd.json").write_text(json.dumps({"nodes": nodes}))
    result = run("plot", here / "odd.json", "--output", "odd.svg")
    assert result.exit_code == 0, result.output
    assert "14 zones" in Path("odd.svg").read_text() and "(12 drawn)" in Path("odd.svg").read_text()


def test_the_json_has_the_numbers_of_the_one_picture_that_was_asked_for(run_json, five):
    pytest.importorskip("matplotlib")
    code, found = run_json("plot", five, "--output", "one.svg", "--kind", "zones")
    assert (code, list(found)) == (0, ["plot", "zones"]) and Path("one.svg").exists()
    assert [zone["name"] for zone in found["zones"]] == ["z1", "z2", "z3"]
    code, every = run_json("plot", five, "--output", "all.svg")
    assert (code, list(every)) == (0, ["plot", "capacity", "utilisation", "nines", "zones"])
    assert len(every["capacity"]["best"]) == len(every["capacity"]["read_fraction"]) == 21


def test_reads_and_writes_that_do_not_meet_are_told(run, here):
    pytest.importorskip("matplotlib")
    (here / "apart.toml").write_text('reads = "a"\nwrites = "b"\n')
    result = run("plot", "apart.toml", "--output", "apart.svg", "--kind", "capacity")
    assert result.exit_code == 0 and "reads and writes do not meet" in result.stderr


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (
            'reads = "a*b + c*d"',
            ("--output", "x.svg", "--kind", "nines"),
            "Give nodes one, as failure_probability",
        ),
        ('reads = "a*b + c*d"', ("--output", "x.svg", "--kind", "zones"), "Give nodes one, as zone"),
        ('reads = "a*b + c*d"', ("--output", "x.gif"), "tells no kind of picture"),
        ('reads = "a*b + c*d"', (), "--output"),
        ('reads = "a*"', ("--output", "x.svg"), "a node was expected"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_remedy(run, here, text, options, said):
    pytest.importorskip("matplotlib")
    (here / "bare.toml").write_text(text)
    result = run("plot", "bare.toml", *options)
    assert result.exit_code == 2 and said in result.stderr and not result.stdout
    assert not (here / "x.svg").exists()


def test_without_matplotlib_a_picture_is_refused_with_the_way_to_get_it(run, five, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run("plot", five, "--output", "x.svg")
    assert result.exit_code == 2 and not Path("x.svg").exists()
    assert "a picture was asked for, but matplotlib" in result.stderr
    assert "Install it: pip install 'quorum-engine[plot]'" in result.stderr


def test_a_picture_that_cannot_be_written_is_refused_with_its_place(run, five):
    pytest.importorskip("matplotlib")
    result = run("plot", five, "--output", "nowhere/x.svg", "--kind", "zones")
    assert result.exit_code == 1 and not result.stdout
    assert "`plot` was to run, but the system refuses: nowhere/x.svg: no such file or directory" in result.stderr
    assert "Check path and rights" in result.stderr
