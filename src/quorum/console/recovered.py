"""What a cluster that was recovered from a lost quorum says of that."""

from __future__ import annotations

from quorum.console.inquiry import Answers, answering
from quorum.console.told import moment
from quorum.model import Recovery


def recovered_of(answers: Answers) -> Recovery | None:
    """The newest recovery that a node knows of."""
    found = [status.recovered for status in answering(answers) if status.recovered is not None]
    return max(found, key=lambda each: (each.number, each.identity), default=None)


def recovered_line(recovery: Recovery) -> str:
    """Who recovered the cluster, when, and from where."""
    when = moment(recovery.at_us)
    return (
        f"recovered as incarnation {recovery.incarnation} on {when:%Y-%m-%d %H:%M:%S} UTC by {recovery.by}: "
        f"{recovery.survivor} went on from entry {recovery.index} of term {recovery.term}, given up: "
        f"{', '.join(recovery.given_up) or 'nobody'}"
    )
