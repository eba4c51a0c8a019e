"""Expressions as text: round trips, and every kind of text that is none."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.systems.expression import (
    DEPTH_MAX,
    TEXT_CHARACTERS_MAX,
    Expression,
    Node,
    Threshold,
    choose,
    majority,
    parse,
)
from systems.strategies import NAMES, ODD_NAMES, expressions

a, b, c, d, e = map(Node, "abcde")


@given(expressions(NAMES + ODD_NAMES))
def test_text_round_trips(expression: Expression) -> None:
    assert parse(str(expression)) == expression


@given(st.text(min_size=1, max_size=255).filter(str.isprintable))
@example("choose")
@example("\\")
@example('"')
@example(" ")
def test_any_id_round_trips(name: str) -> None:
    assert parse(str(Node(name))) == Node(name)
    assert parse(str(Threshold({name: 2}, 1))) == Threshold({name: 2}, 1)


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("a*b + c*d*e", a * b + c * d * e),
        ("(a + b)*(c + d)", (a + b) * (c + d)),
        (" a\n\t+ b ", a + b),
        ("((a))", a),
        ("choose(2, a, b, c*d)", choose(2, a, b, c * d)),
        ("choose(2, a, a, b)", choose(2, a, a, b)),
        ("majority(a, b, c, d)", choose(3, a, b, c, d)),
        ("majority(majority(a,b,c),d,e)", majority(majority(a, b, c), d, e)),
        ('threshold(3, a=2, "n-1"=1)', Threshold({"a": 2, "n-1": 1}, 3)),
        ('"n-1" * n_1', Node("n-1") * Node("n_1")),
        ('"a" + "say \\"hi\\""', a + Node('say "hi"')),
        ("choose * majority", Node("choose") * Node("majority")),
    ],
)
def test_text_is_read_as_written(text: str, expression: Expression) -> None:
    assert parse(text) == expression


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ((a + b) * (c + d), "(a + b) * (c + d)"),
        (a * b + c, "a * b + c"),
        (choose(2, a, b, c), "majority(a, b, c)"),
        (choose(3, a, b, c, d, e).dual().dual(), "majority(a, b, c, d, e)"),
        (choose(2, a, b, c + d, e), "choose(2, a, b, c + d, e)"),
        (Threshold({"b": 1, "a": 2}, 2), "threshold(2, a=2, b=1)"),
        (Node("n-1") + Node("\\"), '"n-1" + "\\\\"'),
    ],
)
def test_text_is_written_for_people(expression: Expression, text: str) -> None:
    assert str(expression) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a node was expected"),
        ("   ", "a node was expected"),
        ("a b", "an operator was expected"),
        ("a +", "a node was expected"),
        ("* a", "a node was expected"),
        ("a + + b", "a node was expected"),
        ("(a", "still open"),
        ("a)", "an operator was expected"),
        ("()", "a node was expected"),
        ("a, b", "an operator was expected"),
        ("(a, b)", "an operator was expected"),
        ("n-1", "an operator was expected"),
        ("1a", "a node was expected"),
        ('"a', "a node was expected"),
        ('""', "printable"),
        ('"\\n"', "a node was expected"),
        ("a | b", "an operator was expected"),
        ("\x00", "a node was expected"),
        ("minority(a, b)", "minority is no function"),
        ("a (b)", "a is no function"),
        ("choose(a, b)", "a number was expected"),
        ("choose(2)", "',' was expected"),
        ("choose(1,)", "a node was expected"),
        ("choose(0, a)", "from 1 to 1"),
        ("choose(3, a, b)", "from 1 to 2"),
        ("choose(-1, a, b)", "a number was expected"),
        ("choose(" + "9" * 5000 + ", a)", "a number was expected"),
        ("choose(1, a", "still open"),
        ("majority()", "a node was expected"),
        ("threshold(1)", "',' was expected"),
        ("threshold(1, a)", "'=' was expected"),
        ("threshold(1, a=b)", "a number was expected"),
        ("threshold(1, (a)=1)", "a node was expected"),
        ("threshold(1, a=1, a=1)", "Name each node once"),
        ("threshold(5, a=1, b=1)", "from 1 to 2"),
        ("threshold(1, a=1 b=1)", "',' was expected"),
        ("threshold(1, a=1", "',' was expected"),
    ],
)
def test_text_that_is_no_expression_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse(text)


@pytest.mark.parametrize("opening", ["(", "a*(b+", "choose(1, a, ", "majority("])
def test_deep_nesting_is_refused_and_exhausts_no_stack(opening: str) -> None:
    for levels in (DEPTH_MAX + 1, 10_000):
        with pytest.raises(ConfigurationError, match="nests deeper"):
            parse(opening * levels + "a" + ")" * levels)


def test_parentheses_up_to_the_limit_are_read() -> None:
    assert parse("(" * DEPTH_MAX + "a" + ")" * DEPTH_MAX) == a


def test_a_megabyte_is_refused_before_it_is_read() -> None:
    for text in ("a + " * 262_144 + "a", "(" * 1_048_576, "\x00" * 1_048_576):
        with pytest.raises(ConfigurationError, match="choose"):
            parse(text)


def test_the_longest_text_is_read_in_one_pass() -> None:
    text = "a+" * (TEXT_CHARACTERS_MAX // 2 - 1) + "a"
    assert parse(text).leaves == TEXT_CHARACTERS_MAX // 2
    with pytest.raises(ConfigurationError, match="a node was expected"):
        parse('"' + "\\\\" * (TEXT_CHARACTERS_MAX // 2 - 1))


@pytest.mark.parametrize("text", [None, 7, b"a"])
def test_only_text_is_read(text: str) -> None:
    with pytest.raises(ConfigurationError, match="it is text"):
        parse(text)


@given(st.text(alphabet='ab1 ()+*,="\\choosemajritld-', max_size=60))
def test_garbage_gets_a_configuration_error_or_an_expression(text: str) -> None:
    try:
        expression = parse(text)
    except ConfigurationError as error:
        said = str(error)
    else:
        assert parse(str(expression)) == expression
        return
    assert len(said) < 400
