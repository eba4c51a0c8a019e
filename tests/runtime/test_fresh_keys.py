"""The key that a node makes by itself: kept with its request in one private file, and used from the next start."""

from __future__ import annotations

import stat
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest

from quorum.certificate.keys import is_signed
from quorum.certificate.readmission import Readmission
from quorum.errors import ConfigurationError
from quorum.runtime import key_files, keyring
from quorum.runtime.fresh_keys import FILE_NAME, FreshKeyFile


def request_of(node: str, public_key: bytes) -> bytes:
    return msgspec.msgpack.encode(Readmission(node, public_key, 2, bytes(64), bytes(64)))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    keyring.create_authority(folder)
    keyring.issue(folder, "n1")
    (tmp_path / "data").mkdir()
    return folder


def test_a_node_signs_with_the_key_of_its_keys_folder_until_it_made_one(tmp_path: Path, keys: Path):
    fresh = FreshKeyFile(tmp_path / "data", keys, "n1")
    assert not fresh.is_used and fresh.request() == b""
    assert fresh.signer().public_key == keyring.load_public_keys(keys)["n1"]
    made = fresh.make()
    assert is_signed(made.public_key, b"x", made.sign(b"x"))
    assert not (tmp_path / "data" / FILE_NAME).exists(), "it is lost if it is not kept"


def test_what_was_kept_is_there_in_the_next_life_and_nobody_else_reads_it(tmp_path: Path, keys: Path):
    fresh = FreshKeyFile(tmp_path / "data", keys, "n1")
    made = fresh.make()
    fresh.keep(made, request_of("n1", made.public_key))
    again = FreshKeyFile(tmp_path / "data", keys, "n1")
    assert again.is_used and again.request() == fresh.request() == request_of("n1", made.public_key)
    assert again.signer().public_key == made.public_key
    assert stat.S_IMODE((tmp_path / "data" / FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"node": "n2", "key": "' + "00" * 32 + '", "request": ""}',
        '{"node": "n1", "key": "00", "request": ""}',
        '{"node": "n1", "key": "' + "00" * 32 + '", "request": "?"}',
    ],
)
def test_a_file_that_it_did_not_make_is_refused_with_the_remedy(tmp_path: Path, keys: Path, text: str):
    (tmp_path / "data" / FILE_NAME).write_text(text)
    with pytest.raises(ConfigurationError, match=r"not one that it made.*Restore it from a backup"):
        FreshKeyFile(tmp_path / "data", keys, "n1")


@pytest.mark.parametrize("damage", ["another key", "another node", "no request", "half a request"])
def test_a_key_whose_request_is_damaged_stops_the_start_and_not_the_node_later(
    tmp_path: Path, keys: Path, damage: str
):
    """With such a file the node would never be heard when it asks to come back, or end in the middle of a turn."""
    fresh = FreshKeyFile(tmp_path / "data", keys, "n1")
    made = fresh.make()
    request = {
        "another key": request_of("n1", fresh.make().public_key),
        "another node": request_of("n2", made.public_key),
        "no request": b"",
        "half a request": request_of("n1", made.public_key)[:40],
    }[damage]
    fresh.keep(made, request)
    with pytest.raises(ConfigurationError, match="not one that it made"):
        FreshKeyFile(tmp_path / "data", keys, "n1")


def test_a_key_file_that_cannot_be_read_is_said_to_be_so(tmp_path: Path, keys: Path):
    (tmp_path / "data" / FILE_NAME).mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        FreshKeyFile(tmp_path / "data", keys, "n1")


def test_a_key_that_finds_no_space_leaves_the_one_before_in_use(tmp_path: Path, keys: Path):
    fresh = FreshKeyFile(tmp_path / "data", keys, "n1")
    made = fresh.make()
    fresh.keep(made, request_of("n1", made.public_key))
    second = fresh.make()
    no_space = OSError(28, "No space left on device")
    with (
        patch.object(key_files.os, "fsync", side_effect=no_space),
        pytest.raises(ConfigurationError, match="No space"),
    ):
        fresh.keep(second, request_of("n1", second.public_key))
    assert fresh.signer().public_key == made.public_key
    again = FreshKeyFile(tmp_path / "data", keys, "n1")
    assert again.signer().public_key == made.public_key
    assert [path.name for path in (tmp_path / "data").iterdir()] == [FILE_NAME], "no half a file is left"


def test_the_name_of_a_new_key_file_outlives_a_power_cut(tmp_path: Path, keys: Path):
    """A key that the others heard of, and that is lost, keeps the node out for ever."""
    fresh = FreshKeyFile(tmp_path / "data", keys, "n1")
    made, synced = fresh.make(), []

    def fsync(descriptor: int) -> None:
        synced.append(stat.S_ISDIR(key_files.os.fstat(descriptor).st_mode))

    with patch.object(key_files.os, "fsync", fsync):
        fresh.keep(made, request_of("n1", made.public_key))
    assert synced == [False, True], "the file before it has its name, and then its folder"
