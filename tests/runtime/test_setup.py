"""What `quorum init` writes, that it reads back, and that it never writes twice."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

import pytest

from quorum.errors import ConfigurationError
from quorum.runtime import setup
from quorum.runtime.config import load_cluster, load_node
from quorum.runtime.keyring import load_public_keys, load_signer, load_tls
from quorum.runtime.setup import free_ports, init_cluster


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refused(folder: Path, match: str, **asked: object) -> None:
    """Nothing is left behind by what is refused."""
    before = sorted(folder.rglob("*")) if folder.exists() else None
    with pytest.raises(ConfigurationError, match=match):
        init_cluster(folder, **asked)  # type: ignore[arg-type]
    assert (sorted(folder.rglob("*")) if folder.exists() else None) == before


def test_a_new_cluster_reads_back_and_every_identity_works(tmp_path: Path) -> None:
    layout = init_cluster(tmp_path / "a" / "cluster", nodes=3)
    assert load_cluster(layout.cluster) == layout.config
    assert sorted(layout.nodes) == ["n1", "n2", "n3"]
    for node, path in layout.nodes.items():
        config = load_node(path)
        assert (config.node, config.cluster, config.keys) == (node, layout.cluster, layout.keys)
        assert config.data == layout.folder / node / "data"
        assert not config.insecure and not config.allow_faults
        load_tls(config.keys, node)
        assert load_signer(config.keys, node).public_key == load_public_keys(config.keys)[node]
    load_tls(layout.keys, layout.admin)
    assert sorted(path.name for path in layout.folder.iterdir()) == ["cluster.toml", "keys", "n1", "n2", "n3"]


def test_folders_and_private_files_are_for_their_owner_only(tmp_path: Path) -> None:
    layout = init_cluster(tmp_path / "cluster", nodes=3)
    for folder in (layout.folder, layout.keys, *(path.parent for path in layout.nodes.values())):
        assert mode_of(folder) == 0o700
    for path in layout.keys.iterdir():
        assert mode_of(path) == (0o600 if path.suffix in (".key", ".sign") else 0o644)
    assert mode_of(layout.cluster) == 0o644


def test_five_nodes_get_different_free_loopback_ports(tmp_path: Path) -> None:
    config = init_cluster(tmp_path).config
    assert len({member.listen.port for member in config.members}) == 5
    assert config.is_loopback


def test_two_clusters_have_different_ids_and_authorities(tmp_path: Path) -> None:
    first, second = (init_cluster(tmp_path / name, nodes=1) for name in "ab")
    assert first.config.cluster_id != second.config.cluster_id
    assert (first.keys / "ca.crt").read_bytes() != (second.keys / "ca.crt").read_bytes()


def test_what_was_asked_for_is_written(tmp_path: Path) -> None:
    layout = init_cluster(
        tmp_path,
        names=["b", "a", "c-1"],
        base_port=9000,
        faults=1,
        reads='a*b + a*"c-1" + b*"c-1"',
        zones=["east", "west"],
        insecure=True,
        allow_faults=True,
    )
    config = layout.config
    assert [(member.id, str(member.listen), member.zone) for member in config.members] == [
        ("b", "127.0.0.1:9000", "east"),
        ("a", "127.0.0.1:9001", "west"),
        ("c-1", "127.0.0.1:9002", "east"),
    ]
    assert (config.faults, config.reads) == (1, 'a*b + a*"c-1" + b*"c-1"')
    node = load_node(layout.nodes["c-1"])
    assert node.insecure and node.allow_faults
    load_tls(layout.keys, "a")


def test_nodes_may_live_on_other_machines(tmp_path: Path) -> None:
    addresses = ["10.0.0.1:7000", "db-2.example:7000", "[fe80::3]:7000"]
    layout = init_cluster(tmp_path, names=["a", "b", "c"], addresses=addresses)
    assert [str(member.advertise) for member in layout.config.members] == addresses


def test_the_written_file_explains_itself(tmp_path: Path) -> None:
    text = init_cluster(tmp_path, nodes=3).cluster.read_text()
    for key in ("faults", "reads", "[timing]", "snapshot_entries", "advertise", "weight"):
        assert key in text
    assert text.count("#") > 10
    assert max(map(len, text.splitlines())) <= 120


def test_a_policy_and_its_times_are_written_and_one_that_is_none_is_refused(tmp_path: Path) -> None:
    config = init_cluster(
        tmp_path / "a", nodes=3, policy="adaptive", hold_us=1_500_000, stable_us=2_000_000
    ).config
    assert (config.policy, config.participation.hold_us, config.participation.stable_us) == (
        "adaptive",
        1_500_000,
        2_000_000,
    )
    assert [init_cluster(tmp_path / str(n), nodes=n).config.policy for n in (3, 5)] == ["fixed", "adaptive"]
    refused(tmp_path / "b", "Use fixed or adaptive", nodes=3, policy="whatever")


def test_a_default_that_is_only_a_comment_is_sound_when_uncommented(tmp_path: Path) -> None:
    layout = init_cluster(tmp_path, nodes=5)
    layout.cluster.write_text(layout.cluster.read_text().replace("# faults", "faults"))
    assert load_cluster(layout.cluster).faults == 2


# --- once ----------------------------------------------------------------------------------------------


def test_a_cluster_is_set_up_once(tmp_path: Path) -> None:
    layout = init_cluster(tmp_path, nodes=3)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused(tmp_path, "set up once, and nothing is overwritten", nodes=3)
    layout.cluster.unlink()
    del before[layout.cluster]
    refused(tmp_path, "set up once", nodes=3)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["cluster.toml", "keys", "n2"])
def test_any_part_of_a_cluster_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("nowhere")
    refused(tmp_path, f"{name} exists", nodes=3)


def test_other_files_in_the_folder_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("pass")
    init_cluster(tmp_path, nodes=1)
    assert (tmp_path / "app.py").read_text() == "pass"


def test_of_two_calls_at_once_one_stops_and_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other call finishes after this one looked at the folder."""
    check = setup._refuse_existing

    def overtaken(*arguments: object) -> None:
        monkeypatch.setattr(setup, "_refuse_existing", check)
        init_cluster(tmp_path, nodes=3)

    monkeypatch.setattr(setup, "_refuse_existing", overtaken)
    with pytest.raises(ConfigurationError, match="writing there failed"):
        init_cluster(tmp_path, nodes=3)
    load_tls(tmp_path / "keys", load_node(tmp_path / "n1" / "node.toml").node)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cluster.toml", "keys", "n1", "n2", "n3"]


@pytest.mark.parametrize("existed", [True, False])
def test_an_error_half_way_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existed: bool
) -> None:
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if target.name == "cluster.toml":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    refused(tmp_path if existed else tmp_path / "new", r"No space left on device.*free space", nodes=3)


def test_what_a_killed_call_left_is_cleared_away_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    """It holds the key of an authority, which nobody will use."""
    for name in ("dead", "alive"):
        (tmp_path / f".init-{name}" / "keys").mkdir(parents=True)
    alive = os.open(tmp_path / ".init-alive", os.O_RDONLY)
    try:
        fcntl.flock(alive, fcntl.LOCK_EX)
        init_cluster(tmp_path, nodes=1)
    finally:
        os.close(alive)
    assert sorted(path.name for path in tmp_path.glob(".init-*")) == [".init-alive"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file" / "cluster", "writing there failed", nodes=1)


# --- what cannot run -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"nodes": 0}, "N=0"),
        ({"nodes": True}, "N=True"),
        ({"nodes": 10**9}, "at most 999"),
        ({"names": []}, "N=0"),
        ({"names": ["a", "a", "b"]}, "more than one member"),
        ({"names": ["../a"]}, "node id"),
        ({"names": ["keys"]}, "folder would be the one of the keys"),
        ({"faults": 3}, "2T.1 = 7 are needed"),
        ({"faults": -1}, "faults was given"),
        ({"model": "byzantine", "nodes": 3, "faults": 1}, "3T.1 = 4 are needed"),
        ({"model": 'crash"\nengine = "x'}, "model = "),
        ({"reads": "n1 + n2"}, "share no node"),
        ({"reads": "\ud800"}, "half a character"),
        ({"zones": ["a b"]}, "zone"),
        ({"base_port": 65_533}, "Choose a base port up to 65531"),
        ({"base_port": 0}, "ports run from 1"),
        ({"addresses": ["a:1"]}, "1 addresses were given for 5 nodes"),
        ({"addresses": ["a:1"], "nodes": 1, "base_port": 5}, "and a base port too"),
        ({"addresses": ["a"], "nodes": 1}, "a host and a port"),
        ({"addresses": ["0.0.0.0:1"], "nodes": 1}, "nobody can dial"),
        ({"addresses": ["10.0.0.1:1"], "nodes": 1, "insecure": True}, "insecure was asked for"),
    ],
)
def test_what_cannot_run_is_refused_and_nothing_is_written(
    tmp_path: Path, asked: dict[str, object], said: str
) -> None:
    refused(tmp_path / "new", said, **asked)


def test_free_ports_are_different_and_given_back() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ports[0]))


def test_too_few_free_ports_are_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_PORTS_LAST", setup._PORTS_FIRST + 1)
    with pytest.raises(ConfigurationError, match=r"3 free ports on .* but only [01] were found"):
        free_ports(3)


def test_the_application_of_a_ledger_is_written_or_where_to_name_one(tmp_path: Path) -> None:
    named = init_cluster(tmp_path / "a", nodes=1, ledger="bank:Bank")
    assert named.config.ledger == "bank:Bank"
    other = init_cluster(tmp_path / "b", nodes=1)
    assert other.config.ledger == "" and '# ledger = "MODULE:CLASS"' in other.cluster.read_text()
    with pytest.raises(ConfigurationError, match="ledger"):
        init_cluster(tmp_path / "c", nodes=1, ledger="no place")
