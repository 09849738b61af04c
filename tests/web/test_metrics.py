"""What Prometheus reads: by its own parser, and what a scrape costs the engine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from samovar.core.pools import Bounds
from samovar.engine.turn import Turn
from samovar.engine.work import Called, Run
from samovar.entries import RunEnded
from samovar.journal.memory import MemoryJournal
from samovar.model import Environment, Phase, PoolSettings, TaskSpec
from samovar.web.metrics import expose
from samovar.wire import frames
from tests.engine.test_admission import TASK, Starter, hear, start
from tests.engine.test_clients import Talk


class Counted(Turn):
    """Counts the calls of Python functions in a turn, which are the same on every machine."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __enter__(self) -> None:
        super().__enter__()
        sys.setprofile(self._called)

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        super().__exit__(*error)

    def _called(self, frame: object, event: str, argument: object) -> None:
        self.calls += event == "call"


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    made = Talk(tmp_path, bounds=Bounds(max_queued=10**6))
    yield made
    for peer in made.peers:
        peer.socket.close()
    made.engine.hub.close()


def station(talk: Talk, turn: Turn | None = None) -> Any:
    return SimpleNamespace(engine=talk.engine, turn=turn or Turn(), driver="fake")


def samples(text: str) -> dict[tuple[str, ...], float]:
    """By name and the values of labels, in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_pool_at_work_as_prometheus_reads_it(talk: Talk) -> None:
    for number in range(3):
        start(talk.engine, f"r{number}")
    replica = talk.replica()
    _, run = hear(replica, 2)
    replica.say(frames.Done(run.epoch, b"out", (), 0.004), frames.Beat(1000, 0.5))
    (_,) = hear(replica, 1)
    found = samples(expose(station(talk), None).body.decode())
    (pool,) = talk.engine.environments
    assert found["samovar_up", "fake"] == 1
    assert found["samovar_queued_actions", "e", pool] == 1
    assert found["samovar_slots", "e", pool, "active"] == 1
    assert found["samovar_slots", "e", pool, "free"] == 0
    assert found["samovar_replicas", "e", pool, "ready"] == 1
    assert found["samovar_replica_memory_bytes", "e", pool] == 1000
    assert found["samovar_loop_lag_seconds", "e", pool] == 0.5
    assert found["samovar_actions_total", "e", "succeeded"] == 1
    assert found["samovar_attempts_total", "e", "cold"] == 1
    assert found["samovar_attempts_total", "e", "warm"] == 1
    assert found["samovar_run_seconds_bucket", "e", "0.0025"] == 0
    assert found["samovar_run_seconds_bucket", "e", "0.005"] == 1
    assert found["samovar_run_seconds_bucket", "e", "+Inf"] == found["samovar_run_seconds_count", "e"] == 1
    assert found["samovar_run_seconds_sum", "e"] == pytest.approx(0.004)
    assert found["samovar_queue_wait_seconds_count", "e"] == 2
    assert found["process_resident_memory_bytes",] > 0
    assert not any(name[0].startswith("samovar_journal") for name in found)


def test_a_journal_says_how_it_keeps_up(talk: Talk) -> None:
    journal = MemoryJournal()
    journal.record(RunEnded("nobody's", Phase.FAILED, 1.0))
    journal.flush(10)
    found = samples(expose(station(talk), journal).body.decode())
    journal.close(10)
    assert found["samovar_journal_up",] == 1
    assert found["samovar_journal_backlog_entries",] == 0
    assert found["samovar_journal_refused_entries_total",] == 1


def test_openmetrics_is_given_to_who_can_read_it(talk: Talk) -> None:
    start(talk.engine, "r1")
    given = expose(station(talk), None, "application/openmetrics-text; version=1.0.0")
    assert given.content_type.startswith("application/openmetrics-text")
    assert {"samovar_queued_actions", "samovar_run_seconds"} <= {f.name for f in read_openmetrics(given.body.decode())}
    assert expose(station(talk), None, "").content_type.startswith("text/plain")


def test_what_users_name_is_a_value_and_no_syntax(talk: Talk) -> None:
    name = 'e"}\n samovar_up{driver="x'
    task = TaskSpec("e.f", "m", "f", Environment(name, settings=PoolSettings(1, 1)))
    talk.engine.start(Called(task, b""), Run("r1", None, Starter()))
    (pool,) = talk.engine.environments
    assert samples(expose(station(talk), None).body.decode())["samovar_queued_actions", name, pool] == 1


def test_pools_of_one_run_each_share_a_label(talk: Talk) -> None:
    for number in range(3):
        environment = Environment("e", settings=PoolSettings(1, 1), scope=f"r{number}")
        called = Called(TaskSpec("e.f", "m", "f", environment), b"")
        talk.engine.start(called, Run(f"r{number}", None, Starter()))
    assert len(talk.engine.environments) == 3
    text = expose(station(talk), None).body.decode()
    assert "/r1" not in text
    queued = [value for key, value in samples(text).items() if key[0] == "samovar_queued_actions"]
    assert sum(queued) == 3


def test_a_scrape_takes_the_turn_for_the_same_work_however_much_is_queued(talk: Talk) -> None:
    def calls() -> int:
        turn = Counted()
        expose(station(talk, turn), None)
        return turn.calls

    start(talk.engine, "r1")
    talk.engine.figures.read()
    few = calls()
    for number in range(5000):
        talk.engine.start(Called(TASK, b""), Run(f"q{number}", None, Starter()))
    assert talk.engine.stats()[0].queued == 5001
    assert calls() == few
