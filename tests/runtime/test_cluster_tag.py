"""Every message says of which cluster it is: one of another is refused, and nothing that was promised is lost."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import RemoteProtocolError
from quorum.runtime.client import Client
from quorum.runtime.codec import (
    FRAME_BYTES_MAX,
    NO_CLUSTER,
    Frame,
    FrameParser,
    cluster_tag,
    encode_frame,
)
from quorum.runtime.dial import dial
from quorum.runtime.handshake import CONTROL_CHANNEL, HANDSHAKE, PROTOCOL_VERSION, Welcome
from quorum.runtime.setup import init_cluster
from runtime.network_ends import CLUSTER, TAG, Caller, hello, run, started
from runtime.test_node import Cluster

OTHER = cluster_tag("c2")
TAG_AT = slice(10, 14)
"""Where the tag is in a frame."""
REFUSAL = r"^n2: sent a frame of another cluster \(tag [0-9a-f]{8}\), but this .* Look for a proxy"


def frame(tag: int, head: bytes, body: bytes = b"", channel: int = 0) -> bytes:
    return b"".join(encode_frame(tag, channel, head, (body,) if body else ()))


def feed(parser: FrameParser, stream: bytes, cuts: list[int]) -> list[Frame]:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [one for a, b in pairwise(places) for one in parser.feed(stream[a:b])]


def test_a_tag_is_of_its_cluster_and_of_no_other():
    assert TAG == cluster_tag(CLUSTER) != OTHER
    assert cluster_tag("") == NO_CLUSTER
    tags = {cluster_tag(f"cluster-{number}") for number in range(10_000)}
    assert len(tags) > 9_990 and NO_CLUSTER not in tags and max(tags) < 2**32


@given(cuts=st.lists(st.integers(0, 100), max_size=8), place=st.integers(0, 3))
def test_a_frame_of_another_cluster_is_refused_wherever_the_stream_is_cut(cuts, place):
    """The same stream under one tag is taken whole."""
    heads = [b"a", b"b", b"c", b"d"]
    tags = [OTHER if number == place else TAG for number in range(4)]
    with pytest.raises(RemoteProtocolError, match=REFUSAL):
        feed(FrameParser(sender="n2", tag=TAG), b"".join(map(frame, tags, heads)), cuts)
    taken = feed(FrameParser(sender="n2", tag=TAG), b"".join(frame(TAG, head) for head in heads), cuts)
    assert [head for _, head, _ in taken] == heads


def test_it_is_refused_before_the_rest_of_it_has_come():
    """Nobody collects 16 MiB of what will not be taken."""
    parser = FrameParser(sender="n2", tag=TAG)
    with pytest.raises(RemoteProtocolError, match=REFUSAL):
        parser.feed(frame(OTHER, b"head", bytes(FRAME_BYTES_MAX - 100))[:14])


@pytest.mark.parametrize("cuts", [[], list(range(100))], ids=["at once", "byte by byte"])
def test_where_no_cluster_is_known_the_first_frame_that_has_one_says_which(cuts):
    parser = FrameParser(sender="n2")
    feed(parser, frame(NO_CLUSTER, b"hello") + frame(TAG, b"a"), cuts)
    assert parser.tag == TAG
    for later in (OTHER, NO_CLUSTER):
        with pytest.raises(RemoteProtocolError, match=REFUSAL):
            feed(parser, frame(TAG, b"b") + frame(later, b"c"), cuts)
        parser = FrameParser(sender="n2", tag=TAG)


@pytest.mark.parametrize("said", [hello("n1"), hello("ann", to="", role="client")], ids=["a node", "a client"])
def test_a_connection_ends_at_a_frame_of_another_cluster_and_the_others_stand(said, caplog):
    caplog.set_level(logging.INFO)

    async def main():
        node, handler = await started("n9")
        kept, mixed = Caller(), Caller()
        await dial(node.address, None, hello("n2"), kept)
        for strange in (OTHER, NO_CLUSTER):
            mixed = Caller()
            connection = await dial(node.address, None, said, mixed)
            connection.send([frame(TAG, b"ours") + frame(strange, b"theirs")])
            await mixed.ended.wait()
        assert [head for _, head, _ in handler.heads] == [] and mixed.heads == []
        assert sum(node.complaints.counts.values()) == 2
        assert not kept.ended.is_set() and node.connected == ("n2",)
        again = Caller()
        connection = await dial(node.address, None, hello("n1"), again)
        connection.send([frame(TAG, b"ours")])
        await handler.until(lambda h: [head for _, head, _ in h.heads] == [b"ours"])
        await node.close()

    run(main)
    lines = [record.getMessage() for record in caplog.records if "another cluster" in record.getMessage()]
    assert lines and lines[0].endswith("mixes two clusters. The connection was closed.")


@pytest.mark.parametrize(
    ("said", "tag"),
    [
        (hello("n1"), OTHER),
        (hello("n1"), NO_CLUSTER),
        (hello("n1", cluster="c2"), TAG),
        (hello("ann", cluster="", to="", role="client"), TAG),
        (hello("ann", cluster="", to="", role="client"), OTHER),
    ],
)
def test_a_hello_under_the_tag_of_another_cluster_is_not_answered(said, tag):
    async def main():
        node, _ = await started("n9")
        reader, writer = await asyncio.open_connection(*node.address)
        writer.write(frame(tag, HANDSHAKE.encode(said), channel=CONTROL_CHANNEL))
        assert await reader.read() == b""
        assert node.complaints.counts == {"127.0.0.1": 1}
        writer.close()
        await node.close()

    run(main)


@pytest.mark.parametrize("cluster", [CLUSTER, ""], ids=["a caller that knows it", "a caller that does not"])
@pytest.mark.parametrize(("tag", "is_taken"), [(TAG, True), (OTHER, False), (NO_CLUSTER, False)])
def test_a_welcome_must_come_under_the_tag_of_its_cluster(cluster, tag, is_taken):
    async def main():
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            welcome = HANDSHAKE.encode(Welcome(PROTOCOL_VERSION, CLUSTER, "n9", 1))
            writer.write(frame(tag, welcome, channel=CONTROL_CHANNEL))
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address, caller = server.sockets[0].getsockname(), Caller()
        call = dial(address, None, hello("ann", cluster=cluster, to="", role="client"), caller)
        if is_taken:
            (await call).close()
            await caller.ended.wait()
        else:
            with pytest.raises(RemoteProtocolError, match="under the tag of another"):
                await call
        server.close()
        await server.wait_closed()

    run(main)


class Mixer:
    """A proxy in front of one node that gives one frame of each way another cluster's tag, once, if it is told to.

    `connections` counts how often it was called.
    """

    def __init__(self, endpoint: str, up: int | None = None, down: int | None = None) -> None:
        self._host, _, port = endpoint.rpartition(":")
        self._port = int(port)
        self._mixed = {"up": up, "down": down}
        self.connections = 0
        self._ends: list[asyncio.Task[None]] = []

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._server.close()
        for task in self._ends:
            task.cancel()
        await asyncio.gather(*self._ends, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection(self._host, self._port)
        for way, ends in (("up", (reader, back)), ("down", (there, writer))):
            self._ends.append(asyncio.create_task(self._carry(way, *ends)))

    async def _carry(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        try:
            while True:
                length = await reader.readexactly(4)
                whole = bytearray(length + await reader.readexactly(int.from_bytes(length, "little")))
                if number == self._mixed[way]:
                    whole[TAG_AT] = OTHER.to_bytes(4, "little")
                    self._mixed[way] = None
                writer.write(whole)
                number += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # that way has ended
        finally:
            writer.close()


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("up", "down", "connections"),
    [(None, None, 1), (5, None, 2), (None, 5, 2), (5, 9, 3)],
    ids=["neither", "a request", "an answer", "one of each"],
)
def test_through_a_proxy_that_mixes_clusters_every_put_is_done_and_done_once(tmp_path, up, down, connections):
    """The refused frame costs a connection, and the client repeats under the same request id."""
    layout = init_cluster(tmp_path / "c", nodes=1, insecure=True)

    async def main():
        cluster = Cluster(layout, insecure=True)
        await cluster.start_all(bootstrap=True)
        await cluster.leader()
        mixer = Mixer(next(iter(cluster.endpoints.values())), up, down)
        place = await mixer.start()
        try:
            async with (
                asyncio.timeout(30),
                Client([place], cluster.dialler(), timeout=20, discover=False) as client,
            ):
                for _ in range(12):
                    await client.kv.put(b"k", b"v")
                item = await client.kv.get(b"k")
            assert item is not None and item.version == 12
            assert mixer.connections == connections
        finally:
            await mixer.stop()
            await cluster.stop_all()

    asyncio.run(main())
