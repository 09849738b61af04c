"""``@trace``: a helper inside a task as a checkpoint.

Where a journal is kept what a traced call returns or raises is written down under its task's action, and when that task
runs again, because its engine or its replica was lost or it failed, the call is answered from there. What counts as the
same call: the function, its arguments, and that it is the n-th one. Elsewhere a traced function runs as it is.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

from samovar import errors
from samovar.sdk import context
from samovar.sdk.controller import Execution, Recalled, Traced
from samovar.sdk.log import logger

F = TypeVar("F", bound=Callable[..., Any])

tracing: contextvars.ContextVar[str] = contextvars.ContextVar("samovar_tracing", default="")
_warned: set[str] = set()


def trace(function: F) -> F:
    """Declare a checkpoint: an async function, a sync one, or an async generator, whose items are kept as a list.

    It must not call tasks, and what it returns must pickle. An exception is kept as well, and raised again by a task
    that runs again after a loss; after a failure of the task itself the call is made again.
    """
    wrap = _wrapped(function)
    return functools.wraps(function)(wrap)  # type: ignore[return-value]


def _wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    name = getattr(function, "__qualname__", repr(function))

    async def traced(*args: Any, **kwargs: Any) -> Any:
        checkpoint = _Checkpoint.of(function, name, args, kwargs)
        if checkpoint is None:
            with _inside(name):
                return await function(*args, **kwargs)
        if checkpoint.is_known:
            return checkpoint.outcome()
        with _inside(name), checkpoint:
            return checkpoint.returned(await function(*args, **kwargs))

    async def traced_items(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        checkpoint = _Checkpoint.of(function, name, args, kwargs)
        if checkpoint is None:
            async for item in function(*args, **kwargs):
                yield item
            return
        if checkpoint.is_known:
            for item in checkpoint.outcome():
                yield item
            return
        items: list[Any] = []
        with checkpoint:
            async for item in function(*args, **kwargs):
                items.append(item)
                yield item
            checkpoint.returned(items)

    def traced_sync(*args: Any, **kwargs: Any) -> Any:
        checkpoint = _Checkpoint.of(function, name, args, kwargs)
        if checkpoint is None:
            with _inside(name):
                return function(*args, **kwargs)
        if checkpoint.is_known:
            return checkpoint.outcome()
        with _inside(name), checkpoint:
            return checkpoint.returned(function(*args, **kwargs))

    if inspect.iscoroutinefunction(function):
        return traced
    if inspect.isasyncgenfunction(function):
        return traced_items
    return function if inspect.isgeneratorfunction(function) else traced_sync


def refuse_if_traced(task: str) -> None:
    """TraceDoesNotAllowNestedTasksError: this code runs inside a traced function."""
    if name := tracing.get():
        raise errors.TraceDoesNotAllowNestedTasksError(
            f"the traced function {name!r} calls the task {task!r}; call it from the task itself, or drop @trace"
        )


@contextlib.contextmanager
def _inside(name: str) -> Iterator[None]:
    token = tracing.set(name)
    try:
        yield
    finally:
        tracing.reset(token)


class _Checkpoint:
    """One traced call. As a context manager it keeps what the block raises."""

    def __init__(self, execution: Execution, key: str, name: str) -> None:
        self._execution = execution
        self._key = key
        self._name = name
        self._started = time.time()
        self._known = execution.controller.recall(execution, key)

    @classmethod
    def of(
        cls, function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Checkpoint | None:
        """None: the call is not to be written down."""
        execution = context.current.get()
        if execution is None or execution.traces is None or tracing.get():
            return None
        from samovar.sdk.digest import NoDigest, digest  # only where traces are kept

        try:
            called = digest((function.__module__, name, args, kwargs)).hex()
        except NoDigest as error:
            if name not in _warned:
                _warned.add(name)
                logger.warning(
                    "calls of the traced function %r are not kept: their arguments have no key: %s", name, error
                )
            return None
        times = execution.traces[called] = execution.traces.get(called, 0) + 1
        return cls(execution, f"{called}-{times}" if times > 1 else called, name)

    @property
    def is_known(self) -> bool:
        return self._known is not None

    def outcome(self) -> Any:
        assert self._known is not None
        if self._known.error is not None:
            raise self._known.error
        return self._known.value

    def returned(self, value: Any) -> Any:
        self._record(Recalled(value))
        return value

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            self._record(Recalled(None, error))

    def _record(self, outcome: Recalled) -> None:
        self._execution.controller.record(self._execution, Traced(self._key, self._name, self._started, outcome))
