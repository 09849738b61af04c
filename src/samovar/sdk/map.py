"""The same task over many inputs: ``map`` (lazy, an outcome at a time) and ``map_task`` (a list, all or nothing).

Inside a task the calls go to the engine, all at once or in a window of ``concurrency``. In a script they run here.
"""

from __future__ import annotations

import asyncio
import functools
import math
from asyncio.events import _get_running_loop
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from typing import Any

from samovar import errors
from samovar.sdk import context
from samovar.sdk.ctx import group
from samovar.sdk.task import Task
from samovar.sdk.window import AHEAD, Inputs, Outcome, Window, in_own_loop, one_by_one

Mappable = Task[..., Any] | functools.partial[Any]


class _Map:
    """``map`` and ``map.aio``."""

    def __call__(
        self,
        task: Mappable,
        *iterables: Iterable[Any],
        group_name: str | None = None,
        concurrency: int = 0,
        return_exceptions: bool = True,
    ) -> Generator[Any, None, None]:
        """Call ``task`` with each tuple of items; a generator of results in the order of the inputs.

        task: a task, or a partial of one that leaves exactly one parameter free.
        concurrency: calls at a time; 0 is no bound.
        return_exceptions: a failed call gives its exception; otherwise it is raised.
        """
        base, calls = _prepare(task, iterables, concurrency)
        if _get_running_loop() is not None and (base.is_async or context.current.get() is not None):
            raise errors.SyncTaskCallInAsyncContextError(
                f"map over {base.name!r} would block the async code that calls it; "
                "write `async for result in map.aio(…)`"
            )
        return self._results(base, calls, group_name, concurrency, return_exceptions)

    def _results(
        self,
        base: Task[..., Any],
        calls: Iterator[Inputs],
        group_name: str | None,
        concurrency: int,
        give: bool,
    ) -> Generator[Any, None, None]:
        # the group is set for each call and not for the block: a generator shares its context with its consumer
        outcomes = _blocking(base, calls, group_name or base.short_name, concurrency)
        try:
            for outcome in outcomes:
                if outcome.error is not None and not give:
                    raise outcome.error
                yield outcome.value if outcome.error is None else outcome.error
        finally:
            outcomes.close()

    def aio(
        self,
        task: Mappable,
        *iterables: Iterable[Any],
        group_name: str | None = None,
        concurrency: int = 0,
        return_exceptions: bool = True,
    ) -> AsyncGenerator[Any, None]:
        """The same as an async generator."""
        base, calls = _prepare(task, iterables, concurrency)
        return self._results_aio(base, calls, group_name, concurrency, return_exceptions)

    async def _results_aio(
        self,
        base: Task[..., Any],
        calls: Iterator[Inputs],
        group_name: str | None,
        concurrency: int,
        give: bool,
    ) -> AsyncGenerator[Any, None]:
        start = _starter(base, group_name or base.short_name)
        outcomes = Window(start, calls, concurrency or AHEAD).outcomes()
        try:
            async for outcome in outcomes:
                if outcome.error is not None and not give:
                    raise outcome.error
                yield outcome.value if outcome.error is None else outcome.error
        finally:
            await outcomes.aclose()


map = _Map()  # Flyte's name


def map_task(
    task: Mappable, concurrency: int = 0, min_success_ratio: float = 1.0
) -> Callable[..., Awaitable[list[Any]] | list[Any]]:
    """``map_task(task)(x=[…], y=[…])``: one call for each position, an ordered list of results.

    In async code the call returns an awaitable, in sync code the list. It fails, and cancels what is left, as soon as
    fewer than ``min_success_ratio`` of the calls can succeed; below 1.0 a failed call gives None.
    """
    _task_of(task)
    _check_concurrency(concurrency)
    if not 0 <= min_success_ratio <= 1:
        raise ValueError(f"map_task: min_success_ratio must be between 0 and 1, not {min_success_ratio!r}")

    def call(**columns: Iterable[Any]) -> Awaitable[list[Any]] | list[Any]:
        base, calls = _zip(task, columns)
        allowed = len(calls) - math.ceil(min_success_ratio * len(calls) - 1e-9)
        if _get_running_loop() is None:
            return _collect(base, calls, concurrency, allowed)
        return asyncio.ensure_future(_collect_aio(base, calls, concurrency, allowed))

    return call


def _prepare(
    task: Mappable, iterables: tuple[Iterable[Any], ...], concurrency: int
) -> tuple[Task[..., Any], Iterator[Inputs]]:
    """The task and its calls. TypeError: a partial that does not leave exactly one parameter free."""
    base = _task_of(task)
    _check_concurrency(concurrency)
    if not iterables:
        raise TypeError(f"map over {base.name!r} needs at least one iterable")
    if not isinstance(task, functools.partial):
        return base, ((items, {}) for items in zip(*iterables, strict=False))
    bound = set(base.interface.positional[: len(task.args)]) | set(task.keywords)
    free = [name for name in base.interface.names if name not in bound]
    if len(free) != 1 or len(iterables) != 1:
        raise TypeError(
            f"map over a partial of {base.name!r} needs exactly one free parameter and one iterable for it; "
            f"free: {', '.join(free) or 'none'}; iterables: {len(iterables)}"
        )
    return base, ((task.args, {**task.keywords, free[0]: item}) for item in iterables[0])


def _zip(task: Mappable, columns: dict[str, Iterable[Any]]) -> tuple[Task[..., Any], list[Inputs]]:
    base = _task_of(task)
    lists = {name: list(values) for name, values in columns.items()}
    if not lists:
        raise TypeError(f"map_task over {base.name!r} needs at least one list, by keyword")
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"map_task over {base.name!r} needs lists of one length, not {lengths}")
    unknown = [] if base.interface.takes_any_name else [name for name in lists if name not in base.interface.names]
    if unknown:
        raise TypeError(f"map_task: task {base.name!r} has no parameter {', '.join(unknown)}")
    args, fixed = (task.args, task.keywords) if isinstance(task, functools.partial) else ((), {})
    rows = zip(*lists.values(), strict=True)
    return base, [(args, {**fixed, **dict(zip(lists, row, strict=True))}) for row in rows]


def _task_of(task: Mappable) -> Task[..., Any]:
    base = task.func if isinstance(task, functools.partial) else task
    if not isinstance(base, Task):
        raise TypeError(f"map needs a task (decorate the function with @env.task) or a partial of one, not {base!r}")
    return base


def _check_concurrency(concurrency: int) -> None:
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 0:
        raise ValueError(f"concurrency must be an int of at least 0, not {concurrency!r}")


def _starter(base: Task[..., Any], group_name: str) -> Callable[[Inputs], Awaitable[Any]]:
    """Makes one call from async code."""

    def start(call: Inputs) -> Awaitable[Any]:
        with group(group_name):
            return base.aio(*call[0], **call[1])

    return start


def _blocking(
    base: Task[..., Any], calls: Iterator[Inputs], group_name: str, concurrency: int
) -> Generator[Outcome, None, None]:
    """The outcomes for sync code, whatever kind the task is."""
    if context.current.get() is None and not base.is_async:
        return one_by_one(lambda call: base.fn(*call[0], **call[1]), calls)
    return in_own_loop(_starter(base, group_name), calls, concurrency or AHEAD)


def _collect(base: Task[..., Any], calls: list[Inputs], concurrency: int, allowed: int) -> list[Any]:
    if context.current.get() is not None or base.is_async:
        return asyncio.run(_collect_aio(base, calls, concurrency, allowed))
    values, failed = [], 0
    for outcome in one_by_one(lambda call: base.fn(*call[0], **call[1]), iter(calls)):
        failed += outcome.error is not None
        if outcome.error is not None and failed > allowed:
            raise outcome.error
        values.append(outcome.value)
    return values


async def _collect_aio(base: Task[..., Any], calls: list[Inputs], concurrency: int, allowed: int) -> list[Any]:
    """Fails at the first call too many, in the order in which they end and not in that of the inputs."""
    too_many: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    failed = 0
    begin = _starter(base, base.short_name)

    async def start(call: Inputs) -> Any:
        nonlocal failed
        try:
            return await begin(call)
        except Exception as error:
            failed += 1
            if failed > allowed and not too_many.done():
                too_many.set_exception(error)
            raise

    async def collect() -> list[Any]:
        outcomes = Window(start, iter(calls), concurrency or AHEAD).outcomes()
        try:
            return [outcome.value async for outcome in outcomes]
        finally:
            await outcomes.aclose()

    collecting = asyncio.ensure_future(collect())
    try:
        both: list[asyncio.Future[Any]] = [collecting, too_many]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if too_many.done():
            too_many.result()
        return collecting.result()
    finally:
        too_many.cancel()
        if not collecting.done():
            collecting.cancel()
            await asyncio.wait([collecting])
