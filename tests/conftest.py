"""Settings shared by all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "quorum", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.register_profile("commit", settings.get_profile("quorum"), max_examples=40)
"""For `make check`, where a property does not say itself how many examples it takes. Usual are 100."""
settings.load_profile("quorum")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests go first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)
