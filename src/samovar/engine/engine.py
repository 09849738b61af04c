"""The engine: frames and exits become events, the core decides, commands become frames and calls of the keeper.

It has no thread: whoever holds the turn runs it (``helm`` says who that is), and nobody else may touch it. It never
unpickles: inputs and results are bytes on their way. The hot path of an action is Submit → Run → Done → Answer; none
of it waits, logs or touches a file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from samovar.core.messages import (
    Abort,
    Assign,
    Cancel,
    ClosePool,
    Deliver,
    Drain,
    Event,
    OpenPool,
    Retried,
    Scaled,
    Settle,
    StartReplica,
    StopReplica,
    Submit,
    Tick,
)
from samovar.core.pools import BOUNDS, Bounds, Pools
from samovar.engine.adoption import Adoption
from samovar.engine.cache import Cache
from samovar.engine.clients import Clients
from samovar.engine.crew import Crew, pool_of
from samovar.engine.executions import Executions
from samovar.engine.figures import Ledgers
from samovar.engine.hub import Hub
from samovar.engine.keeper import Keeper
from samovar.engine.links import Homes, Link
from samovar.engine.lobby import Lobby
from samovar.engine.recall import Recall
from samovar.engine.receipts import Receipts
from samovar.engine.remembers import Remembers
from samovar.engine.spans import Spans
from samovar.engine.succession import Succession
from samovar.engine.survey import Survey
from samovar.engine.timeline import Timeline
from samovar.engine.vault import Vault
from samovar.engine.work import Called, Logbook, NoLogbook, Outcome, Run, Work
from samovar.entries import Change
from samovar.model import RUNNING, SUCCEEDED, Environment, Phase, TaskSpec
from samovar.wire import frames

OnLog = Callable[[str, str, str], None]  # label, stream, text


class Engine:
    """``folder`` (0700) takes the socket of replicas, ``blobs`` the large values; both belong to the caller.

    ``on_log`` takes what replicas write outside of tasks.
    """

    def __init__(
        self,
        keeper: Keeper,
        folder: str,
        blobs: str,
        on_log: OnLog,
        bounds: Bounds = BOUNDS,
        memory: Remembers | None = None,
        succession: Succession | None = None,
    ) -> None:
        succession = succession or Succession(secret=os.urandom(32))
        self.hub = Hub(self)
        self.clients = Clients(self)
        address = os.path.join(folder, "engine.sock")
        self.crew = Crew(self, keeper, address, succession)
        self._keeper = keeper
        self.on_log = on_log
        self.blobs = blobs
        self.logbook: Logbook = NoLogbook()
        memory = memory or Remembers()
        self.scribe = memory.scribe
        self._receipts = Receipts(self.scribe, self.send) if self.scribe is not None and succession.outlive else None
        self.adoption = Adoption(self, self.scribe)
        self.vault = Vault(keeper, blobs, memory.cellar)
        self.discard = self.vault.discard
        self.say = keeper.say
        self.cache = Cache(self, keeper, self.vault, memory.open_scribe)
        self.recall = Recall(self, keeper, self.vault)
        self._pools = Pools(bounds, succession.era)
        self._lobby = Lobby(lambda work: not self.admission(work.pool, work.run.client), self._begin)
        self._works: dict[int, Work] = {}  # by action
        self.roots: dict[str, Work] = {}  # the first actions of runs that are on their way, by run
        self.survey = Survey(self, self._pools, self._works)
        self.stats = self.survey.pools
        self.environments: dict[str, Environment] = {}  # by pool
        self.figures = Ledgers()
        self.now = 0.0  # of the last event, by the monotonic clock
        self._homes: Homes = {}  # of tasks that scripts run
        self._actions = 0
        self._turns = 0
        self.timeline: Timeline | None = None  # where somebody may look at it
        self.spans: Spans | None = None  # where somebody traces
        self._unflushed: list[Link] = []
        self.executions = said = Executions(self)
        self._on_frame: dict[type[Any], Callable[[Link, Any], None]] = {
            frames.Submit: said.submitted,
            frames.Done: said.done,
            frames.Failed: said.failed,
            frames.Declare: said.declared,
            frames.Withdraw: said.withdrawn,
            frames.Log: said.logged,
            frames.Traced: said.traced,
            frames.Beat: self.crew.beat,
            frames.Blocked: said.blocked,
            frames.Ready: self.crew.ready,
            frames.Unfit: self.crew.cannot_import,
        }
        self._carry_out: dict[type[Any], Callable[[Any], None]] = {
            Assign: self._assign,
            Settle: self._settle,
            Deliver: self._deliver,
            Cancel: self._cancel,
            StartReplica: self.crew.start,
            StopReplica: self.crew.stop,
            Retried: self._retried,
            Scaled: self._scaled,
            ClosePool: self._close_pool,
        }
        self.adoption.expect(succession.survivors)
        self.crew.expect(succession.survivors)
        self.hub.listen(address, "replica")

    # what a script asks for

    def start(self, called: Called, run: Run, homes: Homes | None = None) -> int:
        """Submit the first action of a run, or keep it until there is room. Returns the action. ``homes``: of whoever
        keeps the task."""
        task = run.task = called.task
        pool = self.pool_for(task, run, homes)
        work = Work(task, pool, run, run.number(), called.body, called.blobs)
        if self.scribe is not None:
            if called.blobs and not run.is_resumed:
                self.vault.hold_for_journal(called.blobs)
            self.scribe.begin(work, is_new=not run.is_resumed)
        if called.cached is not None:
            self.cache.admit(work, called.cached)
        self.enter(work)
        self.roots[run.name] = work
        if self.admission(pool, run.client):
            self.figures.of[pool].refused += 1
            self._lobby.add(work)
        else:
            self._begin(work)
        return work.action

    def prepare(self, environments: tuple[Environment, ...]) -> None:
        """Tasks of these will be called: their replicas should not have to wait for images then."""
        for environment in environments:
            self._keeper.prepare(environment)

    def abort(self, action: int, reason: str) -> None:
        work = self._works.get(action)
        if work is not None:
            self._lobby.call_in(work)
            self.handle(Abort(action, reason))

    def admission(self, pool: str, turns: int, parent: int = 0) -> float:
        """0.0: there is room for an action. Otherwise the seconds after which to ask again."""
        return self._pools.admission(pool, turns, parent)

    def turns(self) -> int:
        """A number for somebody who is to get as many turns as anybody else."""
        self._turns += 1
        return self._turns

    @property
    def is_crowded(self) -> bool:
        """Runs that were started here wait for room in a queue."""
        return bool(self._lobby)

    def abort_all(self, reason: str) -> None:
        """Abort every run."""
        for number, work in list(self._works.items()):
            if work.link is None and number in self._works:
                self.abort(number, reason)

    def phase(self, action: int) -> Phase | None:
        """None when it is settled."""
        work = self._works.get(action)
        return work.phase if work is not None else None

    @property
    def is_busy(self) -> bool:
        """Whether any replica executes anything."""
        return self.crew.is_busy

    # events

    def handle(self, event: Event) -> None:
        carry_out = self._carry_out
        self.now = now = time.monotonic()
        for command in self._pools.handle(event, now):
            carry_out[type(command)](command)

    def flush(self) -> None:
        """Write out what is queued on links. Each turn ends with it."""
        links, self._unflushed = self._unflushed, []
        for link in links:
            if link.outbox:
                link.flush()
        if self.scribe is not None:
            self.scribe.turn_ended()

    def hand_over(self) -> None:
        """Give the journal what is written down."""
        if self.scribe is not None:
            self.scribe.hand_over()
        self.cache.hand_over()

    def tick(self) -> None:
        self.hand_over()
        if self._receipts is not None:
            self._receipts.issue(self.crew.links.values())
        self.adoption.expire()
        self.crew.tick()
        self.handle(Tick())
        if self.timeline is not None:
            self.timeline.trim()
        self._lobby.look()

    def fall_silent(self) -> None:
        """Write nothing down any more: what has not ended by now is for the next engine."""
        self.hand_over()
        self.scribe = self._receipts = None
        self.cache.fall_silent()

    @property
    def keeps_runs(self) -> bool:
        """Every run is written down."""
        return self.scribe is not None

    @property
    def is_slow(self) -> bool:
        """The journal does not keep up: no run should be started."""
        return self.scribe is not None and self.scribe.is_slow

    def send(self, link: Link, frame: Any) -> None:
        """Queue a frame; it leaves when the turn ends."""
        if not link.outbox:
            self._unflushed.append(link)
        link.outbox.append(frame)

    def refuse(self, link: Link, reason: str) -> None:
        """The handshake does not hold."""
        self.send(link, frames.Refuse(reason))
        link.close()

    def submit(self, work: Work, parent: int) -> None:
        """A new action, called by the action ``parent``."""
        self.enter(work)
        self._ask(work, parent, self.turns_of(work.run))

    def _begin(self, work: Work) -> None:
        self._ask(work, 0, work.run.client)

    def _ask(self, work: Work, parent: int, turns: int) -> None:
        task, waits = work.task, work.cached is not None
        self.handle(Submit(work.action, work.pool, parent, task.retry, task.timeouts, waits, turns))
        if waits:
            self.cache.decide(work)

    def turns_of(self, run: Run) -> int:
        """What all actions of the run but the first share."""
        run.turns = run.turns or self.turns()
        return run.turns

    # for what survivors hold

    def enter(self, work: Work) -> int:
        """Give it a number, as an action of this engine."""
        self._actions = number = self._actions + 1
        self._works[number] = work
        work.action = number
        if work.call:
            assert work.link is not None
            work.link.calls[work.call] = number
        return number

    def reopen(self, replica: str, environment: Environment) -> str:
        """The pool of a replica that another engine has started."""
        name = pool_of(replica)
        if name not in self.environments:
            self._open(name, environment)
        return name

    def settle(self, work: Work, outcome: frames.Done | frames.Failed) -> None:
        """Somebody asks for an action that has ended, which is not written down yet."""
        number = self.enter(work)
        if isinstance(outcome, frames.Failed):
            self._settle(Settle(number, Phase.FAILED, failure=outcome.failure))
        else:
            work.result, work.result_blobs = outcome.body, outcome.blobs
            self._settle(Settle(number, Phase.SUCCEEDED))
        self._deliver(Deliver(number))

    def pool_for(self, task: TaskSpec, run: Run, homes: Homes | None = None) -> str:
        return self._pool(task, run, self._homes if homes is None else homes)

    def _pool(self, task: TaskSpec, run: Run, homes: Homes) -> str:
        known = homes.get(id(task))
        if known is not None and known[1] in self.environments:  # a pool that was drained is forgotten
            return known[1]
        name = self._open_pool(task.environment, run)
        if not task.environment.scope:
            homes[id(task)] = (task, name)
        return name

    def _open_pool(self, environment: Environment, run: Run) -> str:
        name = f"{environment.name}@{environment.version[:8]}"
        if environment.scope:
            name = f"{name}/{run.name}"
            run.pools = tuple({*run.pools, name})
        known = self.environments.get(name)
        if known is None or known.settings != environment.settings:
            self._open(name, environment)
        return name

    def _open(self, name: str, environment: Environment) -> None:
        self.environments[name] = environment
        self.figures.open(name, environment.name)
        self.handle(OpenPool(name, environment.settings))

    def received(self, link: Link, batch: list[Any]) -> None:
        if link.role == "client":
            self.clients.received(link, batch)
            return
        on_frame = self._on_frame
        if not link.is_known:
            if not batch:
                return
            self.crew.hello(link, batch.pop(0))
        if link.told is not None:
            self.adoption.hear(link, batch)
            return
        for frame in batch:
            handler = on_frame.get(type(frame))
            if handler is None or not link.is_known:
                link.close()
                return
            handler(link, frame)

    def disconnected(self, link: Link) -> None:
        """A process may live on without a voice: it is of no use then, and its end is the loss."""
        if link.role == "client":
            self.clients.left(link)
        else:
            self.crew.fell_silent(link)

    def note(self, pool: str, change: Change, replica: str = "", reason: str = "", replicas: int = 0) -> None:
        if self.scribe is not None:
            self.scribe.happened(pool, change, replica, reason, replicas)
        if self.timeline is not None:
            self.timeline.happened(pool, change, replica, reason, replicas)

    def keep_timeline(self) -> Timeline:
        """From here on what replicas run is kept for whoever looks later."""
        self.timeline = self.timeline or Timeline(self._pools, self._works)
        return self.timeline

    # commands

    def _assign(self, command: Assign) -> None:
        work = self._works[command.action]
        work.epoch = command.epoch
        work.phase = RUNNING
        work.since, work.ran = self.now, 0.0
        figures = self.figures.of[work.pool]
        action = self._pools.actions[command.action]
        figures.waited(self.now - action.queued_at)
        figures.cold += command.cold
        span, spans = "", self.spans
        if spans is not None:
            if work.run.top is not None or self.now >= spans.begins_at:
                span = spans.assigned(command, work, action)
            else:
                spans.untraced += 1
        if work.link is None:
            work.run.starter.running()
        record, origin, recalls = work.record, None, False
        if record is not None:
            recalls = self.scribe is not None and self.scribe.recalls(work.run, record, command)
            origin = record.assigned(command)
        link = self.crew.links[command.replica]
        link.running[command.epoch] = work
        task = work.task
        frame = frames.Run(
            command.epoch,
            task.name,
            task.module,
            task.qualname,
            work.run.name,
            work.number,
            command.attempt,
            work.body,
            work.blobs,
            task.max_inline_io_bytes,
            work.context,
            (),
            origin,
            span,
        )
        if recalls and self.scribe is not None:
            self.recall.before(self.scribe, work, link, frame)
        else:
            self.send(link, frame)

    def _settle(self, command: Settle) -> None:
        work = self._works[command.action]
        work.phase = command.phase
        work.epoch = 0
        figures = self.figures.of[work.pool]
        if command.phase is SUCCEEDED:
            figures.succeeded += 1
        else:
            figures.settled[command.phase.value] += 1
        if command.failure is not None:
            work.failure = command.failure
            self.discard(work.result_blobs)
            work.result_blobs = ()
        self.discard(work.blobs)
        if self.recall.given:
            self.recall.settled(work)
        if work.cached is not None:
            self.cache.settled(work)
        if self.spans is not None and (work.way is not None or command.failure is not None):
            self.spans.settled(command, work)
        if work.record is not None and self.scribe is not None:
            if work.result_blobs and work.hit is None:
                self.vault.hold_for_journal(work.result_blobs)
            if work.link is not None:  # else it is told when its run ends
                self.scribe.settled(work, work.record, command.superseded)

    def _deliver(self, command: Deliver) -> None:
        work = self._works.pop(command.action)
        link = work.link
        if link is not None:
            if link.calls.pop(work.call, None) is None or not link.is_open:
                self.discard(work.result_blobs)
            else:
                self.send(link, frames.Answer(work.call, work.result, work.result_blobs, work.failure))
        else:
            if self.roots.get(work.run.name) is work:
                del self.roots[work.run.name]
            self.survey.ended.append((work.run, work.phase, self.now))
            for pool in work.run.pools:
                if pool in self.environments:  # else it was drained before, by hand or for its old code
                    self.handle(Drain(pool))
            if work.run.survivors:
                self.adoption.ended(work.run)
            if self.scribe is not None and work.record is not None:
                self.scribe.ended(work, work.record)
            self.logbook.ended(work.run.name)
            self.cache.ended(work.run, work.phase)
            work.run.starter.ended(Outcome(work.phase, work.result, work.result_blobs, work.failure))
            self._lobby.look_at(work.pool)

    def _cancel(self, command: Cancel) -> None:
        link = self.crew.links.get(command.replica)
        if link is not None and not self.recall.cancelled(command.epoch):
            self.send(link, frames.Cancel(command.epoch))

    def _close_pool(self, command: ClosePool) -> None:
        del self.environments[command.pool]
        self.figures.close(command.pool)
        self.note(command.pool, Change.CLOSED, reason="it was drained, and all that it had to do is done")

    def _retried(self, command: Retried) -> None:
        work = self._works[command.action]
        self.figures.of[work.pool].retried(command.failure)
        if self.spans is not None:
            self.spans.failed(command.failure, work)
        if work.record is not None and self.scribe is not None:
            self.scribe.retried(work, work.record, command.failure)

    def _scaled(self, command: Scaled) -> None:
        self.note(command.pool, Change.SCALED, reason=command.reason, replicas=command.replicas)
