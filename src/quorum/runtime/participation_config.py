"""What cluster.toml says of who takes part: the policy, and the table `[participation]` beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from quorum.errors import ConfigurationError, NotReplicable
from quorum.membership.observation import Limits
from quorum.membership.policy import CUSTOM, FLOOR, Policy, check_policy
from quorum.runtime.object_classes import imported
from quorum.runtime.object_names import check_place

NETWORK: Final = "network"
DURATIONS = ("hold", "stable")
WITHOUT_FUNCTION = (
    "Or do without it: in cluster.toml name another `policy`, and take `function` out; where the custom policy is "
    "in force already, `quorum policy set` then puts another in its place."
)


class Participation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How soon members are put out of the vote and taken back (membership.observation.Limits), the fewest voters,
    and the user's own function for the custom policy, as MODULE:NAME. `weights`: "fixed" as an operator gives
    them, or "network": they and the lead follow the round trips between members (membership.weighing)."""

    floor: Annotated[int, msgspec.Meta(ge=FLOOR, le=1_000)] = FLOOR
    hold_us: int = msgspec.field(default=Limits().hold_us, name="hold")
    stable_us: int = msgspec.field(default=Limits().stable_us, name="stable")
    suspect_phi: Annotated[float, msgspec.Meta(ge=1, le=100)] = Limits().suspect_phi
    lag_entries: Annotated[int, msgspec.Meta(ge=1, le=2**53)] = Limits().lag_entries_max
    late: Annotated[float, msgspec.Meta(gt=0, le=1)] = Limits().missed_max
    function: str = ""
    weights: Literal["fixed", "network"] = "fixed"

    def limits(self) -> Limits:
        """The limits as the leader takes them. Longer ones grow with `stable`."""
        usual = Limits()
        factor = usual.stable_max_us // usual.stable_us
        return Limits(
            suspect_phi=self.suspect_phi,
            lag_entries_max=self.lag_entries,
            missed_max=self.late,
            hold_us=self.hold_us,
            stable_us=self.stable_us,
            stable_max_us=factor * self.stable_us,
            forgive_us=factor * self.stable_us,
        )


def check_participation(policy: str, participation: Participation, nodes: int, faults: int) -> None:
    """Raise ConfigurationError unless this policy can choose among N nodes of which T may fail."""
    check_policy(policy, nodes, faults, participation.floor)
    if (policy == CUSTOM) != bool(participation.function):
        what = "no function was named" if policy == CUSTOM else f'policy = "{policy}" asks for none'
        raise ConfigurationError(
            f'policy = "{policy}" and participation.function = "{participation.function}" were given, but {what}. '
            f'Use policy = "{CUSTOM}" with a function = "MODULE:NAME", or neither.'
        )


def check_hold(participation: Participation, election_timeout_us: int) -> None:
    """Raise ConfigurationError for a hold time that lasts no longer than a change of leaders may."""
    if participation.hold_us < election_timeout_us:
        raise ConfigurationError(
            f"participation.hold = {participation.hold_us / 1000:g}ms was given with an election timeout of "
            f"{election_timeout_us / 1000:g}ms, but then a change of leaders alone could put members out of the "
            "vote. Let it be as long at least; ten times as long is usual."
        )


def check_weights_followed(participation: Participation, named: str) -> None:
    """Raise ConfigurationError where weights that follow the network would not count: `named` are the sets that
    decide, where they are named."""
    if participation.weights != NETWORK:
        return
    if named:
        raise ConfigurationError(
            f'participation.weights = "{NETWORK}" was asked for, but the sets that decide are named by '
            f"{named[:80]!r}, in which weights do not count. Leave `reads` and `writes` empty, or use 'fixed'."
        )


def check_function(table: Any) -> None:
    """Raise ConfigurationError for a `function` that is no place."""
    if isinstance(table, dict) and table.get("function"):
        check_place("participation.function", table["function"])


def load_policy(place: str, folder: Path) -> Policy | None:
    """The user's policy that MODULE:NAME names; None for no name. Raises ConfigurationError for what is not
    there, and says how a cluster goes on without it."""
    if not place:
        return None
    what = f"the custom policy was to be {place}"
    try:
        found = imported(what, place, folder)
        if not callable(found):
            raise ConfigurationError(f"{what}, but that is no function. Name one that takes a Situation.")
    except (ConfigurationError, NotReplicable) as error:
        raise ConfigurationError(f"{error} {WITHOUT_FUNCTION}") from error
    return found  # type: ignore[no-any-return]
