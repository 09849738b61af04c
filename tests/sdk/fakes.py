"""Stand-ins for the two ports of the SDK: the controller of a replica and the host of a script."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from samovar.model import Caching, Phase
from samovar.sdk.controller import Execution, Recalled, Traced
from samovar.sdk.task import Task


class FakeController:
    """Carries calls out in this process and remembers them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any], str]] = []
        self.past: dict[str, Recalled] = {}
        self.traced: list[Traced] = []
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

    def recall(self, execution: Execution, key: str) -> Recalled | None:
        return self.past.get(key)

    def record(self, execution: Execution, traced: Traced) -> None:
        self.traced.append(traced)

    def call_blocking(self, task: Task[Any, Any], inputs: dict[str, Any], group: str) -> Any:
        self.calls.append((task.name, inputs, group))
        return asyncio.run(task.fn(**inputs)) if task.is_async else task.fn(**inputs)


class FakeHandle:
    def __init__(self, name: str, task: Task[Any, Any], inputs: dict[str, Any]) -> None:
        self.name = name
        self.phase = Phase.QUEUED
        self.reason = ""
        self._task = task
        self._inputs = inputs
        self.looks = 0

    def wait(self, timeout: float | None = None) -> Any:
        if timeout is not None:
            self.looks += 1
            if self.looks == 3:
                self.phase = Phase.RUNNING
            raise TimeoutError
        try:
            value = self._task.fn(**self._inputs)
            if self._task.is_async:
                value = asyncio.run(value)
        except Exception:
            self.phase = Phase.FAILED
            raise
        self.phase = Phase.SUCCEEDED
        return value

    async def future(self, convert: Callable[[Any], Any]) -> Any:
        return convert(await asyncio.to_thread(self.wait))

    def abort(self, reason: str = "") -> None:
        self.phase, self.reason = Phase.ABORTED, reason


class FakeHost:
    def __init__(self) -> None:
        self.started: list[tuple[Task[Any, Any], dict[str, Any], str, dict[str, str] | None]] = []
        self.handles: list[FakeHandle] = []
        self.copy_styles: list[str] = []

    def start(
        self,
        task: Task[Any, Any],
        inputs: dict[str, Any],
        name: str,
        context: dict[str, str] | None,
        caching: Caching = "",
        copy_style: str = "",
    ) -> FakeHandle:
        self.caching = caching
        self.copy_styles.append(copy_style)
        name = name or f"r{len(self.started) + 1}"
        self.started.append((task, inputs, name, context))
        self.handles.append(FakeHandle(name, task, inputs))
        return self.handles[-1]

    def attach(self, name: str) -> FakeHandle:
        return next(handle for handle in self.handles if handle.name == name)
