"""Nodes of two incarnations of a cluster never get a connection; clients go on with any of them."""

from __future__ import annotations

import asyncio

import pytest

from quorum.errors import ConfigurationError
from quorum.runtime import network as network_module
from quorum.runtime.config import parse_cluster
from quorum.runtime.dial import dial
from quorum.runtime.handshake import HANDSHAKE, Hello, HelloRejected, Listening, Welcome, objection
from runtime.network_ends import CLUSTER, Caller, Handler, free_addresses, hello, network, run, started

NEW, OTHER = "1-" + "a" * 16, "1-" + "b" * 16


def said_by(node: str, incarnation: str) -> Hello:
    said = hello(node)
    return Hello(said.protocol_version, said.cluster, said.role, node, said.to, 1, incarnation)


@pytest.mark.parametrize("ours", ["", NEW])
@pytest.mark.parametrize("theirs", ["", NEW, OTHER])
def test_a_listener_takes_peers_of_its_own_incarnation_alone(ours, theirs):
    listening = Listening("n9", CLUSTER, frozenset({"n1"}), ours)
    reason = objection(said_by("n1", theirs), listening, is_encrypted=False, identity=None)
    assert (reason is None) == (ours == theirs)
    if reason is not None:
        assert "n1" in reason and "n9" in reason
        assert all((name or "the first incarnation") in reason for name in (ours, theirs))


def test_a_node_that_was_given_up_hears_of_the_recovery_and_not_that_it_is_a_stranger():
    listening = Listening("n9", CLUSTER, frozenset(), NEW)
    reason = objection(said_by("n1", ""), listening, is_encrypted=False, identity=None)
    assert reason is not None and "recovered" in reason and "under another name" in reason


def test_a_client_is_not_asked_of_which_incarnation_it_knows():
    listening = Listening("n9", CLUSTER, frozenset(), NEW)
    assert objection(hello("", to="", role="client"), listening, is_encrypted=False, identity=None) is None


def test_an_old_node_that_calls_is_refused_by_the_new_one_and_the_other_way_round():
    async def main():
        node, handler = await started("n9")
        node.belong(NEW)
        with pytest.raises(HelloRejected, match="n1.*first incarnation.*n9.*" + NEW):
            await dial(node.address, None, said_by("n1", ""), Caller())
        assert handler.news == []
        connection = await dial(node.address, None, said_by("n1", NEW), Caller())
        connection.close()
        await connection.wait_closed()
        await node.close()
        old, _ = await started("n9")
        with pytest.raises(HelloRejected, match="first incarnation"):
            await dial(old.address, None, said_by("n1", NEW), Caller())
        await old.close()

    run(main)


def test_a_caller_looks_at_the_welcome_too_since_an_older_release_welcomes_everybody(monkeypatch):
    """The listener's own objection is taken away; the caller finds out."""
    monkeypatch.setattr(network_module, "objection", lambda *_, **__: None)

    async def main():
        node, _ = await started("n9")
        node.belong(NEW)
        with pytest.raises(HelloRejected, match="n9.*" + NEW + ".*n1.*first incarnation"):
            await dial(node.address, None, said_by("n1", ""), Caller())
        await node.close()

    run(main)


def test_without_the_two_objections_they_would_meet(monkeypatch):
    """Negative control."""
    monkeypatch.setattr(network_module, "objection", lambda *_, **__: None)
    monkeypatch.setattr("quorum.runtime.dial.difference", lambda *_: None)
    assert asyncio.run(meet("", NEW)) == ["up n1"]


async def meet(incarnation_of_n1: str, incarnation_of_n9: str) -> list[str]:
    addresses = dict(zip(("n1", "n9"), free_addresses(2), strict=True))
    handlers = {name: Handler() for name in addresses}
    nodes = {name: network(name, addresses, handlers[name]) for name in addresses}
    nodes["n1"].belong(incarnation_of_n1)
    nodes["n9"].belong(incarnation_of_n9)
    for node in nodes.values():
        await node.start()
    try:
        async with asyncio.timeout(1.0):
            await handlers["n9"].changed.wait()
    except TimeoutError:
        pass
    news = list(handlers["n9"].news)
    for node in nodes.values():
        await node.close()
    return news


def test_two_networks_of_one_incarnation_meet_and_of_two_do_not():
    assert asyncio.run(meet(NEW, NEW)) == ["up n1"]
    assert asyncio.run(meet("", NEW)) == []


def test_what_an_older_release_says_is_the_first_incarnation():
    """Its hello and its welcome end before the field."""
    told = HANDSHAKE.decode(b"\x97\x01\x02\xa2c1\xa4peer\xa2n1\xa2n9\x01", "n1")
    assert isinstance(told, Hello) and told.cluster_incarnation == ""
    welcome = HANDSHAKE.decode(b"\x95\x02\x02\xa2c1\xa2n9\x01", "n9")
    assert isinstance(welcome, Welcome) and welcome.cluster_incarnation == ""


MEMBER = '[[members]]\nid = "n1"\nlisten = "127.0.0.1:7001"\n'


def test_cluster_toml_names_an_incarnation_of_members_that_crash():
    assert parse_cluster(f'cluster_id = "c"\nincarnation = "{NEW}"\n{MEMBER}').incarnation == NEW
    for wrong in ("1", "x", "1-zz", f"0-{'a' * 16}"):
        with pytest.raises(ConfigurationError, match="`quorum recover` writes it"):
            parse_cluster(f'cluster_id = "c"\nincarnation = "{wrong}"\n{MEMBER}')
