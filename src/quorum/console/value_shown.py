"""A value of the ledger's state, as people and programs read it: in the application's words, where it has some."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from quorum.certificate.ledger_audit import LedgerAudit
from quorum.console.command import plain, text_of
from quorum.console.ledger_shown import proven_lines, value_text
from quorum.runtime.config import find_config, load_cluster
from quorum.runtime.ledger_class import load_ledger

TOLD_CHARS_MAX = 4_096


class ValueShown(NamedTuple):
    """`text` in `encoding` ("text" or "hex"); `told`: what the application says of it, "" for nothing."""

    text: str
    encoding: str
    told: str = ""

    def fields(self) -> dict[str, Any]:
        """For programs."""
        return {"value": self.text, "encoding": self.encoding} | ({"shown": self.told} if self.told else {})

    def line(self) -> str:
        """For people."""
        shown = self.told or self.text
        return plain(shown, len(shown))


def value_shown(config: Path | None, path: str, value: bytes, as_hex: bool = False) -> ValueShown:
    """How the value that answers the question `path` is shown. What the application says of it counts where its
    class can be loaded here, and `as_hex` was not asked for."""
    text, encoding = (value.hex(), "hex") if as_hex else text_of(value)
    return ValueShown(text, encoding, "" if as_hex else _told(config, path, value))


class Asked(NamedTuple):
    """The question whose answer is proven, how many blocks the ledger has by now, and where its class is named."""

    path: str
    newest: int
    config: Path | None

    def fields(self, audit: LedgerAudit) -> dict[str, Any]:
        """What a proof says of the value, for programs: `number` of the `newest` blocks are in its ledger."""
        known = self._shown(audit).fields() | ({"value": None} if audit.value is None else {})
        return {
            "path": audit.question,
            "key": audit.key,
            **known,
            "number": audit.ledger_number,
            "newest": self.newest,
        }

    def lines(self, audit: LedgerAudit) -> list[str]:
        """The same for people."""
        lines = [value_text(audit), *proven_lines(audit)[1:]]
        told = "" if audit.value is None else self._shown(audit).told
        if told:
            lines.insert(1, told)
        age = f"as of ledger block {audit.ledger_number} of {self.newest}"
        if audit.ledger_number < self.newest:
            age += ": what came later is not in it"
            age += ". Ask with --certify for the newest" if audit.signed else ""
        return [*lines, age]

    def _shown(self, audit: LedgerAudit) -> ValueShown:
        return value_shown(self.config, self.path, bytes.fromhex(audit.value or ""))


def _told(config: Path | None, path: str, value: bytes) -> str:
    try:
        file = find_config(config)
        application = load_ledger(load_cluster(file).ledger, file.parent)
        told = "" if application is None else application.shown(path, value)
    except Exception:  # the value is shown as it is: the class is not needed here, and may not be there
        return ""
    return told[:TOLD_CHARS_MAX] if isinstance(told, str) else ""
