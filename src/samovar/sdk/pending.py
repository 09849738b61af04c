"""A call whose answer is to come: a future that is also a coroutine.

As a future it needs no asyncio.Task of its own under ``gather``, which halves the cost of a small call. As a
coroutine ``asyncio.run``, ``create_task`` and ``TaskGroup`` take it too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any


class Pending(asyncio.Future[Any]):
    _steps: Generator[Any, None, Any] | None = None

    def send(self, value: Any) -> Any:
        return self._iterate().send(value)

    def throw(self, *error: Any) -> Any:
        return self._iterate().throw(*error)

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()

    def _iterate(self) -> Generator[Any, None, Any]:
        if self._steps is None:
            self._steps = self.__await__()
        return self._steps
