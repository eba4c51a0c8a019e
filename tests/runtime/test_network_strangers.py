"""Strangers, liars and garbage are shown the door, quietly, and everybody else is served on."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl

import pytest
import uvloop

from quorum.errors import RemoteProtocolError
from quorum.runtime.codec import encode_frame
from quorum.runtime.dial import dial
from quorum.runtime.handshake import (
    CONTROL_CHANNEL,
    HANDSHAKE,
    HelloRejected,
    Listening,
    Rejected,
    objection,
)
from quorum.runtime.limits import Limits
from runtime.network_ends import (
    CLUSTER,
    TAG,
    Caller,
    Keys,
    hello,
    run,
    started,
    still_serves,
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


# --- who is let in -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (hello("n1", version=1), "version 1 of the protocol was asked for"),
        (hello("n1", cluster="other"), "belongs to another one"),
        (hello("n1", to="n8"), "this is n9"),
        (hello("n1", to=""), "this is n9"),
        (hello("n9"), "is the node it called"),
        (hello("n7"), "knows no node of that name"),
        (hello(""), "knows no node of that name"),
        (hello("../../etc"), "knows no node of that name"),
        (hello("\x00\n\x1b[31m" + "x" * 500), "knows no node of that name"),
        (hello("n99"), "the one with the smaller id calls"),
        (hello("A b", role="client"), "Choose such a name"),
        (hello("me", to="n8", role="client"), "this is n9"),
    ],
)
def test_a_hello_that_does_not_fit_is_rejected_with_the_reason(said, reason):
    async def main():
        node, handler = await started("n9", peers=("n1", "n2", "n99"))
        with pytest.raises(HelloRejected, match=reason) as caught:
            await dial(node.address, None, said, Caller())
        assert str(caught.value).isprintable() and len(str(caught.value)) < 400
        assert handler.news == []
        assert node.complaints.counts["127.0.0.1"] == 1
        await still_serves(node)
        await node.close()

    run(main)


def test_a_call_that_is_given_up_at_any_moment_leaves_nothing_behind_that_complains(keys):
    """The fixture of this file fails it where asyncio logs an exception that nobody took."""

    async def main():
        node, _ = await started("n9", keys.contexts("n9"), peers=("n1",))
        for turns in range(40):
            call = asyncio.ensure_future(dial(node.address, keys.contexts("n1"), hello("n1"), Caller()))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            for outcome in await asyncio.gather(call, return_exceptions=True):
                if not isinstance(outcome, BaseException):
                    outcome.close()
            await asyncio.sleep(0.005)
        await node.close()
        await asyncio.sleep(0.05)
        gc.collect()

    run(main)


def test_a_client_that_knows_no_cluster_is_welcome_and_a_peer_is_not():
    """`quorum://host:port` says where to call, not whom."""

    async def main():
        node, _ = await started("n9", peers=("n1",))
        connection = await dial(node.address, None, hello("", cluster="", to="", role="client"), Caller())
        connection.close()
        with pytest.raises(HelloRejected, match="belongs to another one"):
            await dial(node.address, None, hello("n1", cluster=""), Caller())
        await node.close()

    run(main)


@pytest.mark.parametrize(
    ("identity", "said", "reason"),
    [
        ("n2", hello("n1"), "n1 was claimed, but the certificate names 'n2'"),
        ("client.admin", hello("n1"), "n1 was claimed, but the certificate names 'client.admin'"),
        ("client.n1", hello("n1"), "n1 was claimed, but the certificate names 'client.n1'"),
        ("n1", hello("n1", role="client"), "clients need one of their own"),
        ("client.a", hello("b", role="client"), "client b was claimed"),
        ("not_an_id!", hello("n1"), "'nobody'"),
    ],
)
def test_a_certificate_speaks_for_its_own_name_only(keys, identity, said, reason):
    async def main():
        node, handler = await started("n9", keys.contexts("n9"))
        with pytest.raises(HelloRejected, match=reason):
            await dial(node.address, keys.contexts(identity), said, Caller())
        assert handler.news == []
        await still_serves(node, keys.contexts("n1"))
        await node.close()

    run(main)


@pytest.mark.parametrize(
    "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize("fault", ["no certificate", "another authority", "expired", "no TLS"])
def test_without_a_good_certificate_nobody_gets_as_far_as_a_hello(keys, fault, loop_factory, caplog):
    async def main():
        node, handler = await started("n9", keys.contexts("n9"))
        tls = {
            "no certificate": keys.anonymous,
            "another authority": lambda: keys.contexts("n1", issuer=keys.foreign),
            "expired": lambda: keys.contexts("n1", days=-1),
            "no TLS": lambda: None,
        }[fault]()
        for _ in range(5):
            with pytest.raises(OSError, match=r"closed the connection|reset|EOF"):
                await dial(node.address, tls, hello("n1"), Caller())
        assert handler.news == []
        assert node.complaints.counts["127.0.0.1"] == 5
        await still_serves(node, keys.contexts("n1"))
        await node.close()

    run(main, loop_factory)
    lines = [record.getMessage() for record in caplog.records if "TLS handshake failed" in record.getMessage()]
    assert len(lines) == 1, "one line, not one an attempt"
    if fault == "expired":
        assert "certificate has expired" in lines[0]


def test_a_node_is_not_fooled_by_another_node_or_a_client_at_a_peers_address(keys):
    """Server authentication: the certificate at the other end must name the node that was called."""

    async def main():
        for identity in ("n3", "client.n9"):
            node, _ = await started("n9", keys.contexts(identity))
            with pytest.raises(RemoteProtocolError, match="its certificate names"):
                await dial(node.address, keys.contexts("n1"), hello("n1"), Caller())
            await node.close()
        node, _ = await started("n9", keys.contexts("n9", issuer=keys.foreign))
        with pytest.raises(ssl.SSLError):
            await dial(node.address, keys.contexts("n1"), hello("n1"), Caller())
        await node.close()

    run(main)


def test_objections_need_no_network():
    listening = Listening("n9", CLUSTER, frozenset({"n1"}))
    assert objection(hello("n1"), listening, is_encrypted=True, identity="n1") is None
    assert objection(hello("n1"), listening, is_encrypted=False, identity=None) is None
    assert objection(hello("", to="", role="client"), listening, is_encrypted=True, identity="client.a") is None
    assert "nobody" in str(objection(hello("n1"), listening, is_encrypted=True, identity=None))


# --- hostile bytes -------------------------------------------------------------------------------------

HELLO = HANDSHAKE.encode(hello("n1"))
HOSTILE = {
    "length 0": bytes(4),
    "length 2^31": (2**31).to_bytes(4, "little") + b"x" * 10,
    "length 2^63": (2**63).to_bytes(8, "big") + b"x" * 10,
    "length -1": b"\xff" * 10,
    "larger than a hello may be": (5000).to_bytes(4, "little") + b"\x00" * 6,
    "HTTP": b"GET / HTTP/1.1\r\nHost: n9\r\n\r\n",
    "zeros": bytes(5000),
    "array of 2^32-1": b"".join(encode_frame(TAG, CONTROL_CHANNEL, b"\xdd\xff\xff\xff\xff")),
    "not a hello": b"".join(encode_frame(TAG, CONTROL_CHANNEL, HANDSHAKE.encode(Rejected("no")))),
    "hello on another channel": b"".join(encode_frame(TAG, 0, HELLO)),
    "two hellos": b"".join(encode_frame(TAG, CONTROL_CHANNEL, HELLO)) * 2,
    "nested": b"".join(encode_frame(TAG, CONTROL_CHANNEL, b"\x91" * 4000)),
}


async def send_raw(address: tuple[str, int], data: bytes) -> bytes:
    """Send bytes and read until the other side closes."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "mTLS"])
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_first_bytes_close_the_connection_and_nothing_else(keys, data, secure, caplog):
    async def main():
        limits = Limits(hello_timeout_us=300_000)  # for bytes that look like the beginning of a TLS record
        node, handler = await started("n9", keys.contexts("n9") if secure else None, limits=limits)
        answer = await send_raw(node.address, data)
        assert len(answer) < 20, "at most a TLS alert"
        assert handler.news == []
        assert node.complaints.counts["127.0.0.1"] == 1
        await still_serves(node, keys.contexts("n1") if secure else None)
        await node.close()

    run(main)
    assert "Host" not in caplog.text


def test_hostile_bytes_inside_a_session_end_that_session():
    async def main():
        node, handler = await started("n9")
        kept = Caller()
        await dial(node.address, None, hello("n2"), kept)
        for data in (bytes(10), b"\xff" * 30, (2**31).to_bytes(4, "little")):
            caller = Caller()
            connection = await dial(node.address, None, hello("n1"), caller)
            connection.send([data])
            await caller.ended.wait()
        await handler.until(lambda h: h.news == ["up n2"] + ["up n1", "lost n1"] * 3)
        assert node.complaints.counts == {"n1": 3}
        assert not kept.ended.is_set()
        await node.close()

    run(main)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "mTLS"])
def test_silence_and_slow_hellos_are_ended_at_the_deadline(keys, secure):
    async def main():
        limits = Limits(hello_timeout_us=100_000)
        node, _ = await started("n9", keys.contexts("n9") if secure else None, limits=limits)
        slow = b"\x16\x03\x01\x02\x00" if secure else b"".join(encode_frame(TAG, CONTROL_CHANNEL, HELLO))[:7]
        await asyncio.gather(*(send_raw(node.address, data) for data in (b"", slow)))
        assert node.complaints.counts["127.0.0.1"] == 2
        await node.close()

    run(main)


def test_a_frame_that_stops_half_way_is_ended_at_the_deadline():
    async def main():
        node, handler = await started("n9", limits=Limits(frame_timeout_us=50_000))
        caller = Caller()
        connection = await dial(node.address, None, hello("n1"), caller)
        connection.send([b"".join(encode_frame(TAG, 0, b"never complete"))[:-1]])
        await caller.ended.wait()
        assert (handler.news, handler.heads) == (["up n1", "lost n1"], [])
        await node.close()

    run(main)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "mTLS"])
def test_a_crowd_that_says_nothing_cannot_keep_a_peer_out(keys, secure):
    async def main():
        limits = Limits(waiting_max=8)
        node, _ = await started("n9", keys.contexts("n9") if secure else None, limits=limits)
        crowd = [asyncio.ensure_future(send_raw(node.address, b"")) for _ in range(40)]
        async with asyncio.timeout(20):
            while sum(one.done() for one in crowd) < 32:
                await asyncio.sleep(0.005)
        assert node._listener.waiting <= 8
        await still_serves(node, keys.contexts("n1") if secure else None)
        await node.close()
        await asyncio.gather(*crowd)

    run(main)
