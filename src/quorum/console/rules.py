"""The rule that somebody asks for on the command line."""

from __future__ import annotations

from typing import Final

from quorum.console.command import plain
from quorum.errors import ConfigurationError
from quorum.voting import rule_text
from quorum.voting.rule_text import RULES
from quorum.voting.tally import Rule

SHOWN: Final = 40


def rule_in(text: str, faults: int | None) -> Rule:
    """A rule as it is written on the command line. Raises ConfigurationError for what is none."""
    if faults is not None and text != "byzantine":
        raise ConfigurationError(
            f"--faults was given with the rule {plain(text, SHOWN)!r}, but only byzantine goes by it. Leave it "
            "out, or ask for --rule byzantine."
        )
    if faults is None and text == "byzantine":
        raise ConfigurationError(
            "--rule byzantine was given, but not how many voters may lie, which it goes by. Give --faults."
        )
    rule = rule_text.rule_in(text, faults or 0)
    if rule is None:
        raise ConfigurationError(
            f"--rule {plain(text, SHOWN)!r} was given, but that is no rule. Give one of: {RULES}."
        )
    return rule
