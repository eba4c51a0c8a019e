"""`quorum fuse`: the contract of every rule, refusals, and inputs that are none."""

from __future__ import annotations

import json
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.console.fuse_input import ITEMS_MAX, POINTS_MAX
from quorum.console.fuse_table import ALGORITHMS
from quorum.errors import ConfigurationError

CONTRACT = {
    "exact_majority": ({"values": ["approve", "reject", "approve"]}, {"output": "approve"}),
    "marzullo": ({"intervals": [[8, 12], [11, 13], [14, 15]]}, {"best": 2, "interval": [11, 12]}),
    "marzullo_fault_tolerant_intersection": (
        {"intervals": [[8, 12], [11, 13], [14, 15]], "f": 1},
        {"interval": [11, 12]},
    ),
    "brooks_iyengar": (
        {"values": [[4.7, 2.0], [1.6, 1.6], [3.0, 1.5], [1.8, 1.0], [3.0, 1.6]], "t": 1},
        {
            "value": 34.15 / 13,
            "interval": [1.5, 3.2],
            "regions": [[[1.5, 2.7], 4], [[2.7, 2.8], 5], [[2.8, 3.2], 4]],
        },
    ),
    "ntp_select": (
        {"sources_offset_rootdist": [[0, 1], [0.5, 1], [10, 1]]},
        {"falsetickers_allowed": 1, "interval": [-0.5, 1], "midpoints_inside": [0, 1]},
    ),
    "chrony_select": (
        {"intervals": [[4, 6], [4, 14], [12, 14], [0, 20], [30, 31]]},
        {"depth": 3, "interval": [4, 14], "selected": [0, 1, 2, 3]},
    ),
    "approximate_agreement_step": (
        {"values": [1, 2, 3, 4, 5, 6, 100], "t": 2, "select_every": 2},
        {"value": 4, "convergence_factor_c": 2},
    ),
    "w_msr_step": ({"own": 5, "neighbours": [1, 6, 7, 100], "F": 1, "weights": "equal"}, {"value": 6}),
    "k_of_n_reliability": ({"n": 3, "k": 2, "r": 0.9}, {"reliability": 0.972}),
    "pfdavg_simplified": (
        {"lambda_du_per_h": 1e-6, "proof_test_h": 8760, "beta": 0.1},
        {"1oo1": 4.38e-3, "1oo2": 4.58719152e-4, "2oo2": 8.76e-3, "2oo3": 5.00157456e-4, "1oo3": 4.38122512e-4},
    ),
    "k_out_of_n_vote": ({"k": 2, "votes": [True, 0, 1]}, {"trip": True}),
    "formalized_majority": (
        {"values": [1.5, 1, 9, 1.25], "epsilon": 0.25},
        {"group": [1, 1.25, 1.5], "output": 1.25},
    ),
    "plurality": ({"values": [1, 1, 2, 3], "k": 2}, {"output": 1}),
    "median": ({"values": [3, 1, 100, 2]}, {"output": 2.5}),
    "weighted_average": ({"values": [1, 2], "weights": [3, 1]}, {"output": 1.25}),
    "lorczak_weighted_average": ({"values": [1, 3], "a": 2}, {"weights": [0.5, 0.5], "output": 2}),
    "history_weighted_average": (
        {"rounds": [[1, 1, 9], [1, 1, 9]], "epsilon": 0.5, "elimination": True},
        {"outputs": [11 / 3, 1], "final_reliability": [1, 1, 0]},
    ),
    "optimal_weighted_majority": (
        {"competence": [0.9, 0.9, 0.6, 0.6, 0.6]},
        {
            "simple_majority": 0.87696,
            "log_odds_weights": [log(9), log(9), log(1.5), log(1.5), log(1.5)],
            "log_odds_accuracy": 0.92664,
        },
    ),
    "geometric_median": ({"points": [[0, 0], [4, 0], [0, 3], [4, 3]]}, {"point": [2, 1.5]}),
    "krum": ({"points": [[0], [1], [2], [2], [90]], "f": 1}, {"index": 2, "scores": [5, 2, 1, 1, 15488]}),
    "multi_krum": (
        {"points": [[0], [1], [2], [2], [90]], "f": 1, "m": 2},
        {"point": [2], "indices": [2, 3], "scores": [5, 2, 1, 1, 15488]},
    ),
    "coordinate_trimmed_mean": ({"points": [[0, 0], [1, 5], [2, -5]], "trim": 1}, {"point": [1, 0]}),
    "byzantine_vector_safe_area": (
        {"points": [[0, 0], [2, 0], [0, 2], [2, 2], [1, 1]], "f": 1},
        {"safe_area_point": [1, 1], "min_n_sync": 4, "min_n_async_approx": 5},
    ),
    "inverse_variance": ({"values": [1, 2], "variances": [1, 0.5]}, {"value": 5 / 3, "variance": 1 / 3}),
    "covariance_intersection": (
        {"x1": [1, 0], "P1": [[1, 0], [0, 4]], "x2": [0, 1], "P2": [[4, 0], [0, 1]], "criterion": "trace"},
        {"omega": 0.5, "x": [0.8, 0.8], "P": [[1.6, 0], [0, 1.6]]},
    ),
    "dempster_rule": (
        {"m1": {"A": 0.99, "B": 0.01}, "m2": {"C": 0.99, "B": 0.01}},
        {"masses": {"B": 1}, "conflict": 0.9999},
    ),
    "phi_accrual_normal": ({"elapsed_ms": 1150, "mean_ms": 1000, "std_ms": 50}, {"phi": 2.869699}),
    "phi_accrual_exponential": ({"elapsed_ms": 1000, "mean_ms": 1000}, {"phi": 1 / log(10)}),
    "px4_data_validator_group": (
        {"current": 0, "confidence": [0.5, 0.95, 0.95], "priority": [9, 5, 7], "min_regular_confidence": 0.9},
        {"selected": 2},
    ),
    "modified_z_score": ({"values": [1, 2, 3, 2, 50], "cut": 3.5}, {"outliers": [4], "median": 2, "mad": 1}),
    "crusader_convergence_average": ({"values": [1, 1.1, 1.2, 1.3, 9], "t": 1, "delta": 0.5}, {"value": 1.15}),
    "interactive_convergence": ({"values": [1, 1.1, 9, 1.2], "own": 0, "delta": 0.5}, {"value": 1.075}),
    "wheat_weights": (
        {"f": 2, "delta": 1},
        {"n": 8, "vmax": 1.5, "vmin": 1, "n_vmax": 4, "quorum_weight": 7, "smallest": 5, "largest": 6},
    ),
}

REFUSED = {
    "exact_majority": {"values": [1, 2]},
    "marzullo": {"intervals": [[0, 1], [2, 3], [4, 5]], "f": 1},
    "marzullo_fault_tolerant_intersection": {"intervals": [[0, 1], [2, 3]], "f": 1},
    "brooks_iyengar": {"values": [[1, 1], [1, 1], [1, 1]], "t": 1},
    "ntp_select": {"sources_offset_rootdist": [[0, 1], [5, 1]]},
    "chrony_select": {"intervals": [[0, 1], [2, 3]]},
    "approximate_agreement_step": {"values": [1, 2, 3], "t": 1, "select_every": 1},
    "pfdavg_simplified": {"lambda_du_per_h": 1, "proof_test_h": 8760},
    "formalized_majority": {"values": [1, 5], "epsilon": 1},
    "plurality": {"values": ["a", "a", "b", "b"], "k": 2},
    "median": {"values": [1, 2], "t": 1},
    "history_weighted_average": {"rounds": [[1, 2]], "epsilon": 1},
    "geometric_median": {"points": [[1], [2]], "f": 1},
    "krum": {"points": [[1], [2], [3], [4]], "f": 1},
    "multi_krum": {"points": [[1], [2], [3], [4], [5]], "f": 1, "m": 5},
    "coordinate_trimmed_mean": {"points": [[1], [2]], "trim": 1},
    "byzantine_vector_safe_area": {"points": [[0, 0], [1, 0], [0, 1]], "f": 1},
    "dempster_rule": {"m1": {"A": 0.9, "B": 0.1}, "m2": {"B": 0.9, "A": 0.1}, "conflict_limit": 0.5},
    "px4_data_validator_group": {"current": None, "confidence": [0, 0], "priority": [1, 1]},
    "crusader_convergence_average": {"values": [1, 2, 3], "t": 1, "delta": 0.5},
    "interactive_convergence": {"values": [1, 2, 3], "own": 0, "delta": 0.5, "t": 1},
}


@pytest.fixture
def fuse(run):
    def ask(name, given, *options):
        data = given if isinstance(given, bytes) else json.dumps(given).encode()
        return run("fuse", "--algorithm", name, *options, stdin=data)

    return ask


def same(found, expected):
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, float | int) and not isinstance(expected, bool):
        return found == pytest.approx(expected, abs=1e-6, rel=1e-6) and not isinstance(found, bool)
    return found == expected and type(found) is type(expected)


def assert_asked_wrongly(result):
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    told = json.loads(result.stdout)["error"]
    assert told["kind"] == "ConfigurationError"
    text = told["text"]
    assert ", but " in text and any(word in text for word in ("Give", "Change", "Scale", "Leave", "Write")), text


def test_every_rule_has_an_example_here_and_every_one_that_can_refuse_a_refusal():
    assert CONTRACT.keys() == ALGORITHMS.keys()
    assert REFUSED.keys() <= CONTRACT.keys()


@pytest.mark.parametrize("name", CONTRACT)
def test_a_rule_reads_and_answers_by_its_contract(name, fuse):
    given, expected = CONTRACT[name]
    result = fuse(name, given, "--json")
    assert result.exit_code == 0 and result.stderr == "" and result.stdout.count("\n") == 1
    assert same(json.loads(result.stdout), expected), result.stdout
    assert [key.strip() for key in ALGORITHMS[name].gives.split(",")] == list(expected)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_null_and_exits_with_1_and_says_why(name, fuse):
    result = fuse(name, REFUSED[name], "--json")
    assert (result.exit_code, result.stdout) == (1, "null\n")
    assert result.stderr.startswith("refused: ") and result.stderr.count("\n") == 1
    for_people = fuse(name, REFUSED[name])
    assert (for_people.exit_code, for_people.output) == (1, result.output)


BAD = [
    None,
    "x",
    "",
    True,
    [],
    {},
    -1,
    1.5,
    1e300,
    10**40,
    [None],
    ["x"],
    [[]],
    [[1], [1, 2]],
    [True],
    [[[1]]],
    {"A": []},
]
MAY_BE = (
    {("px4_data_validator_group", "current"): [None, -1], ("w_msr_step", "weights"): [None]}
    | {("history_weighted_average", "elimination"): [True]}
    | {
        ("exact_majority", "values"): [["x"]],
        ("plurality", "values"): [["x"]],
        ("k_out_of_n_vote", "votes"): [[True]],
    }
)


@pytest.mark.parametrize("name", CONTRACT)
def test_a_key_too_few_or_too_many_is_asked_wrongly(name, fuse):
    given, _ = CONTRACT[name]
    assert_asked_wrongly(fuse(name, {**given, "colour": 1}, "--json"))
    for key in given:
        if f"{key}?" not in ALGORITHMS[name].fields:
            result = fuse(name, {other: given[other] for other in given if other != key}, "--json")
            assert_asked_wrongly(result)
            assert f"'{key}'" in result.stderr


@pytest.mark.parametrize("name", CONTRACT)
def test_a_value_of_the_wrong_kind_is_asked_wrongly_and_never_a_traceback(name, fuse):
    """Numbers where numbers stand may be right by chance; nothing else is."""
    given, _ = CONTRACT[name]
    for key, right in given.items():
        for bad in BAD:
            result = fuse(name, {**given, key: bad}, "--json")
            assert "Traceback" not in result.output
            is_number = isinstance(bad, float | int) and not isinstance(bad, bool)
            may_be = any(bad is each or bad == each for each in MAY_BE.get((name, key), ()))
            if not may_be and not (is_number and isinstance(right, float | int)) and not is_vector(key, bad):
                assert_asked_wrongly(result)


def is_vector(key, bad):
    """Where one number may stand for a list of one."""
    return key in ("x1", "x2", "P1", "P2") and isinstance(bad, float | int)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[1, 2]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"values": [NaN]}',
        b'{"values": [Infinity]}',
        b'{"values": [1e999]}',
        b'{"values": [-1e999, 1]}',
        b'{"values": [' + b"9" * 5000 + b"]}",
        b'{"values": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"values": [1]} {"values": [2]}',
        b'{"values": "1, 2"}',
        b'{"Values": [1]}',
        b'{"\x1b[31m": [1]}',
    ],
)
def test_what_is_no_object_of_numbers_is_asked_wrongly(data, fuse):
    result = fuse("median", data, "--json")
    assert_asked_wrongly(result)
    assert len(result.stderr) < 1000 and "\x1b" not in result.stderr


def test_lists_and_inputs_that_are_too_long_are_asked_wrongly(fuse):
    assert fuse("median", {"values": [1] * ITEMS_MAX}, "--json").exit_code == 0
    assert_asked_wrongly(fuse("median", {"values": [1] * (ITEMS_MAX + 1)}, "--json"))
    assert_asked_wrongly(fuse("krum", {"points": [[1]] * (POINTS_MAX + 1), "f": 1}, "--json"))
    assert_asked_wrongly(fuse("median", b" " * (16 * 2**20 + 1), "--json"))
    many = [[each, each**2] for each in range(400)]
    assert_asked_wrongly(fuse("byzantine_vector_safe_area", {"points": many, "f": 1}, "--json"))


@pytest.mark.parametrize("name", ["", "vanish", "MEDIAN", "x" * 5000])
def test_an_unknown_rule_is_asked_wrongly_and_all_rules_are_named(name, fuse):
    result = fuse(name, {"values": [1]}, "--json")
    assert_asked_wrongly(result)
    assert "brooks_iyengar" in result.stderr and len(result.stderr) < 2500


def test_no_rule_is_asked_wrongly(run):
    assert_asked_wrongly(run("fuse", "--json", stdin=b"{}"))


def test_an_answer_that_leaves_the_floats_is_asked_wrongly(fuse):
    assert_asked_wrongly(
        fuse("phi_accrual_normal", {"elapsed_ms": 1e100, "mean_ms": 0, "std_ms": 1e-100}, "--json")
    )
    assert_asked_wrongly(fuse("k_of_n_reliability", {"n": 5000, "k": 2000, "r": 0.5}, "--json"))


def test_more_dimensions_than_points_cost_little(fuse):
    points = [[float(one == other) for other in range(5000)] for one in range(4)]
    found = json.loads(fuse("geometric_median", {"points": points}, "--json").stdout)["point"]
    assert found == pytest.approx([0.25] * 4 + [0.0] * 4996, abs=1e-9)


def test_people_read_lines_and_programs_one_object(fuse):
    given, _ = CONTRACT["ntp_select"]
    assert (
        fuse("ntp_select", given).stdout
        == "falsetickers_allowed: 1\ninterval: [-0.5, 1]\nmidpoints_inside: [0, 1]\n"
    )
    assert fuse("k_out_of_n_vote", CONTRACT["k_out_of_n_vote"][0]).stdout == "trip: true\n"
    assert fuse("dempster_rule", CONTRACT["dempster_rule"][0]).stdout == "masses: B 1\nconflict: 0.9999\n"
    rounds = {"rounds": [[1, 5, 9], [1, 1, 1]], "epsilon": 0.5}
    assert "outputs: [5, refused]\n" in fuse("history_weighted_average", rounds).stdout
    assert json.loads(fuse("history_weighted_average", rounds, "--json").stdout)["outputs"] == [5.0, None]


def test_the_list_says_of_every_rule_what_it_reads_and_gives(run, run_json):
    code, told = run_json("fuse", "--list")
    assert code == 0 and told.keys() == ALGORITHMS.keys()
    assert told["median"] == {"reads": "values, t?", "gives": "output"}
    assert "brooks_iyengar\n    values, t -> value, interval, regions\n" in run("fuse", "--list").stdout


def test_optional_keys_have_the_defaults_of_their_sources(fuse):
    for name, key in (("modified_z_score", "cut"), ("px4_data_validator_group", "min_regular_confidence")):
        given, expected = CONTRACT[name]
        found = fuse(name, {other: given[other] for other in given if other != key}, "--json")
        assert same(json.loads(found.stdout), expected)
    scalar = {"x1": 1, "P1": 1, "x2": 3, "P2": 1, "criterion": "det"}
    assert json.loads(fuse("covariance_intersection", scalar, "--json").stdout)["x"] == [2.0]


EXTREME = st.sampled_from([0, 1, -1, 2, 0.5, -0.0, 1e100, -1e100, 1e99, 1e-300, 5e-324, 0.1, 3, 7])


def with_numbers(value, draw):
    """The same input with some of its numbers put for extreme ones."""
    if isinstance(value, dict):
        return {key: with_numbers(each, draw) for key, each in value.items()}
    if isinstance(value, list):
        return [with_numbers(each, draw) for each in value]
    if isinstance(value, float | int) and not isinstance(value, bool) and draw(st.integers(0, 2)) == 0:
        return draw(EXTREME)
    return value


@pytest.mark.parametrize("name", CONTRACT)
@settings(max_examples=40)
@given(data=st.data())
def test_extreme_numbers_are_answered_refused_or_asked_wrongly(name, data):
    given_input = with_numbers(CONTRACT[name][0], data.draw)
    try:
        found = ALGORITHMS[name].answer(json.dumps(given_input).encode())
    except ConfigurationError:
        return
    assert isinstance(found, str) or json.loads(json.dumps(found, allow_nan=False)) is not None


def test_an_empty_input_is_said_to_be_empty(fuse):
    for data in (b"", b" \n"):
        result = fuse("median", data, "--json")
        assert_asked_wrongly(result)
        assert "is empty" in result.stderr and "truncated" not in result.stderr


def test_a_list_where_a_number_belongs_is_not_a_matter_of_units(fuse):
    result = fuse("formalized_majority", {"values": [1, 2], "epsilon": [1]}, "--json")
    assert_asked_wrongly(result)
    assert "Give a number." in result.stderr
    result = fuse("formalized_majority", {"values": [1, 2], "epsilon": 1e200})
    assert "change its unit" in result.stderr


def test_an_approximate_step_keeps_all_values_that_are_left_unless_it_is_told_otherwise(fuse):
    given = {"values": [1, 2, 3, 4, 5, 6, 100], "t": 2}
    found = json.loads(fuse("approximate_agreement_step", given, "--json").stdout)
    assert found == json.loads(fuse("approximate_agreement_step", {**given, "select_every": 1}, "--json").stdout)
    assert found["value"] == 4 and found["convergence_factor_c"] == 3
