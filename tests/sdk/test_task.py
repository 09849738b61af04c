"""Calls, overrides, pickling, workflow, trace, ctx, group."""

from __future__ import annotations

import asyncio
import pickle
import threading

import pytest

import samovar as flyte
from samovar.errors import (
    NotInTaskContextError,
    NotSupportedError,
    RuntimeDataValidationError,
    SyncTaskCallInAsyncContextError,
    TraceDoesNotAllowNestedTasksError,
)

from .fakes import FakeController

env = flyte.TaskEnvironment("ml", reusable=flyte.ReusePolicy(replicas=1), env_vars={"A": "1"})
plain = flyte.TaskEnvironment("plain")


@env.task
async def double(x: int, times: int = 2) -> int:
    return x * times


@env.task
def half(x: float) -> float:
    return x / 2


@plain.task
def loose(x, *, y=1, **more):
    return x, y, more


@flyte.workflow
async def main(x: int) -> int:
    return await double(x)


@flyte.workflow(retries=1)
def main_sync(x: float) -> float:
    return half(x)


def test_outside_of_tasks_a_call_is_a_plain_call() -> None:
    assert half(4) == 2
    assert half.forward(4) == 2
    assert asyncio.run(double(4)) == 8
    assert asyncio.run(double.aio(4)) == 8

    async def script() -> float:
        return half(2) + await half.aio(4)

    assert asyncio.run(script()) == 3
    assert asyncio.run(main(2)) == 4


def test_in_a_task_calls_go_to_the_controller(controller: FakeController) -> None:
    async def parent() -> list[float]:
        first = double(1)
        assert controller.calls == [("ml.double", {"x": 1, "times": 2}, "")]  # at once
        with flyte.group("g"):
            second = half.aio(4.0)
        return [await first, await second, *await asyncio.gather(double(2), double(x=3, times=1))]

    assert asyncio.run(parent()) == [2, 2.0, 4, 3]
    assert controller.calls[1] == ("ml.half", {"x": 4.0}, "g")
    assert half(8.0) == 4.0


def test_an_async_task_called_without_a_loop_is_called_when_awaited(controller: FakeController) -> None:
    later = double(3)
    aio = half.aio(3.0)
    assert controller.calls == []
    assert asyncio.run(later) == 6
    assert asyncio.run(aio) == 1.5
    assert len(controller.calls) == 2
    with pytest.raises(RuntimeDataValidationError):
        double("x")


def test_a_sync_task_does_not_block_async_code(controller: FakeController) -> None:
    async def parent() -> None:
        half(1.0)

    with pytest.raises(SyncTaskCallInAsyncContextError, match=r"ml\.half.*await half\.aio"):
        asyncio.run(parent())


def test_binding() -> None:
    assert double.bind((1,), {}) == {"x": 1, "times": 2}
    assert list(double.bind((), {"times": 1, "x": 2})) == ["x", "times"]
    assert loose.bind((1,), {"z": 3}) == {"x": 1, "y": 1, "z": 3}
    for args, kwargs, message in [
        ((), {}, "missing a required argument: 'x'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"x": 2}, "multiple values for argument 'x'"),
        ((1,), {"z": 2}, "unexpected keyword argument 'z'"),
    ]:
        with pytest.raises(TypeError, match=rf"task 'ml\.double': .*{message}.*double\(x: "):
            double.bind(args, kwargs)


def test_override() -> None:
    other = half.override(short_name="h", retries=5, timeout=3, max_inline_io_bytes=5)
    assert (other.name, other.short_name) == ("ml.half", "h")
    assert (other.spec.retry.count, other.spec.timeouts.max_runtime) == (5, 3)
    assert half.spec.retry.count == 0
    assert other.spec.environment.version == half.spec.environment.version
    big = half.override(resources=flyte.Resources(cpu=2), env_vars={"B": "2"}, secrets="s", reusable="off")
    made = big.spec.environment
    assert (made.settings.max_tasks, made.limits.cpu, made.env_vars) == (1, 2.0, (("B", "2"),))
    assert made.version != half.spec.environment.version
    assert big.override(resources=flyte.Resources(cpu=3)).spec.environment.limits.cpu == 3  # reuse is off already
    wide = half.override(reusable=flyte.ReusePolicy(replicas=7))
    assert wide.spec.environment.settings.max_replicas == 7


@pytest.mark.parametrize("name", ["resources", "env_vars", "secrets"])
def test_a_container_cannot_change_under_a_reusable_task(name: str) -> None:
    value = {"resources": flyte.Resources(cpu=2), "env_vars": {"A": "1"}, "secrets": "s"}[name]
    with pytest.raises(ValueError, match=rf"{name}.*reusable='off'"):
        half.override(**{name: value})
    with pytest.raises(ValueError, match="reusable='off'"):
        loose.override(**{name: value}, reusable=flyte.ReusePolicy())
    assert loose.override(**{name: value})


@pytest.mark.parametrize("name", ["name", "image", "docs", "interface"])
def test_what_a_task_is_cannot_be_overridden(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be overridden"):
        half.override(**{name: "x"})


def test_other_wrong_overrides() -> None:
    with pytest.raises(TypeError, match="colour"):
        half.override(colour=1)
    with pytest.raises(ValueError, match="'on'"):
        half.override(reusable="on")
    with pytest.raises(ValueError, match="sync function"):
        half.override(reusable=flyte.ReusePolicy(concurrency=2))
    with pytest.raises(ValueError, match="pod_template"):
        half.override(pod_template="x")
    with pytest.raises(NotSupportedError, match=r"Task\.show"):
        half.show()


def test_tasks_are_pickled_by_reference() -> None:
    assert pickle.loads(pickle.dumps(half)) is half
    changed = half.override(resources=flyte.Resources(cpu=2), reusable="off").override(retries=3)
    again = pickle.loads(pickle.dumps(changed))
    assert again.fn is half.fn
    assert again.spec == changed.spec


def test_a_local_task_is_pickled_by_value() -> None:
    cloudpickle = pytest.importorskip("cloudpickle")

    @plain.task
    def local(x: int) -> int:
        return x + 1

    assert pickle.loads(cloudpickle.dumps(local))(1) == 2


def test_workflow() -> None:
    for task in (main, main_sync):
        assert task.name.startswith("workflow.main")
        assert task.spec.environment.settings.max_tasks == 1
    assert main_sync.spec.retry.count == 1


def test_ctx(controller: FakeController) -> None:
    ctx = flyte.ctx()
    assert ctx
    assert (ctx.action.name, ctx.action.run_name, ctx.attempt) == ("r1-3", "r1", 2)
    assert ctx.custom_context == {"a": "b"}
    with flyte.custom_context(c="d"):
        assert flyte.ctx().custom_context == flyte.get_custom_context() == {"a": "b", "c": "d"}
    assert flyte.ctx().custom_context == flyte.get_custom_context() == {"a": "b"}
    with flyte.group("g"):
        assert flyte.ctx().group == "g"
    with pytest.raises(NotSupportedError, match=r"ctx\(\)\.checkpoint"):
        ctx.checkpoint  # noqa: B018
    with pytest.raises(NotSupportedError, match=r"ctx\(\)\.action\.org"):
        ctx.action.org  # noqa: B018


def test_no_ctx() -> None:
    assert not flyte.ctx()
    with pytest.raises(NotInTaskContextError, match="action"):
        flyte.ctx().action  # noqa: B018
    assert (flyte.current_domain(), flyte.current_project()) == ("development", "default")
    with flyte.group("g"):
        pass


def test_groups_of_concurrent_code_do_not_mix(controller: FakeController) -> None:
    async def part(name: str) -> None:
        with flyte.group(name):
            await asyncio.sleep(0)
            await double(1)

    async def parent() -> None:
        await asyncio.gather(part("a"), part("b"))

    asyncio.run(parent())
    assert sorted(group for _, _, group in controller.calls) == ["a", "b"]


@flyte.trace
def traced(x: int) -> int:
    return x + 1


@flyte.trace
async def traced_aio(x: int) -> int:
    return x + 1


@flyte.trace
async def nested() -> int:
    return await double(1)


@flyte.trace
async def many():
    yield 1


def test_trace(controller: FakeController) -> None:
    assert traced(1) == 2
    assert traced.__name__ == "traced"
    assert asyncio.run(traced_aio(1)) == 2
    with pytest.raises(TraceDoesNotAllowNestedTasksError, match=r"nested.*ml\.double"):
        asyncio.run(nested())
    assert [half(2.0)] == [1.0]

    async def read() -> list[int]:
        return [item async for item in many()]

    assert asyncio.run(read()) == [1]


def test_threads_do_not_inherit_a_context(controller: FakeController) -> None:
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(bool(flyte.ctx())))
    thread.start()
    thread.join()
    assert seen == [False]
