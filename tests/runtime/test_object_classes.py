"""The classes that cluster.toml names: how they are written, and what is said where they cannot be had."""

from __future__ import annotations

import sys

import pytest

from quorum.apps.replicated import Replicated
from quorum.errors import ConfigurationError, NotReplicable
from quorum.runtime.config import parse_cluster
from quorum.runtime.object_classes import load_classes
from quorum.runtime.object_names import named_objects

MODULE = """
from quorum.apps.replicated import Replicated, command
from quorum.apps.replicated_types import ReplicatedSet

class Stock(Replicated):
    count: int = 0

SEEN = ReplicatedSet[str]
NUMBER = 3
"""
MEMBER = '[[members]]\nid = "a"\nlisten = "127.0.0.1:7000"\n'


def test_objects_are_a_table_or_one_class():
    text = 'cluster_id = "c"\n' + MEMBER
    assert parse_cluster(text).objects == {}
    assert parse_cluster(text + '[objects]\nstock = "shop:Stock"\n"se en" = "a.b:SEEN"').objects == {
        "stock": "shop:Stock",
        "se en": "a.b:SEEN",
    }
    assert parse_cluster('objects = "shop.models:Stock"\n' + text).objects == {"stock": "shop.models:Stock"}


@pytest.mark.parametrize(
    "value", [3, ["a:B"], {"a": 3}, {"a": "shop"}, {"a": "shop:Stock()"}, "shop", {"a": ":B"}]
)
def test_a_class_is_a_module_and_a_name(value):
    with pytest.raises(ConfigurationError, match=r"Write"):
        named_objects(value)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "shop_for_tests.py").write_text(MODULE)
    (tmp_path / "broken_for_tests.py").write_text("1 / 0")
    (tmp_path / "wrong_for_tests.py").write_text(MODULE + "\nclass Bad(Replicated):\n    _hidden: int = 0\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("shop_for_tests", "broken_for_tests", "wrong_for_tests"):
        sys.modules.pop(name, None)


def test_classes_are_found_beside_the_configuration(folder):
    before = list(sys.path)
    found = load_classes({"stock": "shop_for_tests:Stock", "seen": "shop_for_tests:SEEN"}, folder)
    assert list(found) == ["seen", "stock"] and issubclass(found["stock"], Replicated)
    assert sys.path[: len(before)] == before, "nothing of the system's is hidden"
    assert load_classes({}, folder) == {}


@pytest.mark.parametrize(
    ("place", "error", "said"),
    [
        ("shop_for_tests:Missing", ConfigurationError, "has no Missing"),
        ("shop_for_tests:NUMBER", NotReplicable, "no replicated class"),
        ("no_such_module:Stock", ConfigurationError, "there is no module 'no_such_module'"),
        ("broken_for_tests:Stock", ConfigurationError, "failed with ZeroDivisionError"),
        ("wrong_for_tests:Stock", NotReplicable, "begin with an underscore"),
    ],
)
def test_what_cannot_be_had_is_said_in_full(folder, place, error, said):
    with pytest.raises(error, match=said):
        load_classes({"stock": place}, folder)
