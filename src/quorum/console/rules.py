"""Rules of tallies as people write them, and as they read them."""

from __future__ import annotations

from typing import Final

from quorum.console.command import plain
from quorum.errors import ConfigurationError
from quorum.voting.tally import WEIGHT_MAX, Rule

RULES: Final = "majority, share:2/3, unanimous, byzantine, plurality, or plurality:3 (of weight 3 at least)"
SHOWN: Final = 40


def rule_in(text: str, faults: int | None) -> Rule:
    """A rule as it is written on the command line. Raises ConfigurationError for what is none."""
    kind, _, more = text.partition(":")
    if faults is not None and kind != "byzantine":
        raise ConfigurationError(
            f"--faults was given with the rule {plain(text, SHOWN)!r}, but only byzantine goes by it. Leave it "
            "out, or ask for --rule byzantine."
        )
    match kind, more:
        case ("majority", "") | ("unanimous", "") | ("plurality", ""):
            return Rule(kind)  # type: ignore[arg-type]
        case "byzantine", "":
            if faults is None:
                raise ConfigurationError(
                    "--rule byzantine was given, but not how many voters may lie, which it goes by. Give --faults."
                )
            return Rule("byzantine", faults=faults)
        case "share", _:
            parts = more.split("/")
            if len(parts) == 2 and all(map(is_whole, parts)):
                return Rule("share", int(parts[0]), int(parts[1]))
        case "plurality", _:
            if is_whole(more):
                return Rule("plurality", least=int(more))
    raise ConfigurationError(
        f"--rule {plain(text, SHOWN)!r} was given, but that is no rule. Give one of: {RULES}."
    )


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
