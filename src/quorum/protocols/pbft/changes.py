"""Whether a proposed change of epoch may be prepared."""

from __future__ import annotations

from quorum.certificate.approval import Approvals, approval_statement, check_following
from quorum.certificate.committee import Committee
from quorum.errors import ConfigurationError
from quorum.protocols.effects import Signed
from quorum.protocols.pbft.state import PbftState


def approval_checks(state: PbftState, committee: Committee, approvals: Approvals) -> list[Signed]:
    """The signatures of members of this epoch under approvals of a committee."""
    statement = approval_statement(state.committee, committee)
    keys = state.committee.keys
    return [Signed(keys[member], statement, signature) for member, signature in approvals]


def why_not(state: PbftState, committee: Committee) -> str:
    """Why this committee cannot follow; empty: it can. To be asked last: what nobody vouches for could take for
    ever to check."""
    try:
        check_following(state.epochs.newest, state.epochs.used, committee)
    except ConfigurationError as error:
        return str(error)
    return ""
