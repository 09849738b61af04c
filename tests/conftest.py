"""What tests of every folder may ask for."""

from __future__ import annotations

import os

import pytest

from tests.real.containers import engine as containers


@pytest.fixture(scope="session")
def container_engine():
    """A container engine of the tests' own. Without Podman: skipped, or failed where containers are required."""
    if reason := containers.missing():
        if os.environ.get("SAMOVAR_REQUIRE_CONTAINERS"):
            pytest.fail(f"containers are required, but there is {reason}")
        pytest.skip(f"there is {reason}")
    with containers.running() as engine:
        yield engine
