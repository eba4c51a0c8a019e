"""How a cluster goes on from one survivor after its quorum was lost for good.

Nothing that a lost quorum acknowledged beyond the survivor's log can be known, so the log does not simply go on:
entries, epochs and whatever is numbered by them continue far above all that was ever given out. An index, a
fencing token, a session's name or a revision of the new incarnation is then never one of the old one.

Two incarnations must never meet. Each is named by a number and something drawn at random, the name is part of
every configuration, and nodes refuse each other's connections and entries where theirs differ.
"""

from __future__ import annotations

from msgspec.structs import replace

from quorum.entry import CONFIGURATION, encode_entry
from quorum.errors import ConfigurationError
from quorum.header import Batch
from quorum.model import Configuration, Recovery, check_fault_budget, encode_configuration

NUMBER_DIGITS_MAX = 9
"""Of the number in a name; peers say theirs, and may say anything."""
EPOCH_GAP = 1_000_000
"""More changes of members than a lost quorum can have decided unseen. Clients believe the newest epoch."""


def number_of(incarnation: str) -> int:
    """How many recoveries led to an incarnation. What is no name of one counts as none."""
    number = incarnation.partition("-")[0]
    return int(number) if number.isdecimal() and len(number) <= NUMBER_DIGITS_MAX else 0


def shown_incarnation(incarnation: str) -> str:
    """An incarnation in a sentence."""
    return f"incarnation {incarnation[:40]}" if incarnation else "the first incarnation"


def difference(node: str, theirs: str, here: str, ours: str) -> str | None:
    """Why `node`, of incarnation `theirs`, must not take part where `here` does, of `ours`; None if it may."""
    if theirs == ours:
        return None
    apart = (
        f"{node} is of {shown_incarnation(theirs)} and {here} of {shown_incarnation(ours)} of the cluster: "
        "after a loss of its quorum it was recovered without the other, and what one stores the other never had"
    )
    if number_of(theirs) == number_of(ours):
        return f"{apart}. Keep one of the two recoveries, and stop the nodes of the other for good."
    old = node if number_of(theirs) < number_of(ours) else here
    return (
        f"{apart}. Stop {old}, keep its data folder away from the cluster, and admit another node in its place, "
        "under another name. A node that is new needs the present cluster.toml."
    )


def incarnation_here(node: str, configuration: Configuration, of_file: str) -> str:
    """Of which incarnation a node is: that of the newest configuration in its log, and while it has no log that of
    its cluster.toml. Raises ConfigurationError where the file names a later one, or another recovery."""
    of_log = configuration.incarnation
    if not configuration.members or of_log == of_file:
        return of_file
    if number_of(of_file) < number_of(of_log):
        return of_log  # the file was not copied here yet
    raise ConfigurationError(
        f"{node} was to be started, but its log is of {shown_incarnation(of_log)} of the cluster, and its "
        f"cluster.toml of {shown_incarnation(of_file)}: after a loss of its quorum the cluster was recovered "
        "without this log. Keep the data folder away from the cluster, and admit a node under another name."
    )


def configuration_after(present: Configuration, recovery: Recovery, faults: int | None = None) -> Configuration:
    """The first configuration of the new incarnation: the survivor alone decides, until others are admitted. What
    kept members out of the vote is forgotten with them. T is `faults`, or stays (`faults_after`)."""
    survivor = recovery.survivor
    return replace(
        present,
        epoch=present.epoch + EPOCH_GAP,
        voters=(survivor,),
        learners=(),
        witnesses=(),
        reads="",
        writes="",
        weights=(),
        outgoing=None,
        addresses=tuple(pair for pair in present.addresses if pair[0] == survivor),
        priorities=(),
        policy=policy_after(present.policy),
        faults=faults_after(present, faults),
        seats=(),
        recovered=recovery,
    )


def faults_after(present: Configuration, asked: int | None) -> int:
    """T of the new incarnation: what is asked for, else what was agreed before, else the cluster would tolerate
    nothing until somebody thought of it. Whatever asks for T takes no more of it than the members who are there
    bear (`faults_borne`), so that it grows back with them. Raises ConfigurationError for more than as many members
    as before would bear."""
    if asked is None:
        return present.faults
    check_fault_budget(len(present.members), asked, "crash")
    return asked


def faults_borne(voters: int, faults: int) -> int:
    """How many of so many voters may be lost, of the `faults` that are agreed: more than half must be left."""
    return min(faults, (voters - 1) // 2)


def policy_after(policy: str) -> str:
    """The policy of the new incarnation. Participation is for a T that its few members do not allow yet: until an
    operator sets it again, all who are fit vote."""
    return "adaptive" if policy == "participation" else policy


def recovery_entry(index: int, term: int, time_us: int, configuration: Configuration) -> bytes:
    """The first entry of the new incarnation: how it came to be."""
    body = encode_configuration(configuration)
    batch = Batch(app=0, client=0, first_sequence=0, acked_below=0, count=1, body=body)
    return encode_entry(index, term, CONFIGURATION, configuration.epoch, time_us, 0, batch)
