"""The key that a node makes by itself: kept with its request in one private file, and used from the next start."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from quorum.certificate.keys import is_signed
from quorum.errors import ConfigurationError
from quorum.runtime import keyring
from quorum.runtime.fresh_keys import FILE_NAME, FreshKeyFile


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
    fresh.keep(made, b"request")
    again = FreshKeyFile(tmp_path / "data", keys, "n1")
    assert again.is_used and again.request() == fresh.request() == b"request"
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
