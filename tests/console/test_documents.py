"""Documents of commands: whole or not at all, bounded, and every failure told in three parts."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from quorum.console import documents
from quorum.console.documents import read_bounded, write_whole
from quorum.console.signers import SIGNERS_SHOWN_MAX, signers_text
from quorum.errors import ConfigurationError


def test_a_document_is_written_and_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for data in (b"first", b"second"):
        write_whole(path, data, "a proof")
        assert read_bounded(path, 6, "a proof") == data
    assert os.listdir(tmp_path) == ["a.json"], "nothing is left beside it"


def test_a_write_that_fails_half_way_leaves_what_was_there_and_is_told(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"before", "a proof")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(documents.os, "fsync", full)
    with pytest.raises(
        ConfigurationError, match=r"a proof was to be written to .*: no space left.* Name another file"
    ):
        write_whole(path, b"after", "a proof")
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["a.json"]


def test_a_place_where_no_file_can_be_is_told_with_what_to_do(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "a.json", tmp_path / "a\0b"):
        with pytest.raises(ConfigurationError, match=r"failed: .* Name another file"):
            write_whole(path, b"", "a proof")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"Name another folder"):
        write_whole(tmp_path / "file" / "a", b"", "evidence", "Name another folder.", with_folder=True)
    write_whole(tmp_path / "made" / "too" / "a", b"x", "evidence", with_folder=True)
    assert (tmp_path / "made" / "too" / "a").read_bytes() == b"x"


def test_links_are_followed_and_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_whole(tmp_path / "link", b"x", "a proof")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes() == b"x"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"through", "a proof")
    reader.join(10)
    assert heard == [b"through"] and pipe.is_fifo()


def test_what_cannot_be_read_or_is_too_large_is_told_also_of_standard_input(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"seven b")
    assert read_bounded(path, 7, "a proof") == b"seven b"
    with pytest.raises(ConfigurationError, match=r"more than the 6 bytes allowed. Cut it."):
        read_bounded(path, 6, "a proof", "Cut it.")
    for wrong in (tmp_path, tmp_path / "none", tmp_path / "a\0b"):
        with pytest.raises(ConfigurationError, match=r"failed: .* Name a file that is there"):
            read_bounded(wrong, 6, "a proof")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"seven b" * 2)))
    with pytest.raises(ConfigurationError, match=r"from standard input, but it has more"):
        read_bounded(None, 7, "a transaction")


def test_more_signers_than_fit_a_line_are_counted() -> None:
    names = [f"n{number}" for number in range(SIGNERS_SHOWN_MAX + 2)]
    assert signers_text(names).endswith(f"n{SIGNERS_SHOWN_MAX - 1} and 2 more")
    assert signers_text(names[:-2]).endswith(f"n{SIGNERS_SHOWN_MAX - 1}")
