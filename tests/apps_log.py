"""A log for application tests: numbers entries and feeds them to hosts."""

from __future__ import annotations

from quorum.apps.applied import Applied
from quorum.apps.host import OPEN, SESSIONS, Host, decode_session
from quorum.entry import COMMAND
from quorum.header import Header

KV, DECIDE = 1, 2


def header(
    index: int, app: int = KV, client: int = 0, first_sequence: int = 0, acked_below: int = 0, kind: int = COMMAND
) -> Header:
    """A header at `index`; time and entropy follow from it."""
    return Header(
        index, 3, kind, app, 7, index * 1000, index * 7919, client, first_sequence, acked_below, 1, b"\0" * 8
    )


class Log:
    """Entries in order, each applied to `host` as it is appended; `replay` applies them to another host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.entries: list[tuple[Header, bytes]] = []
        self.next_index = host.applied_index + 1

    def append(self, body: bytes, **fields: int) -> Applied:
        entry = (header(self.next_index, **fields), body)
        self.entries.append(entry)
        self.next_index += 1
        return self.host.apply(*entry)

    def open(self) -> int:
        return decode_session(self.append(OPEN, app=SESSIONS).body)

    def replay(self, host: Host) -> Host:
        for entry in self.entries:
            host.apply(*entry)
        return host
