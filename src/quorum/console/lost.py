"""Whether a quorum may be lost for good, as far as can be seen from here: then messages say what is left to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorum.console.need import may_lie, system_of
from quorum.errors import ConfigurationError
from quorum.runtime.first_runs import has_run
from quorum.runtime.status import NodeStatus
from quorum.runtime.survey import data_folders

if TYPE_CHECKING:
    from quorum.console.inquiry import Answers
    from quorum.runtime.place import Place


def lost_text(answers: Answers, place: Place | None) -> str:
    """What to do if the members that are missing never come back; "" where the data of enough of them is here, or
    they run, or members may lie, so that nobody goes on from one survivor."""
    if place is None or place.file is None or may_lie(answers, place):
        return ""
    system = system_of(answers, place)
    try:
        here = {node for node, data in data_folders(place.file).items() if has_run(data)}
    except ConfigurationError:
        here = set()
    could = here | {node for node, answer in answers.items() if isinstance(answer, NodeStatus)}
    if system is None or (system.is_read_quorum(could) and system.is_write_quorum(could)):
        return ""
    return "If too many of them are lost for good, see `quorum recover --dry-run`."
