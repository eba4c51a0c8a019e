"""`quorum analyse SYSTEM`: the keys and figures for programs, the table for people, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

KEYS = [
    "load",
    "capacity",
    "network_load",
    "latency",
    "read_resilience",
    "write_resilience",
    "resilience",
    "read_availability",
    "write_availability",
    "availability",
    "read_unavailability",
    "write_unavailability",
    "unavailability",
    "strategy",
    "binding_nodes",
]
CAPACITIES = {
    "a": {"read_capacity": 200, "write_capacity": 100, "latency": 4},
    "b": {"read_capacity": 200, "write_capacity": 100, "latency": 4},
    "c": {"read_capacity": 100, "write_capacity": 50, "latency": 1},
    "d": {"read_capacity": 100, "write_capacity": 50, "latency": 1},
}


def test_every_key_is_there_in_its_order(run_json, written):
    file = written(reads="a*b + c*d", nodes=CAPACITIES, read_fraction=1)
    code, found = run_json("analyse", file)
    assert (code, list(found)) == (0, KEYS)
    assert (found["capacity"], found["network_load"], found["latency"]) == tuple(map(pytest.approx, (300, 2, 3)))
    assert (found["read_resilience"], found["write_resilience"], found["resilience"]) == (1, 1, 1)
    assert {found[key] for key in KEYS if key.endswith("availability")} == {None}
    assert found["binding_nodes"] == ["a", "b", "c", "d"]
    reads = {tuple(each["quorum"]): each["probability"] for each in found["strategy"]["reads"]}
    assert reads == {("a", "b"): pytest.approx(2 / 3), ("c", "d"): pytest.approx(1 / 3)}
    assert sum(each["probability"] for each in found["strategy"]["writes"]) == pytest.approx(1)


def test_limits_and_aims_are_taken_from_the_options(run_json, written):
    """Whittaker and others 2021, section 4.2: the fastest grid at 150 operations a second."""
    file = written(reads="a*b + c*d", nodes=CAPACITIES, read_fraction=1)
    options = ("--optimise", "latency", "--load-limit", 1 / 150, "--network-limit", 2)
    code, found = run_json("analyse", file, *options)
    assert (code, found["latency"]) == (0, pytest.approx(2))
    assert found["load"] <= 1 / 150 + 1e-12
    _, explained = run_json("analyse", file, *options, "--explain")
    assert explained["bound"] == pytest.approx(2) and explained["limit_prices"]["load"] > 0
    assert explained["optimised"] == "latency" and list(explained)[: len(KEYS)] == KEYS


def test_availability_is_told_with_all_its_digits(run_json, written):
    node = {"failure_probability": "1/100", "zone": "x"}
    file = written(reads="majority(a, b, c)", nodes=dict.fromkeys("abc", node))
    _, found = run_json("analyse", file)
    assert found["unavailability"] == pytest.approx(3 * 0.01**2 * 0.99 + 0.01**3, rel=1e-12)
    assert found["availability"] == pytest.approx(1 - found["unavailability"], rel=1e-15)
    zoned = written(reads="majority(a, b, c)", nodes={"a": node, "b": node, "c": node}, zones={"x": node | {}})
    assert run_json("analyse", zoned)[0] == 2, "a zone has no zone"
    zone = {"failure_probability": "1/1000"}
    _, whole = run_json(
        "analyse", written(reads="majority(a, b, c)", nodes=dict.fromkeys("abc", node), zones={"x": zone})
    )
    assert whole["unavailability"] == pytest.approx(0.001 + 0.999 * found["unavailability"], rel=1e-12)


def test_a_number_too_small_for_a_float_is_written_out(run, written):
    nodes = {f"n{place}": {"failure_probability": "1/100"} for place in range(1001)}
    result = run("analyse", written(nodes=nodes), "--json")
    _, _, rest = result.stdout.partition('"unavailability":')
    text = rest.partition(",")[0]
    tail = sum(math.comb(1001, lost) * 99 ** (1001 - lost) for lost in range(501, 1002))
    mantissa, _, exponent = text.partition("e")
    assert int(exponent) == math.floor(math.log10(tail) - 2002)
    assert math.log10(float(mantissa)) == pytest.approx((math.log10(tail) - 2002) % 1, abs=1e-9)
    assert json.loads(result.stdout)["availability"] == 1.0
    assert "e-" in run("analyse", written(nodes=nodes)).stdout


def test_a_strategy_over_very_many_sets_is_told_by_its_nodes(run_json, written):
    nodes = {f"n{place}": {"capacity": 1000 + 1000 * (place % 2)} for place in range(1001)}
    _, found = run_json("analyse", written(nodes=nodes))
    chances = found["strategy"]["node_probabilities"]
    assert set(chances) == {"read", "write"} and len(chances["read"]) == 1001
    assert sum(chances["read"].values()) == pytest.approx(501)


def test_a_limit_that_binds_is_named_and_the_answer_is_no(run_json, run, written):
    file = written(reads="a*b + c*d", nodes=CAPACITIES)
    code, found = run_json("analyse", file, "--load-limit", 0.001)
    assert code == 1 and list(found) == ["error"]
    assert found["error"]["binding"] == ["load"]
    assert "no strategy of this system has less than 0.005" in found["error"]["text"]
    result = run("analyse", file, "--f", 2)
    assert result.exit_code == 1 and "survive the loss of any 2" in result.stderr and not result.stdout


def test_the_write_side_alone_can_make_failures_impossible(run_json, written):
    code, found = run_json("analyse", written(reads="a + b + c", read_fraction=1), "--f", 1)
    assert code == 1 and found["error"]["binding"] == ["f"] and "writes were asked for" in found["error"]["text"]


def test_people_see_a_table(run, written):
    nodes = {name: each | {"failure_probability": 0.01} for name, each in CAPACITIES.items()}
    shown = run("analyse", written(reads="a*b + c*d", nodes=nodes, read_fraction=1)).stdout
    assert "300 operations per second" in shown
    assert "busiest: a, b, c, d" in shown
    assert "66.67%  {a, b}" in shown
    assert "unavailability" in shown


def test_reads_and_writes_that_do_not_meet_are_remarked(run, written):
    result = run("analyse", written(reads="a + b", writes="a + b"))
    assert result.exit_code == 0 and "do not meet: {a} may read what {b} has not told" in result.stderr
    assert not run("analyse", written(reads="a + b")).stderr


def test_a_system_comes_from_standard_input_too(run_json):
    code, found = run_json("analyse", "-", stdin=b'reads = "majority(a, b, c)"')
    assert (code, found["capacity"]) == (0, pytest.approx(1.5))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("none.toml",), "a system was to be read from none.toml"),
        ((".",), "a system was to be read from ."),
        (("--load-limit", "0", "system.json"), "a limit is above 0"),
        (("--latency-limit", "nan", "system.json"), "a limit is above 0"),
        (("--f", "5000", "system.json"), "Use a whole number from 0 to 1,000"),
        (("--f", "-1", "system.json"), "is not in the range"),
        (("--optimise", "cost", "system.json"), "is not one of"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_remedy(run, written, options: tuple[str, ...], said: str):
    written(reads="a")
    result = run("analyse", *options)
    assert result.exit_code == 2 and said in result.stderr and not result.stdout


def test_a_file_that_ends_in_json_is_no_toml(run, here: Path):
    (here / "system.json").write_text('reads = "a"')
    result = run("analyse", "system.json")
    assert result.exit_code == 2 and "a system in JSON was to be read" in result.stderr
