"""What Prometheus scrapes: the figures of an engine, of its journal and of this process, as text.

Whoever serves ``/metrics`` calls ``expose`` outside of the engine's turn. The turn is taken for as long as it takes to
copy figures, which does not grow with what is queued; what they look like as text is made after it. Labels are names of
pools and of task environments, and words from fixed lists: never of runs, actions or replicas.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from samovar.engine.figures import SECONDS, Distribution, Reading
from samovar.entries import Health
from samovar.host.station import Station
from samovar.model import PoolStats
from samovar.ports import Journal

_process = ProcessCollector(registry=None)


class Exposition(NamedTuple):
    body: bytes
    content_type: str


def expose(station: Station, journal: Journal | None, accept: str = "") -> Exposition:
    """``journal``: None where none is kept. ``accept``: the header of who asks; OpenMetrics is given to who can
    read it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot.of(station, journal))
    encode, content_type = choose_encoder(accept)
    return Exposition(encode(registry), content_type)


class _Snapshot(Collector):
    """All figures at a moment."""

    def __init__(self, driver: str, pools: list[PoolStats], environments: dict[str, str]) -> None:
        self._driver = driver
        self._pools = pools
        self._environments = environments  # by pool
        self._vitals: dict[str, tuple[int, float]] = {}
        self._readings: dict[str, Reading] = {}
        self._engine: dict[str, Distribution] = {}
        self._health: Health | None = None

    @classmethod
    def of(cls, station: Station, journal: Journal | None) -> _Snapshot:
        engine = station.engine
        with station.turn:
            names = {pool: environment.name for pool, environment in engine.environments.items()}
            snapshot = cls(station.driver, engine.survey.pools(), names)
            snapshot._vitals = engine.crew.vitals()
            snapshot._readings = engine.figures.read()
            snapshot._engine = {
                "turn_wait": engine.figures.turn_waits.read(),
                "tick": engine.figures.ticks.read(),
            }
        if journal is not None:
            snapshot._health = journal.health()
        return snapshot

    def collect(self) -> Iterator[Metric]:
        yield _gauge("samovar_up", "The engine answers.", ("driver",), [((self._driver,), 1)])
        yield from self._of_pools()
        yield from self._of_environments()
        yield from self._of_engine()
        if self._health is not None:
            yield from _of_journal(self._health)
        yield from _process.collect()

    def _of_pools(self) -> Iterator[Metric]:
        yield self._summed("samovar_queued_actions", "Actions that wait for a slot.", "", lambda p: {"": p.queued})
        yield self._summed(
            "samovar_slots",
            "Slots of ready replicas, and those that are in use.",
            "state",
            lambda p: {"free": max(0, p.slots - p.active), "active": p.active},
        )
        yield self._summed(
            "samovar_parked_executions",
            "Executions that wait for what they have called, and hold no slot.",
            "",
            lambda p: {"": p.parked},
        )
        yield self._summed(
            "samovar_replicas",
            "Replicas, by their state.",
            "state",
            lambda p: {"starting": p.starting, "ready": p.ready, "draining": p.draining},
        )
        yield self._summed(
            "samovar_replica_memory_bytes",
            "Resident memory of all replicas of the pool.",
            "",
            lambda p: {"": self._vitals.get(p.name, (0, 0.0))[0]},
        )
        yield self._summed(
            "samovar_loop_lag_seconds",
            "For how long an event loop has not answered, of the pool's replicas the longest.",
            "",
            lambda p: {"": self._vitals.get(p.name, (0, 0.0))[1]},
            together=max,
        )

    def _summed(self, name: str, what: str, label: str, values: Any, together: Any = lambda *pair: sum(pair)) -> Metric:
        """One pool of a run each (``scope="run"``) is in the label of all of them: a run has no label."""
        found: dict[tuple[str, ...], float] = {}
        for pool in self._pools:
            shown = pool.name.partition("/")[0]
            environment = self._environments.get(pool.name, shown.partition("@")[0])
            for word, value in values(pool).items():
                key = (shown, environment, *([word] if label else []))
                found[key] = together(found.get(key, 0), value)
        return _gauge(name, what, ("pool", "environment", *([label] if label else [])), found.items())

    def _of_environments(self) -> Iterator[Metric]:
        for name, what, label, count in _COUNTERS:
            family = CounterMetricFamily(name, what, labels=["environment", *([label] if label else [])])
            for environment, reading in self._readings.items():
                counted = count(reading)
                for word, value in counted.items() if label else [("", counted)]:
                    family.add_metric([environment, *([word] if label else [])], value)
            yield family
        for name, what, distribution in _HISTOGRAMS:
            histogram = HistogramMetricFamily(name, what, labels=["environment"])
            for environment, reading in self._readings.items():
                _add(histogram, [environment], distribution(reading))
            yield histogram

    def _of_engine(self) -> Iterator[Metric]:
        for key, what in (
            ("turn_wait", "How long the engine's tick has waited for its turn: so long do other turns take."),
            ("tick", "How long the engine's tick has taken, twenty of which are made in a second."),
        ):
            histogram = HistogramMetricFamily(f"samovar_engine_{key}_seconds", what)
            _add(histogram, [], self._engine[key])
            yield histogram


_COUNTERS: tuple[tuple[str, str, str, Any], ...] = (
    ("samovar_attempts", "Attempts that were given to a replica, by how it met them.", "start", lambda r: r.starts_met),
    ("samovar_actions", "Actions that have ended, by their final phase.", "phase", lambda r: r.settled),
    ("samovar_retries", "Attempts that failed and are tried again.", "", lambda r: r.retries),
    ("samovar_attempts_lost", "Attempts that were lost with their replica.", "", lambda r: r.attempts_lost),
    ("samovar_replicas_lost", "Replicas that ended without being told to.", "kind", lambda r: r.losses),
    ("samovar_replica_start_failures", "Replicas that could not start.", "", lambda r: r.failed_starts),
    ("samovar_out_of_memory", "Replicas killed, and tasks failed, for want of memory.", "", lambda r: r.out_of_memory),
    ("samovar_submits_refused", "Calls that had to come again, as the queue was full.", "", lambda r: r.refused),
    ("samovar_loop_blockages", "Times that a task has blocked its event loop.", "", lambda r: r.blockages),
)
_HISTOGRAMS: tuple[tuple[str, str, Any], ...] = (
    ("samovar_queue_wait_seconds", "How long attempts have waited in the queue.", lambda r: r.waits),
    ("samovar_dispatch_seconds", "What attempts have taken on the way to the task and back.", lambda r: r.dispatches),
    ("samovar_run_seconds", "How long tasks have run, their wait for what they call included.", lambda r: r.runs),
    ("samovar_replica_start_seconds", "How long replicas have taken to be ready.", lambda r: r.starts),
)


def _of_journal(health: Health) -> Iterator[Metric]:
    yield _gauge("samovar_journal_up", "What is recorded is committed.", (), [((), not health.trouble)])
    yield _gauge("samovar_journal_lag_seconds", "Since when there is something to commit.", (), [((), health.lag)])
    yield _gauge("samovar_journal_backlog_entries", "Entries that are not committed.", (), [((), health.backlog)])
    backlog = health.backlog_bytes
    yield _gauge("samovar_journal_backlog_bytes", "Memory that uncommitted entries take.", (), [((), backlog)])
    what = "Entries that contradict what is written already."
    yield CounterMetricFamily("samovar_journal_refused_entries", what, value=health.refused)


def _gauge(name: str, what: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=labels)
    for key, value in values:
        family.add_metric(key, float(value))
    return family


def _add(family: HistogramMetricFamily, labels: list[str], distribution: Distribution) -> None:
    bounds = [*(f"{bound:g}" for bound in SECONDS), "+Inf"]
    buckets = list(zip(bounds, map(float, accumulate(distribution.counts)), strict=True))
    family.add_metric(labels, buckets, distribution.total)
