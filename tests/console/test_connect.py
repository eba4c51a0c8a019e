"""`quorum.connect`: which addresses, keys and identities it takes, before anything is sent."""

from __future__ import annotations

import asyncio

import pytest

import quorum
from quorum.errors import ConfigurationError, LocalProtocolError, NotLeader
from quorum.runtime.connect import at_config, at_url
from quorum.runtime.keyring import create_authority, issue
from quorum.runtime.setup import init_cluster


@pytest.mark.parametrize(
    "url", ["", "quorum://", "etcd://127.0.0.1:1", "127.0.0.1:1", "quorum://host", "quorum://127.0.0.1:0", None]
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ConfigurationError):
        at_url(url)


def test_a_url_names_several_nodes():
    place = at_url("quorum://127.0.0.1:7001, [::1]:7002")
    assert list(place.endpoints) == ["127.0.0.1:7001", "[::1]:7002"]


def test_plain_text_beyond_this_machine_is_refused():
    with pytest.raises(ConfigurationError, match="Give the keys folder"):
        quorum.connect("quorum://127.0.0.1:1,10.0.0.1:7001")


def test_a_url_and_a_configuration_together_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="Give one of them"):
        quorum.connect("quorum://127.0.0.1:1", config=tmp_path)


def test_the_client_identity_is_the_admin_or_the_only_one(tmp_path):
    keys = tmp_path / "keys"
    create_authority(keys)
    with pytest.raises(ConfigurationError, match="no certificate of a client is there"):
        at_url("quorum://127.0.0.1:1", tls=keys)
    issue(keys, "app", kind="client")
    at_url("quorum://127.0.0.1:1", tls=keys)
    issue(keys, "other", kind="client")
    with pytest.raises(ConfigurationError, match=r"2 are there: client\.app, client\.other"):
        at_url("quorum://127.0.0.1:1", tls=keys)
    at_url("quorum://127.0.0.1:1", tls=keys, identity="client.other")


def test_a_variable_says_which_client_to_be_unless_the_program_does(tmp_path, monkeypatch):
    keys = tmp_path / "keys"
    create_authority(keys)
    for name in ("app", "other"):
        issue(keys, name, kind="client")
    monkeypatch.setenv("QUORUM_IDENTITY", "client.other")
    at_url("quorum://127.0.0.1:1", tls=keys)
    monkeypatch.setenv("QUORUM_IDENTITY", "client.none")
    at_url("quorum://127.0.0.1:1", tls=keys, identity="client.app")
    with pytest.raises(ConfigurationError, match=r"QUORUM_IDENTITY=client\.none .* unset the variable"):
        at_url("quorum://127.0.0.1:1", tls=keys)


def test_keys_are_found_beside_the_configuration(tmp_path):
    layout = init_cluster(tmp_path / "c", nodes=3)
    place = at_config(layout.cluster)
    assert list(place.endpoints) == ["n1", "n2", "n3"]
    assert place.cluster_id == layout.config.cluster_id


def test_a_request_without_a_loop_points_to_the_blocking_face():
    connection = quorum.connect("quorum://127.0.0.1:1")
    with pytest.raises(LocalProtocolError, match="sync"):
        connection.kv  # noqa: B018


def test_the_blocking_face_reports_errors_and_closes_more_than_once():
    connection = quorum.connect("quorum://127.0.0.1:1", timeout=0.05)
    with connection.sync as sync, pytest.raises(NotLeader):
        sync.kv.put(b"a", b"b")
    sync.close()
    with pytest.raises(LocalProtocolError, match="closed client"):
        sync.kv.get(b"a")


def test_the_asyncio_face_reports_that_nobody_leads():
    async def main():
        async with quorum.connect("quorum://127.0.0.1:1", timeout=0.05) as client:
            with pytest.raises(NotLeader):
                await client.kv.put(b"a", b"b")

    asyncio.run(main())
