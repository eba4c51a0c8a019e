"""Rules of tallies as text, and back."""

from __future__ import annotations

from typing import Final

from quorum.voting.tally import WEIGHT_MAX, Rule

RULES: Final = "majority, share:2/3, unanimous, byzantine, plurality, or plurality:3 (of weight 3 at least)"


def rule_in(text: str, faults: int = 0) -> Rule | None:
    """The rule that a text is, None if it is none. `faults`: T, by which byzantine goes."""
    kind, _, more = text.partition(":")
    match kind, more:
        case ("majority", "") | ("unanimous", "") | ("plurality", ""):
            return Rule(kind)  # type: ignore[arg-type]
        case "byzantine", "":
            return Rule("byzantine", faults=faults)
        case "share", _:
            parts = more.split("/")
            if len(parts) == 2 and all(map(is_whole, parts)):
                return Rule("share", int(parts[0]), int(parts[1]))
        case "plurality", _:
            if is_whole(more):
                return Rule("plurality", least=int(more))
    return None


def rule_text(rule: Rule) -> str:
    """A rule as it is written."""
    match rule.kind:
        case "share":
            return f"share:{rule.numerator}/{rule.denominator}"
        case "byzantine":
            return f"byzantine, {rule.faults} may lie"
        case "plurality" if rule.least > 1:
            return f"plurality:{rule.least}"
    return rule.kind


def is_whole(text: str) -> bool:
    """Whether a text is a whole number that a weight can be."""
    return text.isascii() and text.isdecimal() and len(text) <= len(str(WEIGHT_MAX))
