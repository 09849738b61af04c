"""What tests of every folder may ask for."""

from __future__ import annotations

import contextlib
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


def pytest_addoption(parser):
    kinds = ["podman", "docker"]
    parser.addoption("--container-engine", choices=kinds, default=kinds[0], help="that tests of containers use")


@pytest.fixture(scope="session")
def container_engine(pytestconfig):
    """A container engine of the tests' own. Where it is not installed: skipped, or failed where containers are
    required."""
    kind = pytestconfig.getoption("--container-engine")
    skip_without(engines.missing(kind), "containers are", "SAMOVAR_REQUIRE_CONTAINERS")
    if reason := engines.in_the_way(kind):
        pytest.skip(f"there is {reason}")
    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(engines.running(kind))
        except engines.DoesNotStartError as error:
            pytest.skip(f"there is {error}")
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
