"""Things that go wrong, each with the right result or an error that names the cause; the pool goes on serving."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import samovar as flyte
from samovar import errors
from samovar.host import Host
from samovar.model import Phase

from . import program
from .conftest import until


def result(task: Any, **inputs: Any) -> Any:
    return flyte.run(task, **inputs).result()


@pytest.mark.parametrize(
    ("how", "named"), [("exit", "exited with code 1"), ("kill", "SIGKILL"), ("segfault", "SIGSEGV")]
)
def test_an_input_that_kills_is_named_and_its_neighbours_finish(host: Host, how: str, named: str) -> None:
    neighbours = [flyte.run(program.steady, x=i) for i in range(6)]
    killer = flyte.run(program.dies, how=how)
    with pytest.raises(errors.RuntimeSystemError, match=named) as caught:
        killer.result()
    assert caught.value.worker
    assert [run.result() for run in neighbours] == list(range(6))
    assert result(program.steady, x=9) == 9


def test_a_replica_that_dies_once_costs_nothing(host: Host, tmp_path: Path) -> None:
    assert result(program.dies_once, path=str(tmp_path / "mark")) == "second life"


def test_kill_9_of_a_replica_in_the_middle_of_its_work(host: Host) -> None:
    runs = [flyte.run(program.steady, x=i) for i in range(12)]
    os.kill(result(program.fragile_pid), signal.SIGKILL)
    assert [run.result() for run in runs] == list(range(12))


def test_an_exception_arrives_with_class_text_and_traceback(host: Host) -> None:
    with pytest.raises(errors.RuntimeUserError, match="no good") as caught:
        result(program.raises, kind="value")
    assert caught.value.code == "ValueError"
    assert isinstance(caught.value.__cause__, ValueError)
    assert 'raise ValueError("no good")' in caught.value.traceback_text
    assert "samovar/runtime" not in caught.value.traceback_text


def test_an_exception_that_does_not_pickle(host: Host) -> None:
    with pytest.raises(errors.RuntimeUserError, match="closed") as caught:
        result(program.raises, kind="sealed")
    assert caught.value.code == "Sealed"


def test_a_parent_catches_the_error_of_its_child(host: Host) -> None:
    assert result(program.catches) == "ValueError: no good"


def test_a_result_that_does_not_pickle(host: Host) -> None:
    with pytest.raises(errors.RuntimeDataValidationError, match=r"unpicklable.*generator"):
        result(program.unpicklable)


def test_a_package_that_does_not_exist(host: Host) -> None:
    with pytest.raises(errors.ImageBuildError, match="samovar-has-no-such-package"):
        result(program.never)


def test_retries(host: Host, tmp_path: Path) -> None:
    assert result(program.third_time, path=str(tmp_path / "tries")) == 3
    with pytest.raises(errors.RuntimeUserError, match="not yet"):
        result(program.third_time.override(retries=0), path=str(tmp_path / "again"))


def test_non_recoverable(host: Host) -> None:
    with pytest.raises(errors.NonRecoverableError, match="stop here"):
        result(program.raises.override(retries=5), kind="final")


def test_timeout(host: Host) -> None:
    run = flyte.run(program.too_slow)
    with pytest.raises(errors.MaxRuntimeExceededError, match=r"0\.3 s"):
        run.wait()
    assert run.phase is Phase.TIMED_OUT


def test_a_blocking_task_that_is_timed_out_costs_its_replica_not_its_neighbours(host: Host) -> None:
    blocked = flyte.run(program.blocks.override(timeout=0.2))
    neighbours = [flyte.run(program.steady, x=i) for i in range(4)]
    with pytest.raises(errors.TaskTimeoutError):
        blocked.wait()
    assert [run.result() for run in neighbours] == list(range(4))


def test_out_of_memory(host: Host) -> None:
    with pytest.raises(errors.OOMError, match=r"small.*200 MiB.*override"):
        result(program.hungry, mib=1000)
    assert result(program.hungry, mib=2) == 2 * 2**20


def test_abort_reaches_everything_below(host: Host, tmp_path: Path) -> None:
    run = flyte.run(program.parent_of_sleepers, path=str(tmp_path))
    until(lambda: len(list(tmp_path.glob("* began"))) == 3)
    run.abort("enough")
    with pytest.raises(errors.ActionAbortedError, match="enough"):
        run.wait()
    assert run.phase is Phase.ABORTED
    until(lambda: len(list(tmp_path.glob("* ended"))) == 3)


def test_cancelling_a_call_aborts_the_child(host: Host, tmp_path: Path) -> None:
    assert result(program.abandons, path=str(tmp_path)) == "left"
    until(lambda: (tmp_path / "7 ended").exists())


def test_large_values_leave_at_most_one_file_to_write_to(host: Host) -> None:
    for _ in range(5):
        result(program.echo.override(max_inline_io_bytes=2**30), value=b"x" * 5_000_000)
    until(lambda: len({*os.listdir(host.blobs.folder)} - {"lock"}) <= 1)
