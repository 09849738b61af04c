"""Every test of this folder has a container engine, and leaves it without containers."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def engine(containers):
    """The container engine, which drivers find by themselves."""
    return containers
