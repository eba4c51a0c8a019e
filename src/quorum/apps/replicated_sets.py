"""Finds where a command walks over a built-in set, or makes text of it: its order differs from process to process.

It reads the source of a function, where there is one, and knows what is plainly a set: a literal, a comprehension,
a call of `set`, an argument declared as `frozenset`, and a name to which one of these was given. State and
arguments that are declared as sets are ordered, and so is what is raised with a set (apps.answer).
"""

from __future__ import annotations

import ast
from inspect import getsource
from textwrap import dedent
from types import FunctionType

from quorum.errors import NotReplicable

_WALKS = {"list", "tuple", "iter", "enumerate", "map", "filter", "zip", "reversed", "join", "extend", "dict"}
_CHOOSE_BY_KEY = {"min", "max", "sorted"}
"""With `key=`, the first of equals comes first."""
_SHOWS = {"str", "repr", "ascii", "format", "format_map"}
_SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}


def check_sets(function: FunctionType, what: str) -> None:
    """Raise NotReplicable, naming `what`, where the outcome would depend on the order of a set."""
    try:
        tree = ast.parse(dedent(getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError, IndexError):
        return
    finder = _Finder()
    finder.visit(tree)
    if finder.found is not None:
        raise NotReplicable(
            f"{what} {finder.does} the set `{finder.found}`, but each replica would do so in another order. Write "
            f"sorted({finder.found}), or use a list or the keys of a dict. If the order does not matter, say so: "
            "allow={'set'}."
        )


class _Finder(ast.NodeVisitor):
    def __init__(self) -> None:
        self.found: str | None = None
        self.does = "walks over"
        self._sets: set[str] = set()

    def visit_arg(self, node: ast.arg) -> None:
        if node.annotation is not None and ast.unparse(node.annotation).startswith("frozenset"):
            self._sets.add(node.arg)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Tuple | ast.List):
                self._walked(node.value)
            self._remember(target, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        if node.value is not None:
            self._remember(node.target, node.value)

    def visit_For(self, node: ast.For) -> None:
        self._walked(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._walked(node.iter)
        self.generic_visit(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        for generator in node.generators:  # from a set into a set: the order is lost again
            for condition in generator.ifs:
                self.visit(condition)

    def visit_Starred(self, node: ast.Starred) -> None:
        self._walked(node.value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in _WALKS:
            for argument in node.args:
                self._walked(argument)
        if name in _CHOOSE_BY_KEY and any(keyword.arg == "key" for keyword in node.keywords):
            for argument in node.args:
                self._walked(argument)
        if name in _SHOWS:
            for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                self._shown(argument)
        if name == "pop" and not node.args and isinstance(node.func, ast.Attribute):
            self._walked(node.func.value)
        self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        self._shown(node.value)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant | ast.JoinedStr):
            self._shown(node.right)
        self.generic_visit(node)

    def _remember(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            (self._sets.add if self._is_set(value) else self._sets.discard)(target.id)

    def _walked(self, node: ast.expr) -> None:
        if self.found is None and self._is_set(node):
            self.found = ast.unparse(node)

    def _shown(self, node: ast.expr) -> None:
        """Text is made of it, and so of what stands in a display of it."""
        match node:
            case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Dict(values=parts):
                for part in parts:
                    self._shown(part)
            case _ if self.found is None and self._is_set(node):
                self.found, self.does = ast.unparse(node), "makes text of"

    def _is_set(self, node: ast.expr) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Name(id=name):
                return name in self._sets
            case ast.Call(func=ast.Name(id="set" | "frozenset")):
                return True
            case ast.Call(func=ast.Attribute(value=value, attr=name)):
                return name in _SET_METHODS and self._is_set(value)
            case ast.BinOp(left=left, right=right, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor()):
                return self._is_set(left) and self._is_set(right)
        return False
