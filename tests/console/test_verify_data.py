"""`quorum verify-data` on folders that the production log wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_folder import make_folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "data")


def test_a_sound_folder_is_shown_and_exits_with_0(run, run_json, data):
    shown = run("verify-data", data)
    assert shown.exit_code == 0, shown.output
    assert "node n1 of cluster cluster" in shown.stdout and "60 entries, 1 to 60" in shown.stdout
    assert "0000000000000001.wal" in shown.stdout and "a start: clean" in shown.stdout
    code, report = run_json("verify-data", data)
    assert code == 0 and report["sound"] and report["last_index"] == 60


def test_a_damaged_folder_exits_with_1_and_names_file_and_offset(run, run_json, data):
    path = data / "wal" / "0000000000000002.wal"
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    shown = run("verify-data", data)
    assert shown.exit_code == 1 and f"damaged: {path}, offset " in shown.stdout
    assert "a start: refuse" in shown.stdout and shown.stdout.endswith("not sound\n")
    code, report = run_json("verify-data", data)
    assert code == 1 and report["damage"][0]["file"] == str(path) and report["damage"][0]["offset"] <= 700


def test_what_is_no_data_folder_is_asked_wrongly(run, tmp_path):
    asked = run("verify-data", tmp_path / "absent")
    assert asked.exit_code == 2 and "no data folder of a node" in asked.stderr
