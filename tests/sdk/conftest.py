from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest

from samovar.sdk import bundle, context
from samovar.sdk.controller import Execution
from samovar.sdk.task import Task


class FakeController:
    """Carries calls out in this process and remembers them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any], str]] = []
        self.active = 0
        self.most = 0
        self.cancelled = 0

    def call(self, task: Task[Any, Any], inputs: dict[str, Any], group: str) -> Awaitable[Any]:
        self.calls.append((task.name, inputs, group))
        return asyncio.get_running_loop().create_task(self._run(task, inputs))

    async def _run(self, task: Task[Any, Any], inputs: dict[str, Any]) -> Any:
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            await asyncio.sleep(0)
            return await task.fn(**inputs) if task.is_async else task.fn(**inputs)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.active -= 1

    def call_blocking(self, task: Task[Any, Any], inputs: dict[str, Any], group: str) -> Any:
        self.calls.append((task.name, inputs, group))
        return asyncio.run(task.fn(**inputs)) if task.is_async else task.fn(**inputs)


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
