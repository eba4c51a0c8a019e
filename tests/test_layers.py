"""Imports point down only, and the core touches no clock, thread, file or socket. Read from the syntax tree."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "quorum"

# A room may import itself and every room of a lower level. Rooms on one level do not import each other.
LEVELS = {
    "model": 0,
    "errors": 0,
    "header": 0,
    "entry": 0,
    "systems": 1,
    "voting": 1,
    "certificate": 2,
    "protocols": 3,
    "membership": 3,
    "apps": 3,
    "runtime": 4,
    "sim": 5,
    "quorum": 6,
    "dbapi": 6,
    "__init__": 7,
    "console": 8,
    "__main__": 9,
}
CORE = (
    "protocols",
    "membership",
    "apps",
    "systems",
    "voting",
    "certificate",
    "entry",
    "header",
    "model",
    "errors",
)
FORBIDDEN_IN_CORE = {
    "asyncio",
    "threading",
    "time",
    "datetime",
    "os",
    "secrets",
    "uuid",
    "socket",
    "subprocess",
    "logging",
}
ONE_FOUNDATION = {"model", "errors", "entry", "header"}
WITHIN_FOUNDATION = {("model", "errors"), ("entry", "errors"), ("entry", "model"), ("entry", "header")}
MODULES = sorted(SOURCE.rglob("*.py"))


def room_of(module: Path) -> str:
    parts = module.relative_to(SOURCE).parts
    return parts[0].removesuffix(".py")


ROOMS = sorted({room_of(module) for module in MODULES})


def modules_of(room: str) -> list[Path]:
    return [module for module in MODULES if room_of(module) == room]


def imports_of(module: Path) -> list[tuple[str, str]]:
    """(imported module, imported name or '') for each import of a file, relative ones resolved."""
    package = ("quorum", *module.relative_to(SOURCE).parts[:-1])
    found = []
    for statement in ast.walk(ast.parse(module.read_text())):
        if isinstance(statement, ast.Import):
            found += [(alias.name, "") for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            base = ".".join(package[: len(package) - statement.level + 1]) if statement.level else ""
            name = ".".join(part for part in (base, statement.module or "") if part)
            found += [(name, alias.name) for alias in statement.names]
    return found


def imported_rooms(module: Path) -> set[str]:
    rooms = set()
    for name, member in imports_of(module):
        if name == "quorum":
            rooms.add(member if member in LEVELS or member == "checkers" else "__init__")
        elif name.startswith("quorum."):
            rooms.add(name.split(".")[1])
    return rooms


def why_not(room: str, other: str) -> str:
    """What is wrong with an import of one room by another; empty if nothing is."""
    if room == "checkers":
        return "" if other in ONE_FOUNDATION else f"checkers imports {other}"
    if other == "checkers":
        return "" if room in {"sim", "quorum", "console", "__init__"} else f"{room} imports checkers"
    if other in ONE_FOUNDATION and room in ONE_FOUNDATION:
        return "" if (room, other) in WITHIN_FOUNDATION else f"{room} imports {other}"
    return "" if LEVELS[other] < LEVELS[room] else f"{room} (level {LEVELS[room]}) imports {other}"


def why_not_in_core(name: str, member: str) -> str:
    """What is wrong with an import by the core; empty if nothing is."""
    top = name.split(".", maxsplit=1)[0]
    if top in FORBIDDEN_IN_CORE:
        return f"imports {name}"
    if top == "random" and member != "Random":
        return "of random only the type random.Random may be used"
    return ""


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_down_only(room: str) -> None:
    found = [
        f"{module.relative_to(SOURCE)}: {what}"
        for module in modules_of(room)
        for other in sorted(imported_rooms(module) - {room})
        if (what := why_not(room, other))
    ]
    assert not found


@pytest.mark.parametrize("room", CORE)
def test_the_core_has_no_clock_thread_file_or_socket(room: str) -> None:
    assert modules_of(room)
    found = [
        f"{module.relative_to(SOURCE)}: {what}"
        for module in modules_of(room)
        for each in imports_of(module)
        if (what := why_not_in_core(*each))
    ]
    assert not found


def test_an_import_that_points_up_or_beside_is_found() -> None:
    """Negative control."""
    assert why_not("systems", "protocols") and why_not("protocols", "apps") and why_not("apps", "checkers")
    assert why_not("errors", "model") and why_not("checkers", "systems") and not why_not("apps", "systems")
    assert why_not_in_core("time", "monotonic") and why_not_in_core("random", "random")
    assert not why_not_in_core("random", "Random")


def test_every_room_has_a_level() -> None:
    assert {room_of(module) for module in MODULES} <= set(LEVELS) | {"checkers"}
