"""Adoption: replicas that have outlived the engine before this one, and what they run, become this engine's.

It goes in three steps. A survivor connects and tells what it holds (``hear``). When all have, or have had their time,
stock is taken at once (``take_stock``): executions get their slots, runs go on where they stand, and calls that wait
for an answer are asked again. From then on whoever asks for an action that a survivor runs, or has run, claims it
(``claim``): by its id, which is made from what the run does.

An execution that nobody has claimed is a ward. Its caller was lost with another replica, and asks for it again when it
gets there. What must stay true: an outcome is written down once, and only when no attempt can come to another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from samovar.core.messages import Abort, Adopt, Claim, Finished, Held
from samovar.engine.scribe import ROOT, Scribe
from samovar.engine.work import Outcome, Run, Work
from samovar.model import RUNNING, Environment, TaskSpec
from samovar.wire import frames

if TYPE_CHECKING:
    from samovar.engine.engine import Engine
    from samovar.engine.links import Link
    from samovar.entries import RunStarted, Settled

CLAIM_SECONDS = 60.0
"""How long a ward runs on without being asked for."""


class Survivor:
    """An attempt that the engine before had given out: it runs, and has a ``work``, or it has an ``outcome``."""

    __slots__ = ("held", "link", "outcome", "work")

    def __init__(self, held: frames.Holds, link: Link, outcome: frames.Done | frames.Failed | None) -> None:
        self.held = held
        self.link = link
        self.outcome = outcome
        self.work: Work | None = None

    @property
    def is_final(self) -> bool:
        """Its outcome is the action's, whoever asks."""
        return isinstance(self.outcome, frames.Done)

    def is_tried_again(self, task: TaskSpec) -> bool:
        """It has failed, and there may be another attempt."""
        if not isinstance(self.outcome, frames.Failed):
            return False
        failure = self.outcome.failure
        return failure.code == "CancelledError" or (failure.recoverable and task.retry.count > 0)


class Unfinished(NamedTuple):
    """A run that the engine before could not end, and what is written down of its actions, by id.

    ``lost``: of these the large results are gone, so whoever asks for them makes them run again.
    """

    started: RunStarted
    recalled: dict[str, Settled]
    lost: frozenset[str] = frozenset()


class _Telling:
    """What one survivor has told."""

    def __init__(self, link: Link, environment: Environment, batch: list[Any]) -> None:
        self.link = link
        self.environment = environment
        self.held = [frame for frame in batch if isinstance(frame, frames.Holds)]
        end = next((at for at, frame in enumerate(batch) if isinstance(frame, frames.Told)), len(batch))
        told = batch[:end]
        self.outcomes = {frame.epoch: frame for frame in told if isinstance(frame, frames.Done | frames.Failed)}
        self.calls = [frame for frame in told if isinstance(frame, frames.Declare | frames.Submit)]
        self.waiting = {frame.parent for frame in self.calls if isinstance(frame, frames.Submit)}
        self.is_ready = end < len(batch) and batch[end].is_ready
        self.rest = batch[end + 1 :]


class Adoption:
    def __init__(self, engine: Engine, scribe: Scribe | None) -> None:
        self.all_told = threading.Event()  # every survivor has said what it has to say, or is gone
        self.all_told.set()
        self._engine = engine
        self._scribe = scribe
        self._awaited: dict[str, Environment] = {}
        self._told: dict[str, tuple[Link, Environment]] = {}  # by replica
        self._wards: dict[int, Survivor] = {}  # by epoch
        self._forget_at = 0.0

    # while survivors connect

    def expect(self, survivors: Mapping[str, Environment]) -> None:
        """These may be there."""
        self._awaited = dict(survivors)
        if survivors:
            self.all_told.clear()

    def environment(self, replica: str) -> Environment | None:
        """Of one that is awaited."""
        return self._awaited.get(replica)

    def welcome(self, link: Link, is_back: bool) -> None:
        """A survivor has said hello. One that is not back has started so lately that it has met no engine before."""
        self._told[link.replica] = link, self._awaited[link.replica]
        if is_back:
            link.told = []
        else:
            self._has_told(link.replica)

    def hear(self, link: Link, batch: list[Any]) -> None:
        assert link.told is not None
        link.told += batch
        if any(type(frame) is frames.Told for frame in batch):
            self._has_told(link.replica)

    def gone(self, replica: str) -> None:
        """A replica has ended."""
        self._has_told(replica)
        self._told.pop(replica, None)
        for survivor in [ward for ward in self._wards.values() if ward.link.replica == replica]:
            self._forsake(survivor)

    def _has_told(self, replica: str) -> None:
        if self._awaited.pop(replica, None) is not None and not self._awaited:
            self.all_told.set()

    # all at once

    def take_stock(self, unfinished: Iterable[Unfinished]) -> list[str]:
        """Go on with these runs and with what survivors hold of them. Gives the replicas that were adopted."""
        self._forget_at = time.monotonic() + CLAIM_SECONDS
        for replica in self._awaited:
            self._engine.crew.give_up(replica)
        self._awaited = {}
        self.all_told.set()
        pasts = list(unfinished)
        runs = {past.started.run: self._engine.clients.revive(past.started, past.recalled, past.lost) for past in pasts}
        told = [_Telling(link, environment, link.told or []) for link, environment in self._told.values()]
        self._told = {}
        for telling in told:
            self._adopt(telling, runs)
        known = {run.name: {*run.survivors, *(run.recalled or ())} for run in runs.values()}
        over = [root for past in pasts if (root := self._go_on(past, runs[past.started.run])) is not None]
        for telling in told:
            telling.link.told = None
            telling.link.outcomes += len(telling.outcomes)
            self._engine.received(telling.link, [*telling.calls, *telling.rest])
        for run in runs.values():
            self._sort_out(run, known[run.name])
        for survivor, ended in over:  # its last word
            self._claimed(survivor, ended, 0)
        return [telling.link.replica for telling in told]

    def _adopt(self, telling: _Telling, runs: dict[str, Run]) -> None:
        link = telling.link
        pool = self._engine.reopen(link.replica, telling.environment)
        executions: list[Held] = []
        unwanted: list[Survivor] = []
        for held in telling.held:
            run = runs.get(held.run)
            if run is not None:
                run.actions = max(run.actions, held.number)  # labels are given once
            survivor = Survivor(held, link, telling.outcomes.get(held.epoch))
            if survivor.outcome is None:
                action = self._take_in(survivor, run or Run(held.run, None, _NOBODY), pool, telling.environment)
                executions.append(Held(action, held.epoch, held.attempt, held.epoch in telling.waiting))
            unwanted += self._place(survivor, run)
        is_ready = telling.is_ready or link.is_ready
        self._engine.handle(Adopt(pool, link.replica, is_ready, tuple(executions)))
        for survivor in unwanted:
            self._drop(survivor)

    def _take_in(self, survivor: Survivor, run: Run, pool: str, environment: Environment) -> int:
        """An execution that runs: a ward, until it is claimed. Gives its action."""
        held = survivor.held
        task = TaskSpec(held.task, "", "", environment)  # whoever claims it knows more
        work = survivor.work = Work(task, pool, run, held.number, b"", ())
        work.link = survivor.link
        work.epoch = held.epoch
        work.phase = RUNNING
        if self._scribe is not None:
            work.record = self._scribe.recall(held.origin, held.attempt, survivor.link.replica)
        self._wards[held.epoch] = survivor
        return self._engine.enter(work)

    def _place(self, survivor: Survivor, run: Run | None) -> list[Survivor]:
        """Where it is found by whoever asks. Gives what nobody will ask for: the older of two attempts, for one."""
        action = survivor.held.origin.action
        if run is None or (run.recalled and action in run.recalled):
            return [survivor]
        other = run.survivors.get(action)
        if other is not None and other.held.attempt > survivor.held.attempt:
            return [survivor]
        run.survivors[action] = survivor
        return [other] if other is not None else []

    def _go_on(self, past: Unfinished, run: Run) -> tuple[Survivor, Work] | None:
        """The root of a run runs still, or runs again. Gives one that has ended: it counts when all else is settled."""
        started = past.started
        task, inputs, blobs = started.task, started.inputs, started.input_blobs
        survivor = run.survivors.pop(ROOT, None)
        if survivor is not None:
            root = Work(task, self._engine.pool_for(task, run), run, survivor.held.number, inputs, blobs)
            if survivor.work is None and not survivor.is_tried_again(task):
                return survivor, root
            if self._claimed(survivor, root, 0) and survivor.work is not None:
                self._engine.clients.began(run.name, survivor.work.action)
                return None
        self._engine.clients.began(run.name, self._engine.start(task, inputs, blobs, run))
        return None

    def _sort_out(self, run: Run, known: set[str]) -> None:
        """What nobody has asked for. A caller that lives, or has ended, has its answer and does not ask again."""
        for action, survivor in list(run.survivors.items()):
            has_answer = survivor.held.origin.parent in known
            if survivor.outcome is None:
                if has_answer:
                    self._forsake(survivor)
                continue
            del run.survivors[action]
            if survivor.is_final or has_answer:
                self._write(survivor, run)

    # later

    def ward(self, epoch: int) -> Work | None:
        survivor = self._wards.get(epoch)
        return survivor.work if survivor is not None else None

    def claim(self, work: Work, parent: int) -> bool:
        """Somebody asks for an action. False: no survivor has it, and it has to run."""
        assert work.record is not None
        survivor = work.run.survivors.pop(work.record.id, None)
        return survivor is not None and self._claimed(survivor, work, parent)

    def finished(self, link: Link, frame: frames.Done | frames.Failed) -> None:
        """An execution has ended that nobody has asked for, or that nobody wants."""
        survivor = self._wards.pop(frame.epoch, None)
        if survivor is None or survivor.work is None:
            if isinstance(frame, frames.Done):
                self._engine.discard(frame.blobs)
            return
        run = survivor.work.run
        self._forsake(survivor)
        self._engine.handle(Finished(frame.epoch))
        survivor.outcome = frame
        if survivor.is_final:
            self._write(survivor, run)

    def ended(self, run: Run) -> None:
        """Nobody will ask for anything any more."""
        for survivor in list(run.survivors.values()):
            self._forsake(survivor)

    def expire(self) -> None:
        if self._wards and time.monotonic() >= self._forget_at:
            for survivor in list(self._wards.values()):
                self._forsake(survivor)

    def _claimed(self, survivor: Survivor, asked: Work, parent: int) -> bool:
        """False: what it came to does not count, as the action is tried again."""
        held, outcome = survivor.held, survivor.outcome
        if survivor.is_tried_again(asked.task):
            return False
        if outcome is not None:
            assert self._scribe is not None
            record = self._scribe.recall(held.origin, held.attempt, survivor.link.replica)
            record.parent = asked.record.parent if asked.record is not None else None
            asked.record = record
            self._engine.settle(asked, outcome)
            return True
        work = survivor.work
        assert work is not None
        work.task, work.body, work.blobs = asked.task, asked.body, asked.blobs
        work.link, work.call = asked.link, asked.call
        if work.record is not None and asked.record is not None:
            work.record.parent = asked.record.parent
        del self._wards[held.epoch]
        survivor.link.running[held.epoch] = work
        if work.link is not None:
            work.link.calls[work.call] = work.action
        now = time.time()
        age, ran = max(0.0, now - held.origin.queued), max(0.0, now - held.origin.started)
        self._engine.handle(Claim(work.action, parent, work.task.retry, work.task.timeouts, age, ran))
        if work.link is None:
            work.run.starter.running()
        return True

    def _forsake(self, survivor: Survivor) -> None:
        """Let an execution go; it is nobody's outcome. Whoever asks for the action later gets another attempt."""
        self._wards.pop(survivor.held.epoch, None)
        work = survivor.work
        if work is None:
            return
        if work.run.survivors.get(survivor.held.origin.action) is survivor:
            del work.run.survivors[survivor.held.origin.action]
        work.record = None
        self._engine.handle(Abort(work.action, "", superseded=True))

    def _drop(self, survivor: Survivor) -> None:
        if survivor.work is not None:
            self._forsake(survivor)
        elif isinstance(survivor.outcome, frames.Done):
            self._engine.discard(survivor.outcome.blobs)

    def _write(self, survivor: Survivor, run: Run) -> None:
        assert self._scribe is not None
        assert survivor.outcome is not None
        entry = self._scribe.found(survivor.held, survivor.link.replica, survivor.outcome, run)
        if run.recalled is None:
            run.recalled = {}
        run.recalled[entry.action] = entry


class _Nobody:
    """The starter of a run that is not known."""

    def running(self) -> None: ...

    def logged(self, label: str, stream: str, text: str) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...


_NOBODY = _Nobody()
