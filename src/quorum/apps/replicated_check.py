"""What cannot be replicated, found in the code of commands: clocks, randomness, I/O, and what differs by process.

The check reads the names in the compiled code, and follows them into plain functions of the same package. It finds
what is called by name; it does not find what hides behind an attribute, an argument or another package.
"""

from __future__ import annotations

import builtins
import dis
from collections.abc import Iterator, Mapping
from random import Random
from types import CodeType, FunctionType, ModuleType
from typing import Any

from quorum.errors import NotReplicable

_RANDOM = "use self.context.random, which is the same on every replica"
_CLOCK = "use self.context.now, the time at which the log ordered the command"
_OUTSIDE = "do it before the command, and pass the outcome as an argument"
_ELSEWHERE = "it differs from node to node; pass the value as an argument"
REMEDIES: dict[str, str] = {
    **dict.fromkeys(("random", "secrets", "numpy.random"), _RANDOM),
    **dict.fromkeys(("time",), _CLOCK),
    **dict.fromkeys(
        (
            "os", "pathlib", "shutil", "tempfile", "glob", "io", "subprocess", "socket", "ssl", "select",
            "selectors", "http", "urllib", "requests", "httpx", "aiohttp", "smtplib", "sqlite3", "asyncio",
        ),
        _OUTSIDE,
    ),
    **dict.fromkeys(("threading", "multiprocessing", "concurrent", "signal", "contextvars"), _OUTSIDE),
    **dict.fromkeys(("platform", "sys", "locale", "gc", "weakref", "getpass"), _ELSEWHERE),
}  # fmt: skip
"""Modules that a command may not use, and what to do instead."""
_BUILTINS: dict[str, str] = {
    **dict.fromkeys(("open", "input", "breakpoint"), _OUTSIDE),
    "id": "it is a memory address; compare with ==, or keep a key",
    "hash": "for text it differs from process to process; use the value itself, or hashlib",
    **dict.fromkeys(("exec", "eval", "compile", "__import__"), "it hides what runs; write it out"),
    **dict.fromkeys(("globals", "vars", "locals"), "state outside the object is not replicated; declare it"),
}
_IN_PART: dict[str, tuple[frozenset[str], str]] = {
    "datetime": (frozenset(("now", "utcnow", "today")), _CLOCK),
    "uuid": (
        frozenset(("uuid1", "uuid4", "getnode")),
        "make it from self.context.random, or pass it as an argument",
    ),
}
"""Modules of which a command may not use these names."""
_HOMES = {"posix": "os", "nt": "os", "_io": "io", "_socket": "socket", "_thread": "threading", "_random": "random"}


def check_code(
    function: FunctionType, allow: frozenset[str], what: str, methods: Mapping[str, FunctionType]
) -> None:
    """Raise NotReplicable, naming `what`, if the code of a command uses something that `allow` does not name.

    `methods` are the plain methods of its class, which it may call.
    """
    root = (function.__module__ or "").split(".")[0]
    seen: set[CodeType] = set()
    waiting = [function]
    while waiting:
        current = waiting.pop()
        if current.__code__ in seen:
            continue
        seen.add(current.__code__)
        where = (
            what if current is function else f"{what}, through {current.__qualname__.rpartition('<locals>.')[2]},"
        )
        for name, remedy in _suspects(current):
            if name not in allow and name.split(".")[0] not in allow:
                raise NotReplicable(
                    f"{where} uses {name}, but each replica would get another result or act once more: {remedy}. "
                    f"If it is harmless here, say so: allow={{{name!r}}}."
                )
        waiting += _followed(current, root)
        waiting += [
            methods[name] for code in _codes(current.__code__) for name in code.co_names if name in methods
        ]


def _suspects(function: FunctionType) -> Iterator[tuple[str, str]]:
    """(name, remedy) of whatever in a function cannot be replicated."""
    closure = _closure(function)
    for code in _codes(function.__code__):
        for instruction in dis.get_instructions(code):
            name = instruction.argval
            match instruction.opname:
                case "IMPORT_NAME":
                    yield from _judge_module(name, code)
                case "STORE_GLOBAL" | "DELETE_GLOBAL":
                    yield f"global {name}", "state outside the object is not replicated; declare it in the class"
                case "LOAD_GLOBAL" | "LOAD_NAME":
                    yield from _judge_name(name, function.__globals__, code)
                case "LOAD_DEREF" | "LOAD_CLASSDEREF" if name in closure:
                    yield from _judge(name, closure[name], code)


def _judge_name(name: str, names: dict[str, Any], code: CodeType) -> Iterator[tuple[str, str]]:
    if name in names:
        yield from _judge(name, names[name], code)
    elif name in _BUILTINS and hasattr(builtins, name):
        yield name, _BUILTINS[name]


def _judge(name: str, value: Any, code: CodeType) -> Iterator[tuple[str, str]]:
    """Judge what a name stands for."""
    if isinstance(value, ModuleType):
        yield from _judge_module(value.__name__, code)
        return
    home = getattr(value, "__module__", None)
    own_name = getattr(value, "__name__", "")
    if isinstance(value, Random) or isinstance(getattr(value, "__self__", None), Random):
        yield name, _RANDOM
    elif home in _IN_PART:
        names, remedy = _IN_PART[home]
        if own_name in names or not names.isdisjoint(code.co_names):
            yield name, remedy
    elif own_name in _BUILTINS and getattr(builtins, own_name, None) is value:
        yield own_name, _BUILTINS[own_name]
    elif isinstance(home, str) and callable(value):
        yield from ((name, remedy) for _, remedy in _judge_module(home, code))


def _judge_module(module: str, code: CodeType) -> Iterator[tuple[str, str]]:
    module = _HOMES.get(module, module)
    if module in _IN_PART:
        names, remedy = _IN_PART[module]
        if not names.isdisjoint(code.co_names):
            yield module, remedy
        return
    for name in (module, module.split(".")[0]):
        if name in REMEDIES:
            yield name, REMEDIES[name]
            return


def _followed(function: FunctionType, root: str) -> list[FunctionType]:
    """Functions of the same package that a function names."""
    found = []
    closure = _closure(function)
    for code in _codes(function.__code__):
        for name in (*code.co_names, *code.co_freevars):
            value = closure.get(name, function.__globals__.get(name))
            if isinstance(value, FunctionType) and (value.__module__ or "").split(".")[0] == root:
                found.append(value)
    return found


def _closure(function: FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            pass  # not set yet: the class is still being defined
    return found


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and those nested in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
