"""Whether those who decide run, whoever else does: nodes that follow, or departed, have no vote."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from quorum.errors import ConfigurationError
from quorum.runtime.status import NodeStatus
from quorum.systems.expression import parse

if TYPE_CHECKING:
    from quorum.console.inquiry import Answers


def quorum_runs(answers: Answers) -> bool:
    """Whether a quorum of those who vote answers, by the configuration that most of the nodes name."""
    told = [answer for answer in answers.values() if isinstance(answer, NodeStatus)]
    named = Counter((status.epoch, status.writes) for status in told)
    if not named:
        return False
    (_, writes), _ = max(named.items(), key=lambda each: (each[1], each[0]))
    try:
        return parse(writes).contains(frozenset(status.node for status in told))
    except ConfigurationError:  # what no honest node says
        return False
