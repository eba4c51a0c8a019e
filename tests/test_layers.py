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
MODULES = sorted(SOURCE.rglob("*.py"))


def room_of(module: Path) -> str:
    parts = module.relative_to(SOURCE).parts
    return parts[0].removesuffix(".py")


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


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down_only(module: Path) -> None:
    room = room_of(module)
    for other in imported_rooms(module) - {room}:
        if room == "checkers":
            assert other in ONE_FOUNDATION, f"checkers imports {other}"
        elif other == "checkers":
            assert room in {"sim", "quorum", "console", "__init__"}, f"{room} imports checkers"
        elif other in ONE_FOUNDATION and room in ONE_FOUNDATION:
            assert (room, other) in {
                ("model", "errors"),
                ("entry", "errors"),
                ("entry", "model"),
                ("entry", "header"),
            }
        else:
            assert LEVELS[other] < LEVELS[room], f"{room} (level {LEVELS[room]}) imports {other}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_core_has_no_clock_thread_file_or_socket(module: Path) -> None:
    if room_of(module) not in CORE:
        return
    for name, member in imports_of(module):
        top = name.split(".")[0]
        assert top not in FORBIDDEN_IN_CORE, f"imports {name}"
        if top == "random":
            assert member == "Random", "of random only the type random.Random may be used"


def test_every_room_has_a_level() -> None:
    assert {room_of(module) for module in MODULES} <= set(LEVELS) | {"checkers"}
