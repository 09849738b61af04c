"""map, map.aio and map_task: in order, in a window, inside tasks and in scripts."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

import samovar as flyte
from samovar.errors import RuntimeDataValidationError, SyncTaskCallInAsyncContextError

from .fakes import FakeController

env = flyte.TaskEnvironment("ml")


@env.task
async def add(x: int, y: int = 1) -> int:
    if x < 0:
        raise ValueError(f"bad {x}")
    await asyncio.sleep(0.001 * (x % 3))
    return x + y


@env.task
def add_sync(x: int, y: int = 1) -> int:
    if x < 0:
        raise ValueError(f"bad {x}")
    return x + y


@env.task
async def slow(x: int) -> int:
    if x:
        await asyncio.Event().wait()
    raise ValueError("fast")


BOTH = pytest.mark.parametrize("task", [add, add_sync])


def run_map(task: Any, *iterables: Any, **options: Any) -> list[Any]:
    async def parent() -> list[Any]:
        return [item async for item in flyte.map.aio(task, *iterables, **options)]

    return asyncio.run(parent())


@BOTH
@pytest.mark.parametrize("inside", [True, False])
def test_map_is_in_order_everywhere(task: Any, inside: bool, request: pytest.FixtureRequest) -> None:
    if inside:
        request.getfixturevalue("controller")
    assert list(flyte.map(task, range(7))) == list(range(1, 8))
    assert list(flyte.map(task, [1, 2], [10, 20], concurrency=1)) == [11, 22]
    assert run_map(task, range(7), concurrency=2) == list(range(1, 8))
    assert list(flyte.map(functools.partial(task, y=5), [1, 2])) == [6, 7]
    assert list(flyte.map(functools.partial(task, 5), [1, 2])) == [6, 7]
    assert list(flyte.map(task, [])) == run_map(task, []) == []


@BOTH
def test_exceptions_are_given_or_raised(task: Any, controller: FakeController) -> None:
    for results in (list(flyte.map(task, [1, -1, 2])), run_map(task, [1, -1, 2])):
        assert (results[0], repr(results[1]), results[2]) == (2, "ValueError('bad -1')", 3)
    for run in (lambda **how: list(flyte.map(task, [1, -1, 2], **how)), functools.partial(run_map, task, [1, -1, 2])):
        with pytest.raises(ValueError, match="bad -1"):
            run(return_exceptions=False)
    refused = run_map(task, ["a", 1])
    assert isinstance(refused[0], RuntimeDataValidationError)
    assert refused[1] == 2


def test_the_window_bounds_the_calls(controller: FakeController) -> None:
    run_map(add, range(20), concurrency=3)
    assert controller.most == 3
    list(flyte.map(add, range(20), concurrency=4))
    assert controller.most == 4
    list(flyte.map(add, range(20)))
    assert controller.most == 20


def test_calls_are_grouped(controller: FakeController) -> None:
    list(flyte.map(add, [1]))
    run_map(add, [1], group_name="mine")
    assert [group for _, _, group in controller.calls] == ["add", "mine"]


def test_map_is_lazy(controller: FakeController) -> None:
    taken: list[int] = []

    def inputs() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    results = flyte.map(add, inputs(), concurrency=2)
    assert taken == []
    assert [next(results), next(results)] == [1, 2]
    results.close()
    assert len(taken) < 12


def test_leaving_early_cancels_the_rest(controller: FakeController) -> None:
    async def parent() -> None:
        results = flyte.map.aio(slow, [0, 1, 1], return_exceptions=False)
        with pytest.raises(ValueError, match="fast"):
            await anext(results)
        await asyncio.sleep(0.01)
        assert (controller.active, controller.cancelled) == (0, 2)

    asyncio.run(parent())
    with pytest.raises(ValueError, match="fast"):
        list(flyte.map(slow, [0, 1, 1], return_exceptions=False))
    assert (controller.active, controller.cancelled) == (0, 4)


def test_an_iterable_that_fails_fails_the_map(controller: FakeController) -> None:
    def inputs() -> Iterator[int]:
        yield 1
        raise KeyError("inputs")

    results = flyte.map(add, inputs())
    assert next(results) == 2
    with pytest.raises(KeyError, match="inputs"):
        next(results)


def test_wrong_maps_are_refused_at_once() -> None:
    for wrong, iterables in [
        (functools.partial(add, x=1, y=2), [[1]]), (functools.partial(add), [[1]]),
        (functools.partial(add, x=1), [[1], [2]]), (add, []), (add.fn, [[1]]), (len, [[1]]),
    ]:  # fmt: skip
        with pytest.raises(TypeError, match="map"):
            flyte.map(wrong, *iterables)
        with pytest.raises(TypeError, match="map"):
            flyte.map.aio(wrong, *iterables)
    with pytest.raises(ValueError, match="concurrency"):
        flyte.map(add, [1], concurrency=-1)


def test_a_blocking_map_in_async_code_is_refused(controller: FakeController) -> None:
    async def parent() -> None:
        flyte.map(add, [1])

    with pytest.raises(SyncTaskCallInAsyncContextError, match=r"map\.aio"):
        asyncio.run(parent())


@BOTH
@pytest.mark.parametrize("inside", [True, False])
def test_map_task(task: Any, inside: bool, request: pytest.FixtureRequest) -> None:
    if inside:
        request.getfixturevalue("controller")
    assert flyte.map_task(task)(x=[1, 2, 3]) == [2, 3, 4]
    assert flyte.map_task(task, concurrency=1)(x=[1, 2], y=[10, 20]) == [11, 22]
    assert flyte.map_task(functools.partial(task, y=5))(x=[1]) == [6]
    assert flyte.map_task(task)(x=[]) == []

    async def parent() -> Any:
        return await asyncio.gather(flyte.map_task(task, concurrency=2)(x=range(5)), flyte.map_task(task)(x=[9]))

    assert asyncio.run(parent()) == [[1, 2, 3, 4, 5], [10]]
    with pytest.raises(ValueError, match="bad -1"):
        flyte.map_task(task)(x=[1, -1])
    assert flyte.map_task(task, min_success_ratio=0.5)(x=[1, -1]) == [2, None]
    with pytest.raises(ValueError, match="bad"):
        flyte.map_task(task, min_success_ratio=0.6)(x=[1, -1])


def test_map_task_fails_fast(controller: FakeController) -> None:
    with pytest.raises(ValueError, match="fast"):
        flyte.map_task(slow)(x=[1, 1, 0, 1])

    async def parent() -> None:
        await flyte.map_task(slow)(x=[1, 0, 1])

    with pytest.raises(ValueError, match="fast"):
        asyncio.run(parent())
    assert (controller.active, controller.cancelled) == (0, 5)


def test_wrong_map_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one length.*'x': 2, 'y': 1"):
        flyte.map_task(add)(x=[1, 2], y=[1])
    with pytest.raises(TypeError, match="no parameter z"):
        flyte.map_task(add)(z=[1])
    with pytest.raises(TypeError, match="at least one list"):
        flyte.map_task(add)()
    with pytest.raises(TypeError, match="task"):
        flyte.map_task(len)
    with pytest.raises(ValueError, match="min_success_ratio"):
        flyte.map_task(add, min_success_ratio=2)
