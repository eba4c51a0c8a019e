"""A key that was given up is known in every later epoch, and no former committee is read again for that."""

from __future__ import annotations

import pytest

from certificate.committees import key_of
from certificate.light_chains import change_to, committee_with
from quorum.certificate.approval import check_following
from quorum.errors import ConfigurationError
from quorum.protocols.pbft.epochs import Epochs, note_of, restored

COMMITTEES = [committee_with(names, epoch) for epoch, names in enumerate(("abcd", "abce", "abef", "aefg"))]
LAST_HAD = {"a": 3, "b": 2, "c": 1, "d": 0, "e": 3, "f": 3, "g": 3}


def test_who_had_which_key_last_is_kept_as_epochs_pass_and_over_a_restart() -> None:
    epochs, notes = Epochs(COMMITTEES[0]), {}
    for committee in COMMITTEES[1:]:
        check_following(epochs.newest, epochs.used, committee)
        epochs.append(change_to(epochs.newest, committee))
        notes |= dict([note_of(epochs.changes[-1])])
    assert epochs.used == {bytes(key_of(name).verify_key): (name, epoch) for name, epoch in LAST_HAD.items()}
    assert restored(COMMITTEES[0], notes).used == epochs.used
    for name in "bcd":
        with pytest.raises(ConfigurationError, match=f"the key that {name} had in epoch {LAST_HAD[name]}, "):
            check_following(epochs.newest, epochs.used, committee_with(("a", "e", "f", name), 4))
