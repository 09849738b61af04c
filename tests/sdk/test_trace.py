"""Traced calls as their task sees them: known ones are answered, others are made and written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import samovar as flyte
from samovar.sdk import context
from samovar.sdk.controller import Recalled

from .fakes import FakeController

made: list[Any] = []


@flyte.trace
async def plus(x: int, y: int = 1) -> int:
    made.append(x)
    if x < 0:
        raise ValueError(x)
    return x + y


@flyte.trace
def minus(x: int) -> int:
    made.append(x)
    return x - 1


@flyte.trace
async def count(n: int) -> AsyncIterator[int]:
    for x in range(n):
        made.append(x)
        yield x


@flyte.trace
async def nested() -> int:
    return minus(await plus(1))


@pytest.fixture
def kept(controller: FakeController) -> FakeController:
    """Of an execution whose traced calls are written down."""
    execution = context.current.get()
    assert execution is not None
    execution.traces = {}
    made.clear()
    return controller


def again(kept: FakeController) -> None:
    """The execution runs again, and what it has traced is known."""
    kept.past = {traced.key: traced.outcome for traced in kept.traced}
    execution = context.current.get()
    assert execution is not None
    execution.traces = {}
    kept.traced.clear()
    made.clear()


async def everything() -> list[Any]:
    found = [await plus(1), await plus(1), await plus(1, y=3), minus(5), [x async for x in count(3)]]
    try:
        await plus(-1)
    except ValueError as error:
        found.append(str(error))
    return found


def test_a_call_is_made_once(kept: FakeController) -> None:
    found = asyncio.run(everything())
    assert found == [2, 2, 4, 4, [0, 1, 2], "-1"]
    assert len({traced.key for traced in kept.traced}) == 6
    assert [traced.name for traced in kept.traced] == ["plus", "plus", "plus", "minus", "count", "plus"]
    again(kept)
    assert asyncio.run(everything()) == found
    assert (made, kept.traced) == ([], [])


def test_the_ordinal_is_that_of_the_whole_execution(kept: FakeController) -> None:
    async def calls() -> None:
        with flyte.group("a"):
            await plus(1)
        await plus(1)

    asyncio.run(calls())
    assert len({traced.key for traced in kept.traced}) == 2


def test_one_inside_another_is_a_part_of_it(kept: FakeController) -> None:
    assert asyncio.run(nested()) == 1
    assert [traced.name for traced in kept.traced] == ["nested"]


def test_a_cancelled_call_is_not_written_down(kept: FakeController) -> None:
    @flyte.trace
    async def endless() -> None:
        await asyncio.Event().wait()

    async def cancel() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(endless(), 0.01)

    asyncio.run(cancel())
    assert kept.traced == []


def test_a_generator_that_is_left_is_not_written_down(kept: FakeController) -> None:
    async def first() -> int:
        items = count(3)
        async for x in items:
            await items.aclose()  # type: ignore[attr-defined]
            return x
        return -1

    assert asyncio.run(first()) == 0
    assert kept.traced == []


def test_arguments_without_a_key_are_said_once(kept: FakeController, caplog: pytest.LogCaptureFixture) -> None:
    @flyte.trace
    def apply(function: Any) -> Any:
        return function()

    assert [apply(lambda: 1), apply(lambda: 2)] == [1, 2]
    assert kept.traced == []
    assert len([record for record in caplog.records if "are not kept" in record.getMessage()]) == 1


def test_elsewhere_it_runs_as_it_is(controller: FakeController) -> None:
    controller.past = {"any": Recalled(0)}
    assert asyncio.run(everything())[0] == 2
    assert controller.traced == []
