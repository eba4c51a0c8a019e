"""How many channels must agree, by how many there are: the declared policy of degradation.

"2oo3 2oo2" asks for two of three that agree, of two for both, and refuses with one. "2oo3 1oo2" goes on with
either of two: it answers more often, with an interval that holds what either says. Source: IEC 61508-6 (2010),
annex B, for KooN.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from quorum.errors import ConfigurationError
from quorum.voting.refused import Refused

_STAGE: Final = re.compile(r"([1-9][0-9]{0,2})oo([1-9][0-9]{0,2})")


class Stage(NamedTuple):
    """`agree` of `channels` must: K of N."""

    agree: int
    channels: int

    @property
    def outvoted(self) -> int:
        """So many wrong channels are outvoted; below 0 for a stage in which one may decide alone."""
        return self.channels - self.agree if 2 * self.agree > self.channels else -1

    def __str__(self) -> str:
        return f"{self.agree}oo{self.channels}"


class Degradation:
    """The stages of one loop, most channels first."""

    def __init__(self, text: str, channels: int) -> None:
        """`text`: stages such as "3oo4 2oo3 2oo2". Raises ConfigurationError for what is none, or asks for more
        than `channels`."""
        stages = []
        for word in text.split():
            match = _STAGE.fullmatch(word)
            stage = Stage(int(match[1]), int(match[2])) if match else Stage(1, 0)
            if stage.agree > stage.channels:
                raise ConfigurationError(
                    f"the degradation {text[:60]!r} was given, but {word[:20]!r} is no K of N. Write stages as "
                    "2oo3, the one with most channels first."
                )
            stages.append(stage)
        counts = [stage.channels for stage in stages]
        if not stages or counts != sorted(set(counts), reverse=True) or counts[0] > channels:
            raise ConfigurationError(
                f"the degradation {text[:60]!r} was given for {channels} channels, but stages go down, each with "
                "fewer channels than the one before, from as many as there are at most. Correct it."
            )
        self.stages = tuple(stages)

    def stage_of(self, channels: int) -> Stage | Refused:
        """The stage for so many channels: the one declared, or between two the lower one with each channel more
        asked to agree, too; refused below the last."""
        for stage in self.stages:
            if channels >= stage.channels:
                return Stage(stage.agree + channels - stage.channels, channels)
        return Refused(f"{channels} channels are valid, and {self.stages[-1].channels} are needed at least")

    def is_full(self, stage: Stage, channels: int) -> bool:
        """Whether nothing is missing: all channels take part."""
        return stage.channels == channels
