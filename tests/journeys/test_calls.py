"""Calls that go well."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest

import samovar as flyte
from samovar import errors
from samovar.host import Host

from . import program
from .conftest import Seen, until


def result(task: Any, **inputs: Any) -> Any:
    return flyte.run(task, **inputs).result()


@pytest.mark.parametrize("fan", [program.squares, program.grouped, program.mapped])
def test_fan_out_keeps_order(host: Host, fan: Any) -> None:
    assert result(fan, n=300) == [i * i for i in range(300)]


def test_as_completed(host: Host) -> None:
    assert result(program.first_come, n=50) == {i * i for i in range(50)}


def test_sync_tasks_map_and_recurse(host: Host) -> None:
    assert result(program.halves, n=20) == [i / 2 for i in range(20)]
    assert result(program.sync_depth, n=200) == 200


def test_a_sync_task_awaits_async_ones(host: Host) -> None:
    assert result(program.calls_async) == 13


def test_200_parents_on_one_slot(host: Host) -> None:
    assert result(program.depth, n=200) == 200


def test_workflow(host: Host) -> None:
    assert result(program.flow, n=5) == [0, 1, 4, 9, 16]


def test_module_state_stays_warm(host: Host) -> None:
    first, second = result(program.warm), result(program.warm)
    assert first[0] == second[0]
    assert second[1] == first[1] + 1


def test_without_reuse_each_execution_has_a_process(host: Host) -> None:
    first, second = result(program.cold), result(program.cold)
    assert first[0] != second[0]
    assert first[1] == second[1] == 1
    assert result(program.cold_children, n=6) == 6


def test_an_idle_pool_stops_and_the_next_call_starts_it(host: Host) -> None:
    first = result(program.pid)
    until(lambda: all(s.ready == s.draining == 0 for s in host.stats() if s.name.startswith("quick@")))
    assert result(program.pid) != first


def test_children_run_in_the_pool_that_the_script_uses(host: Host) -> None:
    result(program.family)
    assert len([s for s in host.stats() if s.name.startswith("pair@")]) == 1


def test_scope_run_gives_each_run_its_own_replicas(host: Host) -> None:
    assert result(program.own_pid) != result(program.own_pid)
    until(lambda: all(s.ready == s.draining == 0 for s in host.stats() if s.name.startswith("own@")))


def test_values_of_many_kinds(host: Host) -> None:
    point = program.Point(1, ["a"])
    model = program.Model(name="m", score=0.5)
    assert result(program.typed, point=point, model=model, array=np.arange(4)) == program.Point(7, ["a", "m"])
    frame = pd.DataFrame({"a": [1, 2]})
    assert result(program.echo, value=frame).equals(frame)
    assert result(program.echo, value={"deep": [{1, 2}, (None, b"x")]}) == {"deep": [{1, 2}, (None, b"x")]}


def test_an_array_of_100_mb_travels_and_is_writable(host: Host) -> None:
    array = np.arange(100 * 2**20 // 8, dtype=np.float64)
    back = result(program.echo, value=array)
    assert np.array_equal(back, array)
    back[0] = 7


def test_more_bytes_inline_than_allowed(host: Host) -> None:
    with pytest.raises(errors.InlineIOMaxBytesBreached, match="max_inline_io_bytes"):
        result(program.echo, value=b"x" * 100_000_000)
    roomy = program.echo.override(max_inline_io_bytes=200_000_000)
    assert len(result(roomy, value=b"x" * 100_000_000)) == 100_000_000


def test_wrong_input_is_refused_before_anything_is_queued(host: Host) -> None:
    with pytest.raises(errors.RuntimeDataValidationError, match=r"pair\.square.*'x'.*int.*str"):
        flyte.run(program.square, x="three")


def test_output_is_checked_against_its_annotation(host: Host) -> None:
    with pytest.raises(errors.RuntimeDataValidationError, match=r"wrong_output.*int.*str"):
        result(program.wrong_output)


def test_lines_belong_to_the_execution_that_wrote_them(host: Host, seen: Seen) -> None:
    async def both() -> None:
        runs = [await flyte.run.aio(program.chatter, name=name) for name in ("ann", "bob")]
        await asyncio.gather(*[run.wait.aio() for run in runs])

    asyncio.run(both())
    until(lambda: seen.text("stdout").count("tail") == 2)
    for label in {label for label, _, _ in seen.logs}:
        mine = {"ann", "bob"} & set((seen.text("stdout", label) + seen.text("stderr", label)).split())
        assert len(mine) == 1, "lines of two executions under one label"
    assert "ann 0\nann 1\nann 2\nann tail" in [seen.text("stdout", label) for label, _, _ in seen.logs]
    assert seen.text("stderr").count("log ann") == 3


def test_runs_from_async_code(host: Host) -> None:
    async def many() -> list[int]:
        runs = await asyncio.gather(*[flyte.run.aio(program.square, x=i) for i in range(100)])
        return list(await asyncio.gather(*[run.result.aio() for run in runs]))

    assert asyncio.run(many()) == [i * i for i in range(100)]


def test_environment_variables_reach_the_replica(host: Host) -> None:
    assert result(program.colour) == "green"


def test_errors_pickle() -> None:
    error = errors.RuntimeUserError("ValueError", "no", "replica-1")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, str(again), again.worker) == (type(error), "ValueError", "no", "replica-1")
