"""A client whose node is broken or hostile: it goes elsewhere, dials nobody it should not, and holds no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec
import pytest

from quorum.errors import QuorumError
from quorum.runtime import messages
from quorum.runtime.client import Client
from quorum.runtime.codec import cluster_tag, encode_frame
from quorum.runtime.dialler import Dialler
from quorum.runtime.handshake import CONTROL_CHANNEL, HANDSHAKE, PROTOCOL_VERSION, Welcome
from quorum.runtime.messages import Failure, MembersReply, Noticed, Result, StatusReply
from runtime.test_directory import SETTINGS, Owner

TAG = cluster_tag("c1")
ENCODE = msgspec.msgpack.Encoder().encode


def frame(message: object, *attached: bytes) -> bytes:
    return b"".join(encode_frame(TAG, 0, ENCODE(message), attached))


class Liar:
    """A node in plain text that welcomes everybody, and then sends what it likes. `calls` counts connections."""

    def __init__(self, says: Callable[[], bytes]) -> None:
        self._says = says
        self.calls = 0

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        try:
            await reader.read(64)
            welcome = HANDSHAKE.encode(Welcome(PROTOCOL_VERSION, "c1", "n1", 1))
            writer.write(b"".join(encode_frame(TAG, CONTROL_CHANNEL, welcome)))
            while await reader.read(4096):
                writer.write(self._says())
        except ConnectionError:
            pass
        finally:
            writer.close()

    def stop(self) -> None:
        self._server.close()


def members(*rows: tuple[str, str], epoch: int = 1) -> MembersReply:
    return MembersReply(1, "n1", epoch, rows)


HOSTILE = {
    "garbage": lambda: b"\xff" * 100,
    "a frame of 4 GB": lambda: b"\xff\xff\xff\xff" + b"x" * 100,
    "no message": lambda: b"".join(encode_frame(TAG, 0, b"\xc1")),
    "a message of no kind": lambda: frame([199, 1]),
    "members that are numbers": lambda: frame([63, 1, "n1", 1, [[1, 2]]]),
    "an epoch of text": lambda: frame([63, 1, "n1", "1", []]),
    "a million members": lambda: frame(members(*((f"n{n}", f"127.0.0.1:{n % 60000 + 1}") for n in range(50_000)))),
    "members elsewhere": lambda: frame(members(("n1", "10.66.66.66:7000"), ("n2", "[2001:db8::1]:1"))),
    "members nowhere": lambda: frame(members(("n1", ""), ("n2", "\0"), ("n3", "127.0.0.1:0"))),
    "answers nobody asked for": lambda: frame(Result(77, 0), b"x") + frame(Noticed([1, 2, 99], 5, True)),
    "the status for every request": lambda: b"".join(frame(StatusReply(n, b"{}")) for n in range(20)),
    "wrong answers for every request": lambda: b"".join(frame(Result(n, 200), b"x") for n in range(20)),
    "notices for every request": lambda: frame(Noticed(list(range(20)), 1, False), b"x"),
    "failures nobody asked for": lambda: frame(Failure(0, 99)) + frame(Failure(-1, messages.NOT_LEADER, "", "x")),
}


def test_whatever_a_node_sends_the_client_ends_its_requests_with_an_error_of_this_package(caplog):
    """All of them at once, each with a client of its own: they mostly wait."""
    caplog.set_level(logging.INFO)
    wrong: dict[str, BaseException] = {}

    async def ask(name: str, says: Callable[[], bytes]) -> None:
        liar = Liar(says)
        place = await liar.start()
        dialled: list[str] = []

        class Watched(Dialler):
            async def open(self, endpoint, on_messages, on_closed, node="") -> None:
                dialled.append(endpoint)
                await super().open(endpoint, on_messages, on_closed, node)

        async with Client([place], Watched("", None), timeout=0.4) as client, asyncio.timeout(20):
            for asked in (client.kv.put(b"a", b"1"), client.kv.get(b"a")):
                with pytest.raises(QuorumError):
                    await asked
            assert len(client.endpoints) <= 2 and client._batches.waiting == 0
        liar.stop()
        assert set(dialled) <= {place}, "nobody else was called"
        assert liar.calls < 60, "and not without pause"

    async def main() -> None:
        ended = await asyncio.gather(*(ask(*each) for each in HOSTILE.items()), return_exceptions=True)
        wrong.update({name: end for name, end in zip(HOSTILE, ended, strict=True) if end is not None})

    asyncio.run(main())
    assert not wrong, f"where a node says {', '.join(wrong)}: {wrong}"
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


def test_nodes_that_send_a_client_to_each_other_are_followed_ever_more_slowly():
    """Each says that it was evicted and that the other is the cluster, in ever later epochs."""
    owner = Owner("127.0.0.1:1", "127.0.0.1:2")
    for epoch in range(1, 30):
        (asked,) = owner.asked()
        here = owner.connects[-1][0]
        there = "127.0.0.1:2" if here == "127.0.0.1:1" else "127.0.0.1:1"
        owner.hear(MembersReply(asked, here.replace(":", "-").replace(".", "-"), epoch, (("n", there),)))
        owner.now_us += 1
        owner.session.connected(owner.now_us)
    delays = [delay for _, delay in owner.connects[1:]]
    assert delays[-1] == SETTINGS.retry_max_us and sum(delays) > 10 * SETTINGS.retry_max_us
