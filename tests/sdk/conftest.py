from __future__ import annotations

from collections.abc import Iterator

import pytest

from samovar.sdk import bundle, context
from samovar.sdk import run as run_module
from samovar.sdk.controller import Execution

from .fakes import FakeController, FakeHost


@pytest.fixture
def controller() -> Iterator[FakeController]:
    """The test's code runs as if inside a task."""
    fake = FakeController()
    execution = Execution(fake, 7, "r1", 3, "ml.parent", 2, {"a": "b"})
    token = context.current.set(execution)
    yield fake
    context.current.reset(token)


@pytest.fixture(autouse=True)
def _own_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_bundle", "_main"):
        monkeypatch.setattr(bundle, name, None)
    monkeypatch.setattr(bundle, "in_replica", False)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """The engine of this process."""
    fake = FakeHost()
    monkeypatch.setattr(run_module, "_opened", fake)
    return fake
