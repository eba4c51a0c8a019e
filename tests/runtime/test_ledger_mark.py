"""With which ledger a log began, and that it goes on with no other."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from quorum.apps.transfers import Transfers
from quorum.errors import ConfigurationError
from quorum.runtime.config import load_node
from quorum.runtime.folder import DataFolder
from quorum.runtime.ledger_mark import UNSETTLED, mark_of
from quorum.runtime.node import Node
from quorum.runtime.setup import ClusterLayout, init_cluster

BANK = """
from quorum.apps.transfers import Transfers


class Bank(Transfers):
    name = {name!r}
    genesis = {{"{key}": {amount}}}
"""
KEY = bytes(range(32)).hex()


class Bank(Transfers):
    name = "bank"


class Other(Transfers):
    name = "other"


class Rich(Transfers):
    name = "bank"
    genesis = {KEY: 1}


BEGUN = mark_of("bank:Bank", Bank)
NONE = msgspec.UNSET


def used(path: Path, ledger) -> None:
    folder = DataFolder.open(path, "c1", "n1", bootstrap=True)
    folder.mark_used(ledger)
    folder.close()


def refusal(path: Path, ledger) -> str:
    """Why a node with this ledger does not go on there; empty: it does."""
    folder = DataFolder.open(path, "c1", "n1")
    try:
        folder.check_ledger(ledger)
    except ConfigurationError as error:
        return str(error)
    finally:
        folder.close()
    return ""


def test_a_log_goes_on_with_the_ledger_that_it_began_with(tmp_path):
    used(tmp_path / "n1", BEGUN)
    assert not refusal(tmp_path / "n1", BEGUN)


@pytest.mark.parametrize(
    "given",
    [NONE, mark_of("bank:Other", Bank), mark_of("bank:Bank", Other), mark_of("bank:Bank", Rich)],
    ids=["none", "another class", "another name", "another genesis"],
)
def test_a_log_that_began_with_a_ledger_goes_on_with_no_other(tmp_path, given):
    used(tmp_path / "n1", BEGUN)
    said = refusal(tmp_path / "n1", given)
    assert "its log began with the ledger bank:Bank, name 'bank'" in said
    assert 'Restore ledger = "bank:Bank" in cluster.toml' in said


def test_a_log_that_began_without_a_ledger_gets_none(tmp_path):
    used(tmp_path / "n1", NONE)
    assert "ledger" not in (tmp_path / "n1" / "identity.json").read_text(), "as all wrote it before there were any"
    said = refusal(tmp_path / "n1", BEGUN)
    assert "its log began with no ledger" in said and "or begin a new cluster" in said


def test_what_was_made_from_a_backup_goes_on_with_the_ledger_of_its_first_start(tmp_path):
    used(tmp_path / "n1", UNSETTLED)
    for ledger in (NONE, BEGUN):
        assert not refusal(tmp_path / "n1", ledger)
    folder = DataFolder.open(tmp_path / "n1", "c1", "n1")
    folder.mark_used(BEGUN)
    folder.mark_used(BEGUN)
    folder.close()
    assert refusal(tmp_path / "n1", NONE)
    assert not refusal(tmp_path / "n1", BEGUN)


def with_ledger(layout: ClusterLayout, line: str, amount: int = 0) -> None:
    """Name the ledger in cluster.toml, or none."""
    folder = layout.cluster.parent
    kept = [each for each in layout.cluster.read_text().splitlines() if not each.startswith("ledger")]
    layout.cluster.write_text("\n".join([line, *kept]) + "\n")
    (folder / "marked_bank.py").write_text(BANK.format(name="bank", key=KEY, amount=amount))
    sys.modules.pop("marked_bank", None)


async def once(layout: ClusterLayout, bootstrap: bool = False) -> None:
    """Start the only node, and stop it as soon as it serves."""
    (file,) = layout.nodes.values()
    await Node(load_node(file), bootstrap).run(lambda node: node.stop())


@pytest.mark.cluster
@pytest.mark.parametrize("begun", ["", 'ledger = "marked_bank:Bank"'])
def test_a_node_does_not_start_with_another_ledger_than_its_log_began_with(tmp_path, begun, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    layout = init_cluster(tmp_path / "c", nodes=1, insecure=True)
    with_ledger(layout, begun, 10)
    asyncio.run(once(layout, bootstrap=True))
    asyncio.run(once(layout))
    with_ledger(layout, "" if begun else 'ledger = "marked_bank:Bank"', 10)
    with pytest.raises(ConfigurationError, match="its log began with"):
        asyncio.run(once(layout))
    if begun:
        with_ledger(layout, begun, 11)
        with pytest.raises(ConfigurationError, match=r"whose state begins as .* but its log began with"):
            asyncio.run(once(layout))
    with_ledger(layout, begun, 10)
    asyncio.run(once(layout))
