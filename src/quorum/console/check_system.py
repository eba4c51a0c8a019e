"""`quorum check SYSTEM`: does every read quorum meet every write quorum, and how many nodes may fail?"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import click

from quorum.console.command import AnswerNo, plain, print_json
from quorum.console.documents import read_bounded
from quorum.systems.architecture_text import TEXT_BYTES_MAX, Format, read_architecture
from quorum.systems.check import shown
from quorum.systems.system import QuorumSystem
from quorum.systems.verdict import Model, Verdict, judge_system

FORMS: dict[str, Format] = {".json": "json", ".toml": "toml"}
FAULTS = {
    "crash": "crash",
    "dissemination": "lie, where what is stored is signed (dissemination)",
    "masking": "lie, where it is not (masking)",
    "opaque": "lie, where readers do not know how many may (opaque)",
}
NOT_KNOWN = "max_faults.opaque is not known: there are too many quorums to pair them"


def check_system(path: Path, model: Model, faults: int, as_json: bool) -> None:
    """Print the verdict on the system in a file, or in standard input for `-`. Raises AnswerNo where it is unsafe,
    and ConfigurationError for a file that is malformed."""
    data = read_bounded(None if str(path) == "-" else path, TEXT_BYTES_MAX, "a system", "Use choose(k, ...).")
    form = FORMS.get(path.suffix.lower())
    system = read_architecture(data, form).system
    given = _given(data, form)
    verdict = judge_system(system, model, faults, given)
    if as_json:
        print_json(facts_of(system, verdict))
    else:
        for line in lines_of(system, verdict, model, faults, given):
            click.echo(plain(line))
    if not verdict.safe:
        raise AnswerNo


def facts_of(system: QuorumSystem, verdict: Verdict) -> dict[str, Any]:
    """For programs. `threshold` is how many nodes write, where any so many do, else null."""
    votes = system.writes.as_threshold()
    is_plain = votes is not None and {weight for _, weight in votes.weights} == {1}
    witness = verdict.witness
    return {
        "safe": verdict.safe,
        "live": verdict.live,
        "threshold": votes.k if votes is not None and is_plain else None,
        "participants": len(system.nodes),
        "witness": None
        if witness is None
        else {
            "first": sorted(witness.first),
            "second": sorted(witness.second),
            "first_committee": None,
            "second_committee": None,
            "faulty": sorted(witness.faulty),
        },
        "smallest_intersection": verdict.smallest_intersection,
        "crash_resilience": verdict.crash_resilience,
        "max_faults": verdict.max_faults,
    } | ({} if verdict.is_opaque_known else {"notes": [NOT_KNOWN]})


def lines_of(system: QuorumSystem, verdict: Verdict, model: Model, faults: int, given: str) -> list[str]:
    """For people."""
    lines = [f"{_counted(len(system.nodes))}; model {model}, T={faults}"]
    witness = verdict.witness
    if witness is None:
        lines.append("safe              yes: every read quorum shares enough with every write quorum")
    else:
        lines.append("safe              no: these two share too little")
        lines += [f"  read            {shown(witness.first)}", f"  write           {shown(witness.second)}"]
        if witness.faulty:
            lines.append(f"  who lies        {shown(witness.faulty)}")
    left = f"{_counted(verdict.crash_resilience)} may be silent, whichever"
    lines.append(f"live              {'yes' if verdict.live else 'no'}: {left}")
    pair = "a read and a write quorum" if given == "both" else f"two {given[:-1]} quorums"
    lines.append(f"shared            {_counted(verdict.smallest_intersection)} at least, by {pair}")
    lines.append("so many may")
    for kind, does in FAULTS.items():
        most = getattr(verdict.max_faults, kind)
        if kind == "opaque" and not verdict.is_opaque_known:
            most = "?"
        lines.append(f"  {'-' if most is None else most:<16}{does}")
    if not verdict.is_opaque_known:
        lines.append(NOT_KNOWN)
    return lines


def _counted(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"


def _given(data: bytes, form: Format | None) -> str:
    """Which sides the file, which was read already, gives; without any it is a majority on both sides."""
    text = data.decode("utf-8-sig")
    is_json = form == "json" or (form is None and text.lstrip().startswith("{"))
    raw = json.loads(text) if is_json else tomllib.loads(text)
    sides = [side for side in ("reads", "writes") if raw.get(side) is not None]
    return sides[0] if len(sides) == 1 else "both"
