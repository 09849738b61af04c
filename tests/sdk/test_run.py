"""run, with_runcontext, Run, init."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest

import samovar as flyte
from samovar.errors import InitializationError, NotSupportedError, RuntimeDataValidationError
from samovar.sdk import bundle, ctx

from .fakes import FakeController, FakeHost

env = flyte.TaskEnvironment("ml", env_vars={"A": "1"})


class Scores(NamedTuple):
    good: int
    bad: int


@env.task
async def add(x: int, y: int = 1) -> int:
    if x < 0:
        raise ValueError("negative")
    return x + y


@env.task
def nothing() -> None: ...


@env.task
def maybe() -> int | None:
    return None


@env.task
def pair() -> tuple[int, str]:
    return 1, "a"


@env.task
def scores() -> Scores:
    return Scores(1, 2)


@flyte.workflow
def flow(x: int) -> list[int]:
    return [x]


def test_run_starts_and_does_not_wait(host: FakeHost) -> None:
    run = flyte.run(add, 1, y=2)
    task, inputs, name, context = host.started[0]
    assert (task, inputs, context) == (add, {"x": 1, "y": 2}, None)
    assert run.name == name
    assert run.url == f"samovar://runs/{name}"
    assert run.phase is flyte.models.ActionPhase.QUEUED
    assert not run.done()
    assert "ml.add: queued" in repr(run)
    assert run.wait() is None
    assert run.wait(quiet=True) is None
    assert run.done()
    assert run.result() == 3
    assert run.outputs() == (3,)
    assert run.outputs().named == {"o0": 3}
    assert flyte.run(add, 1).name != name


def test_inputs_are_checked_before_anything_is_queued(host: FakeHost) -> None:
    with pytest.raises(RuntimeDataValidationError, match="'x' expects int, got str"):
        flyte.run(add, "1")
    with pytest.raises(TypeError, match="missing"):
        flyte.run(add)
    with pytest.raises(TypeError, match="needs a task"):
        flyte.run(add.fn, 1)
    with pytest.raises(RuntimeDataValidationError):
        asyncio.run(flyte.run.aio(add, "1"))
    assert host.started == []


def test_outputs_are_a_tuple(host: FakeHost) -> None:
    assert flyte.run(nothing).outputs() == ()
    assert flyte.run(maybe).outputs() == (None,)
    assert flyte.run(pair).outputs() == (1, "a")
    assert flyte.run(scores).outputs().named == {"good": 1, "bad": 2} == flyte.run(scores).outputs().named_outputs
    assert flyte.run(flow, x=1).outputs()[0] == [1]
    assert isinstance(flyte.run(flow, x=1).outputs(), tuple)


def test_a_failed_run_raises(host: FakeHost) -> None:
    for wait in ("wait", "outputs", "result"):
        with pytest.raises(ValueError, match="negative"):
            getattr(flyte.run(add, -1), wait)()
        with pytest.raises(ValueError, match="negative"):
            asyncio.run(getattr(flyte.run(add, -1), wait).aio())


def test_async_twins(host: FakeHost) -> None:
    async def script() -> None:
        await flyte.init.aio()
        run = await flyte.run.aio(add, 1)
        await run.wait.aio()
        assert await run.outputs.aio() == (2,)
        assert await run.result.aio() == 2
        await run.abort.aio("why")
        assert flyte.run(add, 1).name

    asyncio.run(script())
    assert host.handles[0].reason == "why"


def test_wait_for_running_and_abort(host: FakeHost) -> None:
    run = flyte.run(add, 1)
    run.wait(wait_for="running")
    assert run.phase is flyte.models.ActionPhase.RUNNING
    asyncio.run(run.wait.aio(wait_for="running"))
    run.abort("enough")
    assert host.handles[0].reason == "enough"
    with pytest.raises(ValueError, match="wait_for"):
        run.wait(wait_for="tea")
    with pytest.raises(NotSupportedError, match=r"Run\.show_logs"):
        run.show_logs()


def test_a_run_is_found_by_its_name(host: FakeHost) -> None:
    flyte.run(add, x=1)
    for found in (flyte.Run.get("r1"), asyncio.run(flyte.remote.Run.get.aio("r1"))):
        assert found.name == "r1"
        assert found.outputs() == (2,)
        assert found.result() == 2
    flyte.run(nothing)
    assert flyte.Run.get("r2").outputs() == ()


def test_runcontext(host: FakeHost) -> None:
    runner = flyte.with_runcontext(
        name="my-run", env_vars={"B": "2"}, custom_context={"c": "d"}, copy_style="all", overwrite_cache=True, labels={}
    )
    with flyte.custom_context(a="b", c="x"):
        assert runner.run(add, 1).name == "my-run"
    task, _, _, context = host.started[0]
    assert task.spec.environment.env_vars == (("A", "1"), ("B", "2"))
    assert context == {"a": "b", "c": "d"}
    assert host.caching == "replace"
    assert host.copy_styles == ["all"]
    flyte.with_runcontext(disable_run_cache=True, overwrite_cache=True).run(add, 1)
    assert host.caching == "off"
    flyte.run(add, 1)
    assert host.caching == ""
    assert asyncio.run(flyte.with_runcontext("remote").run.aio(add, x=1)).result() == 2
    with pytest.raises(TypeError, match="colour"):
        flyte.with_runcontext(colour=1)
    with pytest.raises(ValueError, match="copy_style must be 'loaded_modules', 'all' or 'none', not 'some'"):
        flyte.with_runcontext(copy_style="some")
    with pytest.raises(ValueError, match="mode"):
        flyte.with_runcontext(mode="moon")
    with pytest.raises(ValueError, match="name"):
        flyte.with_runcontext(name="a b")


def test_local_mode_stays_in_the_process(host: FakeHost) -> None:
    local = flyte.with_runcontext(mode="local")
    assert local.run(add, 1).outputs() == (2,)
    assert local.run(flow, 1).result() == [1]
    with pytest.raises(ValueError, match="negative"):
        local.run(add, -1)

    async def script() -> None:
        run = local.run(add, 1)
        assert (run.result(), await run.result.aio()) == (2, 2)
        assert (await local.run.aio(flow, x=2)).outputs() == ([2],)
        with pytest.raises(ValueError, match="negative"):
            local.run(add, -1)

    asyncio.run(script())
    run = local.run(add, 1)
    run.abort()
    assert run.phase is flyte.models.ActionPhase.SUCCEEDED
    assert host.started == []


def test_a_replica_starts_no_runs(controller: FakeController) -> None:
    with pytest.raises(InitializationError, match="call the other task directly"):
        flyte.run(add, 1)


def test_an_import_in_a_replica_starts_no_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "in_replica", True)
    with pytest.raises(InitializationError, match="__main__"):
        flyte.run(add, 1)


def test_init_takes_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctx, "settings", {})
    flyte.init()
    flyte.init_from_config()
    flyte.init_from_config("nowhere.yaml", root_dir=".")
    flyte.init(endpoint="x", project="p", domain="d")
    assert (flyte.current_project(), flyte.current_domain()) == ("p", "d")
