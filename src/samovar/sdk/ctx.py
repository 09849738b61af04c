"""What code may know about the execution it belongs to: ``ctx()``, ``custom_context`` and ``group``.

All of it is kept in context variables, so concurrent tasks of one replica never see each other's. ``group`` and
``custom_context`` put a changed copy of the execution in place for the length of a ``with`` block.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
from collections.abc import Iterator
from typing import Any

from samovar import errors
from samovar.sdk import context
from samovar.sdk.controller import Execution

_outside: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar("samovar_custom_context", default=None)
settings: dict[str, Any] = {}  # what ``init`` was given


class ActionID:
    """Which action this is."""

    def __init__(self, execution: Execution) -> None:
        self.run_name = execution.run_name
        self.name = f"{execution.run_name}-{execution.action}"
        self.project = current_project()
        self.domain = current_domain()

    def __repr__(self) -> str:
        return f"ActionID(name={self.name!r}, run_name={self.run_name!r})"

    def __getattr__(self, name: str) -> Any:
        raise _unknown("ctx().action", name)


class TaskContext:
    """The current execution as its task sees it."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self.action = ActionID(execution)
        self.attempt = execution.attempt
        self.task_name = execution.task_name
        self.group = execution.group or None
        self.custom_context = dict(execution.custom_context)
        self.mode = "remote"

    def is_in_cluster(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        raise _unknown("ctx()", name)


class NoContext:
    """``ctx()`` outside of a task: false, and every question to it is an error."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "<no task context>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise errors.NotInTaskContextError(f"ctx().{name} is only known inside a task; ask `if ctx():` first")


_NO_CONTEXT = NoContext()


def ctx() -> TaskContext | NoContext:
    """The context of the current task; outside of one an object that is false."""
    execution = context.current.get()
    return _NO_CONTEXT if execution is None else TaskContext(execution)


def _unknown(owner: str, name: str) -> AttributeError:
    if name.startswith("__"):
        return AttributeError(name)
    return errors.NotSupportedError(f"{owner}.{name} is not part of samovar")


@contextlib.contextmanager
def _changed(execution: Execution, **changes: Any) -> Iterator[None]:
    """``execution`` with other values, for the length of the block."""
    other = copy.copy(execution)
    for name, value in changes.items():
        setattr(other, name, value)
    token = context.current.set(other)
    try:
        yield
    finally:
        context.current.reset(token)


@contextlib.contextmanager
def group(name: str) -> Iterator[None]:
    """Calls of tasks inside the block belong together under ``name``. Outside of a task it does nothing."""
    execution = context.current.get()
    if execution is None:
        yield
        return
    with _changed(execution, group=name):
        yield


@contextlib.contextmanager
def custom_context(**values: str) -> Iterator[None]:
    """Add to the custom context, for the length of the block, of the tasks that are called or the runs that are started
    there, and of all below them."""
    execution = context.current.get()
    if execution is not None:
        with _changed(execution, custom_context={**execution.custom_context, **values}, adds_context=True):
            yield
        return
    token = _outside.set({**(_outside.get() or {}), **values})
    try:
        yield
    finally:
        _outside.reset(token)


def get_custom_context() -> dict[str, str]:
    """The custom context of this code; changing it changes nothing."""
    execution = context.current.get()
    return dict(custom_context_of_script() if execution is None else execution.custom_context)


def custom_context_of_script() -> dict[str, str]:
    """What ``custom_context`` blocks around this code say, outside of tasks."""
    return _outside.get() or {}


def current_domain() -> str:
    """The domain that ``init`` named; "development" if none."""
    return str(settings.get("domain") or "development")


def current_project() -> str:
    """The project that ``init`` named; "default" if none."""
    return str(settings.get("project") or "default")
