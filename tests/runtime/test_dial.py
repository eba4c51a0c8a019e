"""Calling a node: what becomes of a call that nobody waits for any more."""

from __future__ import annotations

import asyncio
import gc

import pytest

from quorum.errors import ConfigurationError
from quorum.runtime.dial import dial
from quorum.runtime.dialler import Dialler
from quorum.runtime.handshake import CLIENT, PROTOCOL_VERSION, Hello


def test_a_call_that_is_given_up_while_it_connects_leaves_no_word_behind():
    async def run():
        loop, said = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _, context: said.append(context["message"]))
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connect = loop.create_connection

        async def interrupted(*arguments, **options):
            await connect(*arguments, **options)
            raise asyncio.CancelledError

        loop.create_connection = interrupted
        hello = Hello(PROTOCOL_VERSION, "", CLIENT, "", "")
        with pytest.raises(asyncio.CancelledError):
            await dial(("127.0.0.1", port), None, hello, lambda connection, welcome: connection.owner)
        await asyncio.sleep(0.1)
        gc.collect()
        server.close()
        return said

    assert asyncio.run(run()) == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "nonsense",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:-1",
        "127.0.0.1:65536",
        "127.0.0.1:99999999",
        "127.0.0.1:" + "9" * 10_000,
        "x" * 70_000 + ":7001",
        "a" * 64 + ".example:7001",
        "..:7001",
        "\x00:7001",
    ],
)
def test_no_address_that_a_node_may_tell_ends_in_anything_but_a_refusal(endpoint: str):
    """Of a cluster whose members may lie, one may tell any address of any other."""

    async def call():
        await Dialler("c", None).open(endpoint, lambda received: None, lambda: None)

    with pytest.raises((ConfigurationError, OSError)):
        asyncio.run(call())
