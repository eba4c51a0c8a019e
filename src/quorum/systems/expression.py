"""Quorum expressions as text: `parse(text)` reads what `str(expression)` writes.

    either   = both, { "+", both }
    both     = item, { "*", item }
    item     = id | "(", either, ")" | "majority(", list, ")" | "choose(", number, ",", list, ")"
             | "threshold(", number, ",", id, "=", number, { ",", id, "=", number }, ")"

An id is [A-Za-z_][A-Za-z0-9_]*; any other stands in double quotes, where a backslash protects a quote or
a backslash. The algebra itself is in `algebra` and can be imported from here.
"""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from quorum.errors import ConfigurationError
from quorum.systems.algebra import (
    ALWAYS,
    DEPTH_MAX,
    NEVER,
    Expression,
    Gate,
    Node,
    Threshold,
    both,
    choose,
    either,
    majority,
    quoted,
)

__all__ = [
    "ALWAYS",
    "DEPTH_MAX",
    "NEVER",
    "TEXT_CHARACTERS_MAX",
    "Expression",
    "Gate",
    "Node",
    "Threshold",
    "both",
    "choose",
    "either",
    "majority",
    "parse",
    "quoted",
]

TEXT_CHARACTERS_MAX = 256 * 1024
NUMBER_DIGITS_MAX = 9

_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>[0-9]+)|(?P<sign>[+*(),=])"
    r'|"(?P<quoted>(?:[^"\\]|\\["\\])*)"|(?P<end>\Z)|(?P<garbage>.))',
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)")


class _Token(NamedTuple):
    kind: str  # the group of _TOKEN that matched
    text: str
    at: int
    end: int


class _Frame:
    """One open parenthesis: what it belongs to, and the operands read inside it so far."""

    def __init__(self, function: str, k: int) -> None:
        self.function = function  # "" for grouping and for the whole text
        self.k = k
        self.arguments: list[Expression] = []
        self.terms: list[Expression] = []
        self.factors: list[Expression] = []

    def close_term(self) -> None:
        self.terms.append(both(*self.factors))
        self.factors = []

    def close_argument(self) -> None:
        self.close_term()
        self.arguments.append(either(*self.terms))
        self.terms = []


def parse(text: str) -> Expression:
    """Read an expression. Raises ConfigurationError, never anything else, for text that is none.

    Works with its own stack, so that no text can exhaust the interpreter's.
    """
    if not isinstance(text, str) or len(text) > TEXT_CHARACTERS_MAX:
        given = f"{len(text):,} characters" if isinstance(text, str) else type(text).__name__
        raise ConfigurationError(
            f"{given} were given as a quorum expression, but it is text of at most {TEXT_CHARACTERS_MAX:,} "
            "characters. Use choose(k, ...) or threshold(k, ...) in place of a written-out list."
        )
    return _Parser(text).read()


class _Parser:
    """Operator precedence with an explicit stack: one frame for each parenthesis that is open."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._token = self._scan(0)
        self._frames = [_Frame("", 0)]

    def read(self) -> Expression:
        while True:
            self._read_operand()
            if self._read_operators():
                return self._frames[0].arguments[0]

    def _read_operand(self) -> None:
        """Read one node or threshold, and every parenthesis that opens before it."""
        while True:
            token = self._take()
            if token.kind == "quoted":
                break
            if token.kind == "sign" and token.text == "(":
                self._open("", 0, token)
            elif token.kind != "name":
                self._refuse(token, "a node was expected", "Write a node, or a parenthesis, there.")
            elif self._token.text != "(" or self._token.kind != "sign":
                break
            elif token.text == "threshold":
                self._frames[-1].factors.append(self._read_threshold())
                return
            else:
                self._open_function(token)
        self._frames[-1].factors.append(Node(token.text))

    def _read_operators(self) -> bool:
        """Read what follows an operand, up to where the next operand must start. True at the end."""
        while True:
            token = self._take()
            frame = self._frames[-1]
            sign = token.text if token.kind == "sign" else token.kind
            if sign == "*":
                return False
            if sign == "+":
                frame.close_term()
                return False
            if sign == "," and frame.function:
                frame.close_argument()
                return False
            if sign == "end" and len(self._frames) == 1:
                frame.close_argument()
                return True
            if sign == ")" and len(self._frames) > 1:
                self._close()
            elif sign == "end":
                self._refuse(token, "a parenthesis is still open", "Close it with ')'.")
            else:
                self._refuse(token, "an operator was expected", "Write '+', '*' or the closing ')' there.")

    def _open(self, function: str, k: int, token: _Token) -> None:
        if len(self._frames) > DEPTH_MAX:
            self._refuse(
                token, f"it nests deeper than {DEPTH_MAX} levels", "Flatten it: a + (b + c) is a + b + c."
            )
        self._frames.append(_Frame(function, k))

    def _open_function(self, name: _Token) -> None:
        if name.text not in ("choose", "majority"):
            self._refuse(
                name,
                f"{name.text[:40]} is no function",
                "Use choose(k, ...), majority(...) or threshold(k, ...), or put an operator after a node.",
            )
        self._expect("(")
        k = 0
        if name.text == "choose":
            k = self._read_number()
            self._expect(",")
        self._open(name.text, k, name)

    def _close(self) -> None:
        frame = self._frames.pop()
        frame.close_argument()
        if frame.function == "choose":
            operand = choose(frame.k, *frame.arguments)
        elif frame.function == "majority":
            operand = majority(*frame.arguments)
        else:
            operand = frame.arguments[0]
        self._frames[-1].factors.append(operand)

    def _read_threshold(self) -> Expression:
        self._expect("(")
        k = self._read_number()
        votes: list[tuple[str, int]] = []
        while not (votes and self._token.kind == "sign" and self._token.text == ")"):
            self._expect(",")
            token = self._take()
            if token.kind not in ("name", "quoted"):
                self._refuse(token, "a node was expected", "Write threshold(k, node=weight, ...).")
            self._expect("=")
            votes.append((token.text, self._read_number()))
        self._expect(")")
        return Threshold(votes, k)

    def _read_number(self) -> int:
        token = self._take()
        if token.kind != "number" or len(token.text) > NUMBER_DIGITS_MAX:
            self._refuse(
                token, "a number was expected", f"Write a whole number of at most {NUMBER_DIGITS_MAX} digits."
            )
        return int(token.text)

    def _expect(self, sign: str) -> None:
        token = self._take()
        if token.kind != "sign" or token.text != sign:
            self._refuse(token, f"{sign!r} was expected", "Write choose(k, a, b) or threshold(k, a=1, b=2).")

    def _take(self) -> _Token:
        token, self._token = self._token, self._token if self._token.kind == "end" else self._scan(self._token.end)
        return token

    def _scan(self, at: int) -> _Token:
        found = _TOKEN.match(self._text, at)
        assert found is not None and found.lastgroup is not None, "the last alternative matches anything"
        kind, text = found.lastgroup, found.group(found.lastgroup)
        start = found.start(found.lastgroup)
        if kind == "quoted":
            text = _ESCAPE.sub(r"\1", text)
        return _Token(kind, text, start, found.end())

    def _refuse(self, token: _Token, why: str, remedy: str) -> NoReturn:
        around = self._text[max(0, token.at - 20) : token.at + 20]
        raise ConfigurationError(
            f"{around!r} was found in a quorum expression, but {why} at character {token.at + 1}. {remedy}"
        )
