"""Every test of this folder has a container engine, and leaves it without containers."""

from __future__ import annotations

import sys

import pytest

from samovar.sdk import bundle

from .hosts import Hosted, hosted


@pytest.fixture(autouse=True)
def engine(containers):
    """The container engine, which drivers find by themselves."""
    return containers


@pytest.fixture(scope="session")
def gates(tmp_path_factory):
    """A folder that replicas see, read-only, at its own path: a file that appears in it lets a task go on."""
    folder = tmp_path_factory.mktemp("gates")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def _code(gates):
    """The code of this process as replicas are to find it, with the gates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(gates)])
        patch.setattr(bundle, "_bundle", None)
        found = bundle.current()
    return found


@pytest.fixture(scope="module")
def hosting(container_engine, _code):
    """Opens a host whose replicas are containers; to be closed by whoever asks. Settings are environment variables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMOVAR_CONTAINER_SOCKET", str(container_engine.socket))
        patch.setattr(bundle, "_bundle", _code)
        yield hosted


@pytest.fixture(scope="module")
def _host(container_engine, hosting):
    with hosting() as here:
        yield here
    assert not container_engine.containers()


@pytest.fixture
def host(_host) -> Hosted:
    """One host for all tests of a module, whose pools stay."""
    _host.seen.clear()
    return _host
