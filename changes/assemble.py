"""Puts the fragments beside this file into the part of CHANGELOG.md that is not released yet.

A fragment is ISSUE-FEATURE.md: sections `### Added`, `### Changed`, `### Fixed`, `### Removed` or `### Security`,
and under each the changes, as list items. After one was added or edited, run `python changes/assemble.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SECTIONS = ("Added", "Changed", "Fixed", "Removed", "Security")
BEGIN, END = "<!-- fragments -->\n", "<!-- /fragments -->\n"


def parse(fragment: Path) -> dict[str, list[str]]:
    """The changes of a fragment by section. Raises ValueError, naming the file, if it is not well-formed."""
    changes: dict[str, list[str]] = {}
    section = ""
    for number, line in enumerate(fragment.read_text().splitlines(), 1):
        if line.startswith("### ") and line[4:] in SECTIONS:
            section = line[4:]
            changes[section] = []
        elif line.startswith("- ") and section:
            changes[section].append(line)
        elif line.startswith("  ") and section and changes[section]:
            changes[section][-1] += f"\n{line}"
        elif line.strip():
            raise ValueError(
                f"{fragment.name}:{number}: {line[:40]!r} belongs to no change. Write '### Added' (or another of "
                f"{', '.join(SECTIONS)}), and under it '- ' and the change."
            )
    if not changes or not all(changes.values()):
        raise ValueError(f"{fragment.name}: it holds no change, or an empty section. Write at least one change.")
    return changes


def assembled(changelog: str, fragments: Sequence[Path]) -> str:
    """The text of CHANGELOG.md with these fragments between its two marks. Raises ValueError without the marks."""
    before, begin, rest = changelog.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"CHANGELOG.md has no {BEGIN.strip()} ... {END.strip()}. Put both back.")
    parsed = [parse(fragment) for fragment in fragments]
    parts = []
    for section in SECTIONS:
        lines = [line for changes in parsed for line in changes.get(section, ())]
        if lines:
            parts.append(f"\n### {section}\n\n" + "\n".join(lines) + "\n")
    return before + begin + "".join(parts) + "\n" + end + after


if __name__ == "__main__":
    here = Path(__file__).parent
    path = here.parent / "CHANGELOG.md"
    path.write_text(assembled(path.read_text(), sorted(here.glob("*.md"))))
