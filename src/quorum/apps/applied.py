"""What became of one entry."""

from __future__ import annotations

import msgspec

from quorum.apps.answer import OK
from quorum.apps.state_machine import Notice, Reply, Task


class Applied(msgspec.Struct, frozen=True, gc=False):
    """What applying one entry gives: the answer to its caller, and what goes to others.

    `status` and `body` are an `answer.Answer`; `replies` answer earlier batches (status OK), in the same session
    or another. First come those of what expired at this entry, then those of the batch, if it was really applied.
    Of a block, `requests` has what became of each request, by its name.
    """

    status: int
    body: bytes
    replies: tuple[Reply, ...] = ()
    notices: tuple[Notice, ...] = ()
    tasks: tuple[Task, ...] = ()
    requests: tuple[tuple[bytes, Applied], ...] = ()


NOTHING = Applied(OK, b"")
