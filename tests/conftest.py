"""What tests of every folder may ask for."""

from __future__ import annotations

import os

import pytest

from tests.real import postgres
from tests.real.containers import engine as engines

os.environ["SAMOVAR_ENDPOINT"] = "none"  # whoever runs the tests may have a service


@pytest.fixture(scope="session")
def container_engine():
    """A container engine of the tests' own. Without Podman: skipped, or failed where containers are required."""
    if reason := engines.missing():
        if os.environ.get("SAMOVAR_REQUIRE_CONTAINERS"):
            pytest.fail(f"containers are required, but there is {reason}")
        pytest.skip(f"there is {reason}")
    with engines.running() as engine:
        yield engine


@pytest.fixture
def containers(container_engine, monkeypatch):
    """The engine, for drivers to find, and an image to start from; a test that uses it leaves no container behind."""
    monkeypatch.setenv("SAMOVAR_CONTAINER_SOCKET", str(container_engine.socket))
    monkeypatch.setenv("CONTAINER_IMAGE", container_engine.base())
    yield container_engine
    assert not container_engine.containers()


@pytest.fixture(scope="session")
def postgres_server():
    """A PostgreSQL server of the tests' own. Where there can be none: skipped, or failed where it is required."""
    if reason := postgres.missing():
        if os.environ.get("SAMOVAR_REQUIRE_POSTGRES"):
            pytest.fail(f"PostgreSQL is required, but there is {reason}")
        pytest.skip(f"there is {reason}")
    with postgres.running() as server:
        yield server
