"""Nodes find each other, lose each other and serve clients."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket

import pytest
import uvloop

from quorum.errors import ConfigurationError, LocalProtocolError, RemoteProtocolError
from quorum.runtime.codec import encode_frame
from quorum.runtime.connection import FrameConnection
from quorum.runtime.dial import dial
from quorum.runtime.handshake import (
    CONTROL_CHANNEL,
    HANDSHAKE,
    PROTOCOL_VERSION,
    HelloRejected,
    Welcome,
)
from quorum.runtime.limits import Limits
from quorum.runtime.network import ENDED_A_COLLECTION, Network
from runtime.network_ends import (
    CLUSTER,
    TAG,
    Caller,
    Handler,
    Keys,
    free_addresses,
    hello,
    network,
    run,
    started,
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(autouse=True)
def no_traceback(caplog):
    caplog.set_level(logging.INFO)
    yield
    for record in caplog.records:
        assert record.levelno < logging.ERROR and record.exc_info is None, record.getMessage()


# --- nodes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "mTLS"])
def test_every_node_reaches_every_other(keys, loop_factory, secure):
    async def main():
        nodes = ("n1", "n2", "n3")
        addresses = dict(zip(nodes, free_addresses(3), strict=True))
        handlers = {node: Handler() for node in nodes}
        tls = {node: keys.contexts(node) if secure else None for node in nodes}
        networks = {node: network(node, addresses, handlers[node], tls[node]) for node in nodes}
        for one in networks.values():
            await one.start()
        for node, handler in handlers.items():
            await handler.until(lambda h: len(h.news) == 2)
            assert networks[node].connected == tuple(sorted(set(nodes) - {node}))
        big = bytes(range(256)) * 4096
        for sender in nodes:
            for to in nodes:
                networks[sender].send(to, 3, b"head", (b"small",))
                networks[sender].send(to, 3, b"big", (big, b"end"))
            networks[sender].flush()
        for node, handler in handlers.items():
            await handler.until(lambda h: len(h.heads) == 4)
            for other in sorted(set(nodes) - {node}):
                received = [(head, body) for sender, head, body in handler.heads if sender == other]
                assert received == [(b"head", b"small"), (b"big", big + b"end")]
        for one in networks.values():
            await one.close()

    run(main, loop_factory)


def test_a_node_that_ends_is_lost_at_once_and_found_when_it_is_back():
    async def main():
        addresses = dict(zip(("n1", "n2"), free_addresses(2), strict=True))
        first, second = Handler(), Handler()
        dialler = network("n1", addresses, first)
        listener = network("n2", addresses, second)
        await dialler.start()
        await listener.start()
        await first.until(lambda h: h.news == ["up n2"])
        await listener.close()
        await first.until(lambda h: h.news[1:] == ["lost n2"])
        dialler.send("n2", 0, b"into the void")
        again = network("n2", addresses, second, incarnation=2)
        await again.start()
        await first.until(lambda h: h.news[2:] == ["up n2"])
        dialler.send("n2", 0, b"hi")
        await second.until(lambda h: h.heads == [("n1", b"hi", b"")])
        await dialler.close()
        await second.until(lambda h: h.news[-1] == "lost n1")
        assert again.connected == ()
        await again.close()

    run(main)


def test_who_is_not_kept_is_dialled_no_more_and_again_once_it_is_kept_again():
    """What a node does about a member that was evicted, and about one that returns."""

    async def main():
        calls = {"n2": 0, "n3": 0}
        called = asyncio.Event()
        servers, addresses = [], {"n1": free_addresses(1)[0]}
        for name in calls:

            def count(_, writer: asyncio.StreamWriter, name: str = name) -> None:
                calls[name] += 1
                called.set()
                writer.close()

            servers.append(await asyncio.start_server(count, "127.0.0.1", 0))
            addresses[name] = servers[-1].sockets[0].getsockname()

        async def until_called(name: str, more: int) -> None:
            enough = calls[name] + more
            while calls[name] < enough:
                called.clear()
                await called.wait()

        node = network("n1", addresses, Handler())
        await node.start()
        await until_called("n2", 2)
        node.keep({"n1", "n3"}, farewell_s=0.0)
        async with asyncio.timeout(20):
            while not node._dialling["n2"].done():
                await asyncio.sleep(0.01)
        before = calls["n2"]
        await until_called("n3", 3)
        assert calls["n2"] == before
        node.keep({"n2", "n3"}, farewell_s=0.0)
        await until_called("n2", 2)
        node.keep({"n3"}, farewell_s=1000.0)
        await until_called("n2", 2)
        await node.close()
        for server in servers:
            server.close()
            await server.wait_closed()

    run(main)


def test_a_connection_to_who_is_not_kept_stands_and_who_calls_is_heard():
    async def main():
        addresses = dict(zip(("n1", "n2"), free_addresses(2), strict=True))
        first, second = Handler(), Handler()
        one, two = network("n1", addresses, first), network("n2", addresses, second)
        await one.start()
        await two.start()
        await first.until(lambda h: h.news == ["up n2"])
        one.keep({"n1"}, farewell_s=0.0)
        two.keep({"n2"}, farewell_s=0.0)
        one.send("n2", 0, b"you have left")
        one.flush()
        await second.until(lambda h: [head for _, head, _ in h.heads] == [b"you have left"])
        await one.close()
        await second.until(lambda h: h.news[-1] == "lost n1")
        connection = await dial(two.address, None, hello("n1", to="n2", life=2), Caller())
        await second.until(lambda h: h.news[-1] == "up n1")
        connection.close()
        await two.close()

    run(main)


def test_a_newer_connection_of_a_node_replaces_the_older_and_an_older_life_is_refused():
    async def main():
        node, handler = await started("n9")
        callers = [Caller() for _ in range(3)]
        for caller, life in zip(callers, (5, 5, 6), strict=True):
            await dial(node.address, None, hello("n1", life=life), caller)
        assert callers[2].welcome.node == "n9"
        for caller in callers[:2]:
            await caller.ended.wait()
        assert handler.news == ["up n1", "lost n1", "up n1"], "only the end of a life is a loss"
        with pytest.raises(HelloRejected, match="a later life of it is connected"):
            await dial(node.address, None, hello("n1", life=5), Caller())
        node.send("n1", 0, b"to the newest")
        await callers[2].changed.wait()
        assert callers[2].heads == [b"to the newest"]
        await node.close()
        await callers[2].ended.wait()

    run(main)


def test_a_handler_that_refuses_a_message_ends_that_connection_only():
    async def main():
        node, handler = await started("n9")
        liar, honest = Caller(), Caller()
        lying = await dial(node.address, None, hello("n1"), liar)
        kept = await dial(node.address, None, hello("n2"), honest)
        lying.send(encode_frame(TAG, 0, b"nonsense"))
        await liar.ended.wait()
        assert node.connected == ("n2",)
        assert node.complaints.counts == {"n1": 1}
        kept.send(encode_frame(TAG, 0, b"sense"))
        await handler.until(lambda h: h.heads[-1][1] == b"sense")
        await node.close()
        await honest.ended.wait()

    run(main)


def test_blocked_links_drop_frames_and_keep_the_connection():
    async def main():
        addresses = dict(zip(("n1", "n2"), free_addresses(2), strict=True))
        first, second = Handler(), Handler()
        one = network("n1", addresses, first, allow_faults=True)
        two = network("n2", addresses, second)
        await one.start()
        await two.start()
        await first.until(lambda h: h.news == ["up n2"])
        await second.until(lambda h: h.news == ["up n1"])

        def exchange(step: bytes) -> None:
            for sender, to in ((one, "n2"), (two, "n1")):
                sender.send(to, 0, step)
                sender.flush()

        one.faults.blocked_out = {"n2"}
        exchange(b"out blocked")
        await first.until(lambda h: len(h.heads) == 1)
        one.faults.blocked_out, one.faults.blocked_in = (), {"n2"}
        exchange(b"in blocked")
        await second.until(lambda h: len(h.heads) == 1)
        await asyncio.sleep(0.02)
        one.faults.blocked_in = ()
        exchange(b"healed")
        await first.until(lambda h: h.heads[-1][1] == b"healed")
        await second.until(lambda h: h.heads[-1][1] == b"healed")
        assert [head for _, head, _ in first.heads] == [b"out blocked", b"healed"]
        assert [head for _, head, _ in second.heads] == [b"in blocked", b"healed"]
        assert first.news == ["up n2"]
        with pytest.raises(LocalProtocolError, match="no such peer"):
            one.faults.blocked_in = {"n7"}
        with pytest.raises(LocalProtocolError, match="allow_faults"):
            two.faults.blocked_in = {"n1"}
        await one.close()
        await two.close()

    run(main)


def test_a_port_in_use_is_the_operators_error():
    async def main():
        node, _ = await started("n9")
        taken = Network("n8", CLUSTER, 1, node.address, {}, None, Handler())
        with pytest.raises(ConfigurationError, match=r"was to be listened on, but .*in use.*End the process"):
            await taken.start()
        await taken.close()
        elsewhere = Network("n8", CLUSTER, 1, ("192.0.2.1", 7000), {}, None, Handler())
        with pytest.raises(ConfigurationError, match="was to be listened on"):
            await elsewhere.start()
        await node.close()

    run(main)


# --- clients -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "mTLS"])
def test_a_client_is_served_and_missed(keys, secure):
    async def main():
        node, handler = await started("n9", keys.contexts("n9") if secure else None)
        tls = keys.contexts("client.ann", unit="admin") if secure else None
        caller = Caller()
        connection = await dial(node.address, tls, hello("ann", to="", role="client"), caller)
        assert (caller.welcome.node, node.clients) == ("n9", 1)
        connection.send(encode_frame(TAG, 7, b"question", (b"x" * 100_000,)))
        await caller.changed.wait()
        assert caller.heads == [b"question"]
        client = handler.clients[0]
        assert client.name == "client.ann"
        assert (client.is_authenticated, client.role) == ((True, "admin") if secure else (False, None))
        connection.close()
        await handler.until(lambda h: h.news == ["lost client.ann"])
        client.send(7, b"too late")
        node.flush()
        assert node.clients == 0
        await node.close()

    run(main)


def test_what_clients_that_came_and_went_leave_behind_is_collected(keys):
    """Their connections hold each other, and much that the collector of garbage does not count."""

    def held() -> int:
        return sum(type(each) is FrameConnection for each in gc.get_objects())

    async def main():
        node, handler = await started("n9", keys.contexts("n9"))
        tls, before = keys.contexts("client.ann", unit="admin"), held()
        for number in range(3 * ENDED_A_COLLECTION):
            connection = await dial(node.address, tls, hello("ann", to="", role="client"), Caller())
            connection.close()
            await handler.until(lambda h, number=number: len(h.news) == number + 1)
            del connection
            handler.clients.clear()
        assert held() - before < 2 * ENDED_A_COLLECTION
        await node.close()

    gc.collect()
    threshold = gc.get_threshold()
    gc.set_threshold(10**6, 20, 50)
    try:
        run(main)
    finally:
        gc.set_threshold(*threshold)


def test_too_many_clients_are_sent_away_and_peers_keep_their_places():
    async def main():
        node, handler = await started("n9", limits=Limits(clients_max=2))
        for _ in range(2):
            await dial(node.address, None, hello("", role="client"), Caller())
        with pytest.raises(HelloRejected, match="has 2 clients, and no place"):
            await dial(node.address, None, hello("", role="client"), Caller())
        await dial(node.address, None, hello("n1"), Caller())
        assert (node.clients, node.connected) == (2, ("n1",))
        await node.close()
        assert handler.news == ["up n1"], "closing down is not a loss"

    run(main)


# --- the calling end ---


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        bytes(100),
        b"".join(encode_frame(TAG, CONTROL_CHANNEL, b"\xc1")),
        b"".join(encode_frame(TAG, CONTROL_CHANNEL, HANDSHAKE.encode(hello("n1")))),
        b"".join(
            encode_frame(TAG, CONTROL_CHANNEL, HANDSHAKE.encode(Welcome(PROTOCOL_VERSION, "other", "n9", 1)))
        ),
        b"".join(
            encode_frame(TAG, CONTROL_CHANNEL, HANDSHAKE.encode(Welcome(PROTOCOL_VERSION, CLUSTER, "n8", 1)))
        ),
        b"".join(encode_frame(TAG, CONTROL_CHANNEL, HANDSHAKE.encode(Welcome(9, CLUSTER, "n9", 1)))),
    ],
)
def test_a_strange_answer_to_a_hello_is_the_other_sides_fault(answer):
    async def main():
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        with pytest.raises((RemoteProtocolError, ConnectionResetError)):
            await dial(address, None, hello("n1"), Caller())
        server.close()
        await server.wait_closed()

    run(main)


def test_a_node_that_answers_nothing_is_given_up():
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
            await dial(silent.getsockname(), None, hello("n1"), Caller(), limits=Limits(hello_timeout_us=50_000))
        with pytest.raises(ConnectionRefusedError):
            await dial(free_addresses(1)[0], None, hello("n1"), Caller())

    run(main)


def test_frames_right_behind_a_welcome_reach_the_session():
    async def main():
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            welcome = encode_frame(
                TAG, CONTROL_CHANNEL, HANDSHAKE.encode(Welcome(PROTOCOL_VERSION, CLUSTER, "n9", 1))
            )
            writer.write(b"".join([*welcome, *encode_frame(TAG, 0, b"at once")]))
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        caller = Caller()
        connection = await dial(server.sockets[0].getsockname(), None, hello("n1"), caller)
        assert caller.heads == [b"at once"]
        connection.close()
        await caller.ended.wait()
        server.close()
        await server.wait_closed()

    run(main)
