"""What the steward does of weights and the lead: one thing at a time, and only where the policy wants nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from quorum.errors import ConfigurationError, Overloaded
from quorum.membership.latency import Reports
from quorum.membership.reconfiguration import SetWeights
from quorum.membership.weighing import Tuning, WeightTuning
from quorum.model import Configuration, NodeId
from quorum.runtime.steward import RaftSteward

NODES = ("n1", "n2", "n3", "n4", "n5")
PERIOD_US = 100_000
TUNED = Tuning(SetWeights((("n2", 3),), 1), "n2", 9, 3, "")


class Told(WeightTuning):
    """Says what it was told to say."""

    says: Tuning | None = TUNED

    def step(self, configuration: Configuration, leader: NodeId, reports: Reports, now_us: int) -> Tuning | None:
        self.asked = True
        return self.says


def steward_of(configuration: Configuration, follows: bool = True) -> RaftSteward:
    state = SimpleNamespace(node="n1", progress={}, commit_index=0)
    replica: Any = SimpleNamespace(node="n1", state=state, configuration=configuration)
    steward = RaftSteward(replica, PERIOD_US)
    if follows:
        steward.follow_network(dict, Told)
    assert steward.lead(True, 0)
    return steward


FIXED = Configuration(epoch=3, voters=NODES, faults=1)


def test_weights_come_first_and_the_lead_once_they_are_in_force():
    steward = steward_of(FIXED)
    target = steward.turn(PERIOD_US)
    assert target is not None and target.weights == (("n2", 3),)
    assert steward.successor() is None, "the weights are not in force yet"
    assert steward.turn(2 * PERIOD_US) is None, "I1"
    steward.done(None)
    assert steward.successor() == "n2"
    assert steward.successor() is None, "it is told once"
    assert steward.turn(3 * PERIOD_US) is None, "I1: the lead is moving"


def test_the_lead_stays_where_the_weights_were_refused():
    for error in (Overloaded("another was before"), ConfigurationError("they make no sense")):
        steward = steward_of(FIXED)
        assert steward.turn(PERIOD_US) is not None
        steward.done(error)
        assert steward.successor() is None


def test_the_lead_alone_moves_where_the_weights_suit():
    steward = steward_of(FIXED)
    assert isinstance(steward.tuning, Told)
    steward.tuning.says = TUNED._replace(change=None)
    assert steward.turn(PERIOD_US) is None
    assert steward.successor() == "n2"


def test_nothing_is_weighed_where_nobody_follows_the_network():
    steward = steward_of(FIXED, follows=False)
    assert steward.turn(PERIOD_US) is None and steward.successor() is None and steward.weighing == ""


def test_whoever_leads_anew_begins_to_weigh_anew():
    steward = steward_of(FIXED)
    before = steward.tuning
    assert steward.weighing
    steward.lead(False, PERIOD_US)
    assert steward.weighing == "", "who does not lead says nothing"
    steward.lead(True, 2 * PERIOD_US)
    assert steward.tuning is not before


def test_the_policy_goes_before_weights():
    """I2: participation wants n = N-T+1 = 4 voters, and there are 5."""
    steward = steward_of(Configuration(epoch=3, voters=NODES, policy="participation", faults=2))
    steward.turn(PERIOD_US)
    assert isinstance(steward.tuning, Told) and not hasattr(steward.tuning, "asked")
