"""What can happen to containers in the middle of their work: nothing is lost, and the pool is whole again."""

from __future__ import annotations

import errno
import os
import random
import signal

import pytest

from samovar import errors

from . import program
from .hosts import SECONDS, until


@pytest.fixture
def engine(container_engine, host):
    """The engine alone: the containers of the module's host stay from test to test."""
    return container_engine


@pytest.fixture
def gate(gates, request):
    """A file that is not there yet."""
    return gates / request.node.name


def test_a_task_over_its_memory_is_named_and_its_neighbours_are_not_blamed(host):
    neighbours = [host.start(program.neighbour, x=x) for x in range(4)]
    until(lambda: host.pool(program.bounded).active == 4)
    hungry = host.start(program.hungry)
    with pytest.raises(errors.OOMError) as caught:
        hungry.wait(SECONDS)
    for told in (f"bounded.hungry {hungry.name}-1", "150 MiB", "override(resources=Resources(memory=…)"):
        assert told in str(caught.value)
    assert "neighbour" not in str(caught.value)
    results = [run.wait(SECONDS) for run in neighbours]
    assert [x for x, _ in results] == list(range(4))
    assert min(attempts for _, attempts in results) > 1
    until(lambda: host.is_whole(program.bounded))


def test_containers_that_are_killed_in_the_middle_of_2000_tasks(engine, host):
    host.result(program.square, x=1)
    until(lambda: host.is_whole(program.crew))
    before = host.pool(program.crew)
    runs = [host.start(program.square, x=x) for x in range(2000)]
    results = []
    killed = set()
    for number, run in enumerate(runs, 1):
        results.append(run.wait(SECONDS))
        if number % 300 == 0:
            victim = random.choice(sorted({*engine.running(program.crew.name)} - killed))
            engine.cli("kill", victim)
            killed.add(victim)
    assert results == [x * x for x in range(2000)]
    assert len(killed) == 6
    until(lambda: host.is_whole(program.crew))
    after = host.pool(program.crew)
    assert (after.done - before.done, after.failed - before.failed) == (2000, 0)
    until(lambda: len(engine.running(program.crew.name)) == 4)  # Podman may show later than it serves that one runs


def test_a_container_that_is_paused_past_its_lease(engine, hosting, monkeypatch):
    monkeypatch.setenv("SAMOVAR_LEASE", "3")
    with hosting() as host:
        host.result(program.where)
        until(lambda: host.is_whole(program.pair))
        run = host.start(program.second_life)
        until(lambda: "attempt 1 in " in host.text())
        paused = host.text().split()[-1]
        engine.cli("pause", paused)
        assert run.wait(SECONDS) != paused
        until(lambda: host.is_whole(program.pair))
        assert paused not in engine.cli("ps", "--all", "--format", "{{.ID}}").split()
        assert (host.pool(program.pair).done, host.pool(program.pair).failed) == (2, 0)


def test_a_full_tmp_is_the_tasks_own_error(host):
    with pytest.raises(errors.RuntimeUserError, match="No space left on device") as caught:
        host.result(program.fill)
    assert caught.value.code == "OSError"
    assert caught.value.__cause__.errno == errno.ENOSPC
    name, size = host.result(program.filled)
    assert size == 8 << 20
    assert host.result(program.filled) == (name, size)
    assert host.is_whole(program.roomless)


def test_a_fork_bomb_is_held_and_its_pool_goes_on(engine, host):
    with pytest.raises(errors.RuntimeUserError) as caught:
        host.result(program.bomb)
    assert caught.value.__cause__.errno == errno.EAGAIN
    (name,) = engine.running(program.crowded.name)
    assert host.result(program.well, x=1) == 1
    assert host.result(program.where)
    assert host.result(program.well_in_a_thread, x=2) == 2  # there is no thread to be had, but in a new container
    until(lambda: host.is_whole(program.crowded))
    assert engine.running(program.crowded.name) != [name]


def test_an_api_that_is_away_while_a_container_must_be_replaced(engine, host, gate):
    host.result(program.where)
    until(lambda: host.is_whole(program.pair))
    before = host.pool(program.pair)
    victim, other = engine.running(program.pair.name)
    pid = int(engine.cli("inspect", "--format", "{{.State.Pid}}", victim))
    runs = [host.start(program.gated, gate=str(gate), x=x) for x in range(20)]
    until(lambda: host.pool(program.pair).active == 2)
    engine.stop()
    os.kill(pid, signal.SIGKILL)
    until(lambda: host.pool(program.pair).ready == 1)
    gate.touch()
    assert [run.wait(SECONDS) for run in runs] == list(range(20))
    engine.start()
    until(lambda: host.is_whole(program.pair))
    assert other in engine.running(program.pair.name)
    assert host.pool(program.pair).done - before.done == 20
    until(lambda: len(engine.of(program.pair.name)) == 2)
