"""Commands of crash mode, refused where members may lie before anything is sent, with what does it there."""

from __future__ import annotations

from pathlib import Path

from quorum.errors import ConfigurationError
from quorum.runtime.config import find_config, load_cluster

BELIEVES_ONE = (
    "what one member alone tells is not believed, and no T+1 tell the same at one time",
    "Read it again, now and then: every read is ordered, and as new as can be",
)
COMMITTEE = (
    "no leader changes who votes",
    "Name all members of the next committee: quorum approve NODES",
)
WEIGHTS = (
    "no leader changes who votes",
    'Let votes follow the network, by weights = "network" in every cluster.toml; or give members those of the '
    "beginning again, by naming all of them: quorum approve NODES",
)
POLICY = (
    "each member follows the policy of its own cluster.toml",
    'Write policy = "adaptive", or "fixed", into that of every member, and restart them one after the other',
)
QUORUMS = (
    "the quorums follow from N and T",
    "Approve of a committee with other members, or of another T: quorum approve NODES --faults T",
)
PRIMARY = (
    "members take the primary's place in turn, and no operator chooses it",
    "To have another one now, stop the process of the present one for a while",
)
Why = tuple[str, str]
"""Why not, and what to do."""


def crash_only(config: Path | None, asked: str, why: Why) -> Path:
    """The cluster.toml that `config` means. Raises ConfigurationError where its members may lie: `asked`, such as
    "n1 was to be promoted", is then refused."""
    path = find_config(config)
    if load_cluster(path).model == "byzantine":
        raise ConfigurationError(f"{asked}, but where members may lie {why[0]}. {why[1]}.")
    return path
