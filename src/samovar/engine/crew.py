"""The crew: the replicas of an engine, from the command that starts one to what its end is told as.

Called in the engine's turn, by links and by the keeper. A replica is in the crew from its start until its driver has
seen its end; from its hello on it has a link.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from samovar import errors
from samovar.core.messages import ReplicaHeard, ReplicaLost, ReplicaReady, ReplicaUnfit, StartReplica, StopReplica
from samovar.engine.figures import Figures
from samovar.engine.keeper import Keeper
from samovar.engine.links import Link
from samovar.engine.pulse import Pulse, process_of
from samovar.engine.succession import Succession
from samovar.entries import Change
from samovar.model import Environment, Exit, Failure, PoolStats, ReplicaStats
from samovar.wire import frames

if TYPE_CHECKING:
    from samovar.engine.engine import Engine
    from samovar.engine.work import Work

PATIENCE = 1.0
"""Seconds that a task may keep the event loop of its replica, before that is said."""

_VOICELESS_GRACE = 0.2  # seconds for a replica that has closed its connection


class Crew:
    """``address``: the socket where replicas find their engine."""

    def __init__(self, engine: Engine, keeper: Keeper, address: str, succession: Succession) -> None:
        self.links: dict[str, Link] = {}  # by replica
        self._engine = engine
        self._keeper = keeper
        self._address = address
        self._succession = succession
        self._expected: set[str] = set()  # replicas that have not said hello
        self._kept: set[str] = set()  # replicas that have not ended
        self._reasons: dict[str, str] = {}  # why a replica had to end
        self._starting: dict[str, float] = {}  # since when, by the monotonic clock
        self._dismissed: set[str] = set()  # replicas that have been told to end, and are at no fault
        self._pulse = Pulse(self._heard)
        self.patience = PATIENCE

    @property
    def is_busy(self) -> bool:
        """Whether any replica executes anything."""
        return any(link.running for link in self.links.values())

    def annotate(self, pools: list[PoolStats]) -> list[PoolStats]:
        """With a note where a task keeps its replica from answering."""
        notes = {pool_of(link.replica): _note(link) for link in self.links.values() if link.blockage is not None}
        return [pool._replace(note=notes[pool.name]) if pool.name in notes else pool for pool in pools]

    def vitals(self) -> dict[str, tuple[int, float]]:
        """By pool: the bytes of memory that its replicas have together, and for how many seconds the event loop of one
        has not answered, at most."""
        found: dict[str, tuple[int, float]] = {}
        for replica, link in self.links.items():
            memory, lag = found.get(pool := pool_of(replica), (0, 0.0))
            found[pool] = memory + link.rss, max(lag, link.lag)
        return found

    def describe(self, replicas: list[ReplicaStats], works: dict[int, Work]) -> list[ReplicaStats]:
        """With what is known from their own words, and what they run."""
        return [self._described(replica, works) for replica in replicas]

    def _described(self, replica: ReplicaStats, works: dict[int, Work]) -> ReplicaStats:
        runs = tuple(works[action].label for action in replica.actions if action in works)
        link = self.links.get(replica.name)
        if link is None:
            return replica._replace(runs=runs)
        described = replica._replace(runs=runs, pid=link.pid, rss=link.rss, lag=link.lag)
        return described._replace(process=process_of(link.socket), blockage=link.blockage)

    def expect(self, survivors: Mapping[str, Environment]) -> None:
        """Another engine has started these, and they may be there."""
        for replica, environment in survivors.items():
            self._kept.add(replica)
            self._expected.add(replica)
            self._keeper.adopt(replica, environment, self)

    def give_up(self, replica: str) -> None:
        """A survivor has not said what it holds, and it is too late now."""
        self._expected.discard(replica)
        self._keeper.stop(replica, 0.0)

    # what the core commands

    def start(self, command: StartReplica) -> None:
        replica = command.replica
        self._kept.add(replica)
        self._starting[replica] = time.monotonic()
        self._expected.add(replica)
        token = self._succession.token(replica)
        boot = {"SAMOVAR_ENGINE": self._address, "SAMOVAR_REPLICA": replica, "SAMOVAR_TOKEN": token}
        self._keeper.start(replica, self._engine.environments[command.pool], boot, self)
        self._engine.note(command.pool, Change.STARTING, replica)

    def stop(self, command: StopReplica) -> None:
        if command.reason:
            self._reasons[command.replica] = command.reason
        else:
            self._dismissed.add(command.replica)
        self._engine.note(pool_of(command.replica), Change.STOPPING, command.replica, command.reason)
        self._keeper.stop(command.replica, command.grace)

    # what replicas say of themselves

    def hello(self, link: Link, hello: Any) -> None:
        reason = ""
        if not isinstance(hello, frames.Hello):
            reason = "the first frame must be a hello"
        elif hello.version != frames.VERSION:
            reason = frames.other_version(hello.version)
        elif not self._is_token_of(hello.replica, hello.token):
            reason = "unknown replica or wrong token"
        if reason:
            self._engine.refuse(link, reason)
            return
        link.is_known = True
        link.replica, link.pid = hello.replica, hello.pid
        link.heard_at = time.monotonic()
        self.links[hello.replica] = link
        self._expected.discard(hello.replica)
        adoption = self._engine.adoption
        environment = adoption.environment(hello.replica)
        if environment is not None:
            adoption.welcome(link, hello.is_back)
        else:
            environment = self._engine.environments[pool_of(hello.replica)]
        link.is_bounded = environment.limits.memory is not None
        engine = self._engine
        outlive = self._succession.outlive
        engine.send(link, frames.Welcome(environment.bundle, engine.blobs, engine.keeps_runs, outlive, self.patience))

    def ready(self, link: Link, frame: frames.Ready) -> None:
        link.is_ready = True
        if (began := self._starting.pop(link.replica, None)) is not None:
            self.figures(link.replica).starts.add(time.monotonic() - began)
        self._engine.note(pool_of(link.replica), Change.READY, link.replica)
        self._engine.handle(ReplicaReady(link.replica))

    def cannot_import(self, link: Link, frame: frames.Unfit) -> None:
        self._has_failed_to_start(link.replica)
        self._engine.handle(ReplicaUnfit(link.replica, frame.failure, permanent=True))

    def beat(self, link: Link, frame: frames.Beat) -> None:
        link.lag, link.rss = frame.lag, frame.rss
        if link.blockage is not None:
            goes_on = frame.lag >= link.blockage.seconds
            link.blockage = link.blockage._replace(seconds=frame.lag) if goes_on else None
        link.heard_at = time.monotonic()
        self._heard(link)

    def tick(self) -> None:
        self._pulse.take(self.links.values())

    def _heard(self, link: Link) -> None:
        self._engine.handle(ReplicaHeard(link.replica))

    def fell_silent(self, link: Link) -> None:
        """A process may live on without a voice: it is of no use then, and its end is the loss."""
        if link.replica in self._kept:
            self._keeper.stop(link.replica, _VOICELESS_GRACE)

    def _is_token_of(self, replica: str, token: str) -> bool:
        wanted = self._succession.token(replica)
        return replica in self._expected and hmac.compare_digest(wanted.encode(), token.encode())

    # what the keeper tells

    def unfit(self, replica: str, environment: Environment, error: errors.BaseRuntimeError) -> None:
        self._has_failed_to_start(replica)
        self._forget(replica)
        failure = Failure(error.kind, error.code, str(error), worker=replica)
        self._engine.handle(ReplicaUnfit(replica, failure, permanent=isinstance(error, errors.ImageBuildError)))
        self._engine.flush()

    def ended(self, replica: str, environment: Environment, how: Exit) -> None:
        link = self.links.get(replica)
        if link is not None:
            self._engine.hub.drain(link)
        self._engine.adoption.gone(replica)
        self._count_end(replica, how)
        self._forget(replica)
        failure = self._why(environment, replica, how)
        timeline = self._engine.timeline
        lost = timeline.on(link) if timeline is not None and link is not None else []
        self._engine.note(pool_of(replica), Change.LOST, replica, failure.message)
        self._engine.handle(ReplicaLost(replica, failure))
        for execution, work in lost:
            assert timeline is not None
            assert link is not None
            timeline.ended(link, execution, work, self._engine.now)
        self._engine.flush()

    def _forget(self, replica: str) -> None:
        self._kept.discard(replica)
        self.links.pop(replica, None)
        self._expected.discard(replica)
        self._dismissed.discard(replica)
        self._starting.pop(replica, None)

    def figures(self, replica: str) -> Figures:
        """Those of nobody, where its pool is forgotten already."""
        return self._engine.figures.of.get(pool_of(replica)) or Figures()

    def _has_failed_to_start(self, replica: str) -> None:
        """Its end, which follows, is no loss."""
        self._dismissed.add(replica)
        self.figures(replica).failed_starts += 1

    def _count_end(self, replica: str, how: Exit) -> None:
        figures = self.figures(replica)
        if how.out_of_memory:
            figures.out_of_memory += 1
        if replica in self._dismissed:
            return
        if replica in self._starting:
            figures.failed_starts += 1
        elif replica in self._reasons:
            figures.losses["silent"] += 1
        else:
            figures.losses["out of memory" if how.out_of_memory else "crashed"] += 1

    def _why(self, environment: Environment, replica: str, ended: Exit) -> Failure:
        text = f"replica {replica} of environment '{environment.name}'"
        if running := self._engine.survey.running_on(replica):
            text += f", while it ran {_listed(running)},"
        if reason := self._reasons.pop(replica, ""):
            return Failure("system", "RuntimeSystemError", f"{text} was killed: {reason}", worker=replica)
        if ended.out_of_memory:
            limit = environment.limits.memory or 0
            text += (
                f" went over its memory limit ({limit / 2**20:.0f} MiB) and was killed; give the task more: "
                'override(resources=Resources(memory=…), reusable="off") or a larger TaskEnvironment'
            )
            return Failure("user", "OOMError", text, worker=replica)
        output = f"; its last output:\n{ended.output.strip()}" if ended.output.strip() else ""
        return Failure("system", "RuntimeSystemError", f"{text} {ended}{output}", worker=replica)


def pool_of(replica: str) -> str:
    return replica.rpartition("-")[0]


def _note(link: Link) -> str:
    assert link.blockage is not None
    who = f"task {link.blockage.task}" if link.blockage.task else "code of no task"
    return f"{who} has blocked the event loop of {link.replica} for {link.blockage.seconds:.0f} s"


def _listed(names: list[str]) -> str:
    """At most three by name."""
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")
