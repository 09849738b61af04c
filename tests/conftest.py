"""What tests of every folder may ask for."""

from __future__ import annotations

import os

import pytest

from tests.real import postgres
from tests.real.containers import engine as engines

os.environ["SAMOVAR_ENDPOINT"] = "none"  # whoever runs the tests may have a service


def skip_without(reason: str, what: str, requires: str) -> None:
    """``reason``: why it cannot be had; "" if it can. Skips, or fails where the variable says that it is required."""
    if reason and os.environ.get(requires):
        pytest.fail(f"{what} required, but there is {reason}")
    if reason:
        pytest.skip(f"there is {reason}")


@pytest.fixture(scope="session")
def container_engine():
    """A container engine of the tests' own. Without Podman: skipped, or failed where containers are required."""
    skip_without(engines.missing(), "containers are", "SAMOVAR_REQUIRE_CONTAINERS")
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
    skip_without(postgres.missing(), "PostgreSQL is", "SAMOVAR_REQUIRE_POSTGRES")
    with postgres.running() as server:
        yield server
