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
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from samovar.core.messages import Abort, Adopt, Claim, Finished, Held
from samovar.engine.scribe import ROOT, TRACE, Record, Scribe, parted
from samovar.engine.work import Called, Outcome, Run, Work
from samovar.model import RUNNING, Environment, Phase, TaskSpec
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


class Wanted:
    """What of a run's record matters to those who have lived through the crash."""

    def __init__(self) -> None:
        self.held: set[str] = set()  # ids of what they run or have run
        self.callers: dict[str, float] = {}  # ids of what runs → when it failed last
        self.asked: set[str] = set()  # ids of calls without an answer, as they are made for the first time


class Past:
    """What is written down of a run, as far as it matters for going on with it."""

    def __init__(self, wanted: Wanted) -> None:
        self.phase: Phase | None = None  # of its first action
        self.done = 0  # its actions
        self.parents: set[str] = set()  # ids of what had called or traced something
        self.settled: set[str] = set()  # of what survivors hold, ids of what has ended
        self.recalled: dict[str, Settled] = {}  # answers to calls that wait for one
        self.taken: set[str] = set()  # ids of what does not count any more
        self.failing: dict[str, set[str]] = {}  # ids of what has failed, by caller
        self._wanted = wanted

    def add(self, entry: Settled) -> None:
        wanted = self._wanted
        if entry.action == ROOT:
            self.phase = entry.phase
        self.parents.add(entry.parent)
        self.done += TRACE not in entry.action
        if entry.action in wanted.held:
            self.settled.add(entry.action)
        if parted(entry.action)[0] in wanted.asked:
            self.recalled[entry.action] = entry
        if entry.failure is not None and entry.parent in wanted.callers:
            self.fail(entry.action, entry.parent, entry.ended, entry.phase is Phase.ABORTED)

    def has_failed(self, held: frames.Holds) -> None:
        """That is the outcome of what a survivor held, and is not written down yet."""
        if held.origin.parent in self._wanted.callers:
            self.fail(held.origin.action, held.origin.parent, held.origin.started)

    def fail(self, action: str, caller: str, when: float, is_aborted: bool = False) -> None:
        """What a running attempt has called has failed, or what one before it had called."""
        if is_aborted or when <= self._wanted.callers[caller]:
            self.taken.add(action)
        else:
            self.failing.setdefault(caller, set()).add(action)


class Unfinished(NamedTuple):
    """A run that the engine before could not end. ``inputs``: its large ones, for this engine."""

    started: RunStarted
    inputs: tuple[str, ...]
    past: Past


class _Telling:
    """What one survivor has told."""

    def __init__(self, link: Link, environment: Environment) -> None:
        batch = link.told or []
        self.link = link
        self.environment = environment
        self.held = [frame for frame in batch if isinstance(frame, frames.Holds)]
        end = next((at for at, frame in enumerate(batch) if isinstance(frame, frames.Told)), len(batch))
        told = batch[:end]
        self.outcomes = {frame.epoch: frame for frame in told if isinstance(frame, frames.Done | frames.Failed)}
        self.declared = [frame for frame in told if isinstance(frame, frames.Declare)]
        self.calls = [frame for frame in told if isinstance(frame, frames.Submit)]
        self.waiting = {frame.parent for frame in self.calls}
        self.is_ready = end < len(batch) and batch[end].is_ready
        self.rest = batch[end + 1 :]

    def add_to(self, wanted: dict[str, Wanted]) -> None:
        runs = {held.epoch: held for held in self.held}
        tasks = {frame.ref: frame.task.name for frame in self.declared}
        for held in self.held:
            of_run = wanted[held.run]
            of_run.held.add(held.origin.action)
            if held.epoch not in self.outcomes:
                of_run.callers[held.origin.action] = held.origin.failed_at
        for call in self.calls:
            caller = runs.get(call.parent)
            if caller is not None and call.ref in tasks:
                record = Record(caller.origin.action, None, 0.0)
                wanted[caller.run].asked.add(record.call(tasks[call.ref], call.body, call.ordinal))


class Adoption:
    def __init__(self, engine: Engine, scribe: Scribe | None) -> None:
        self.all_told = threading.Event()  # every survivor has said what it has to say, or is gone
        self.all_told.set()
        self._engine = engine
        self._awaited: dict[str, Environment] = {}
        self._told: dict[str, tuple[Link, Environment]] = {}  # by replica
        self._scribe = scribe
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

    def close(self) -> dict[str, Wanted]:
        """Whoever has not come by now comes too late. Gives what is to be read of each run before stock is taken."""
        for replica in self._awaited:
            self._engine.crew.give_up(replica)
            self._told.pop(replica, None)
        self._awaited = {}
        self.all_told.set()
        wanted: dict[str, Wanted] = defaultdict(Wanted)
        for link, environment in self._told.values():
            _Telling(link, environment).add_to(wanted)
        return wanted

    def take_stock(self, unfinished: list[Unfinished]) -> list[str]:
        """Go on with these runs and with what survivors hold of them. Gives the replicas that were adopted."""
        self._forget_at = time.monotonic() + CLAIM_SECONDS
        told = [_Telling(link, environment) for link, environment in self._told.values()]
        self._told = {}
        runs = {one.started.run: self._revive(one, told) for one in unfinished}
        pasts = {one.started.run: one.past for one in unfinished}
        for telling in told:
            self._adopt(telling, runs, pasts)
        known = {run.name: set(run.survivors) for run in runs.values()}
        over = [root for one in unfinished if (root := self._go_on(one, runs[one.started.run])) is not None]
        for telling in told:
            self._replay(telling)
        for run in runs.values():
            self._sort_out(run, known[run.name])
        for survivor, ended in over:  # its last word
            self._claimed(survivor, ended, 0)
        return [telling.link.replica for telling in told]

    def _revive(self, unfinished: Unfinished, told: list[_Telling]) -> Run:
        past, name = unfinished.past, unfinished.started.run
        for telling in told:
            for held in telling.held:
                if held.run == name and isinstance(telling.outcomes.get(held.epoch), frames.Failed):
                    past.has_failed(held)
        run = self._engine.clients.revive(unfinished.started, frozenset(past.parents))
        run.recalled = past.recalled
        run.taken = frozenset(past.taken)
        run.settled = past.done
        run.actions = max((held.number for telling in told for held in telling.held if held.run == name), default=0)
        return run

    def _adopt(self, telling: _Telling, runs: dict[str, Run], pasts: dict[str, Past]) -> None:
        link = telling.link
        pool = self._engine.reopen(link.replica, telling.environment)
        executions: list[Held] = []
        unwanted: list[Survivor] = []
        for held in telling.held:
            run, past = runs.get(held.run), pasts.get(held.run)
            survivor = Survivor(held, link, telling.outcomes.get(held.epoch))
            if survivor.outcome is None:
                work = self._take_in(survivor, run or Run(held.run, None, _NOBODY), pool, telling.environment)
                executions.append(Held(work.action, held.epoch, held.attempt, held.epoch in telling.waiting))
                if work.record is not None and past is not None:
                    work.record.failing = past.failing.get(held.origin.action)
            unwanted += [survivor] if run is None or past is None else self._place(survivor, run, past.settled)
        is_ready = telling.is_ready or link.is_ready
        self._engine.handle(Adopt(pool, link.replica, is_ready, tuple(executions)))
        for survivor in unwanted:
            self._drop(survivor)

    def _replay(self, telling: _Telling) -> None:
        """What a survivor waits for is asked again; then follows what it has said since."""
        link = telling.link
        link.told = None
        link.outcomes += len(telling.outcomes)
        self._engine.received(link, telling.declared)
        for call in telling.calls:
            self._engine.executions.called(link, call)
        self._engine.received(link, telling.rest)

    def _take_in(self, survivor: Survivor, run: Run, pool: str, environment: Environment) -> Work:
        """An execution that runs: a ward, until it is claimed."""
        held = survivor.held
        task = TaskSpec(held.task, "", "", environment)  # whoever claims it knows more
        work = survivor.work = Work(task, pool, run, held.number, b"", ())
        work.link = survivor.link
        work.epoch = held.epoch
        work.phase = RUNNING
        work.context = held.context
        if self._scribe is not None:
            work.record = self._scribe.recall(held, survivor.link.replica)
        self._wards[held.epoch] = survivor
        self._engine.enter(work)
        return work

    def _place(self, survivor: Survivor, run: Run, settled: set[str]) -> list[Survivor]:
        """Where it is found by whoever asks. Gives what nobody will ask for: the older of two attempts, for one."""
        action = survivor.held.origin.action
        if action in settled:
            return [survivor]
        other = run.survivors.get(action)
        if other is not None and other.held.attempt > survivor.held.attempt:
            return [survivor]
        run.survivors[action] = survivor
        return [other] if other is not None else []

    def _go_on(self, unfinished: Unfinished, run: Run) -> tuple[Survivor, Work] | None:
        """The root of a run runs still, or runs again. Gives one that has ended: it counts when all else is settled."""
        started = unfinished.started
        called = Called(started.task, started.inputs, unfinished.inputs)
        survivor = run.survivors.pop(ROOT, None)
        if survivor is not None:
            run.task, number = called.task, survivor.held.number
            root = Work(called.task, self._engine.pool_for(called.task, run), run, number, called.body, called.blobs)
            if survivor.work is None and not survivor.is_tried_again(called.task):
                return survivor, root
            if self._claimed(survivor, root, 0) and survivor.work is not None:
                self._engine.clients.began(run.name, survivor.work.action)
                return None
        self._engine.clients.began(run.name, self._engine.start(called, run))
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
            record = self._scribe.recall(held, survivor.link.replica)
            record.parent = asked.record.parent if asked.record is not None else None
            asked.record = record
            asked.number = held.number  # its lines have it
            self._engine.settle(asked, outcome)
            return True
        work = survivor.work
        assert work is not None
        work.task, work.body, work.blobs = asked.task, asked.body, asked.blobs
        work.link, work.call, work.cached = asked.link, asked.call, asked.cached
        if work.record is not None and asked.record is not None:
            work.record.parent = asked.record.parent
        del self._wards[held.epoch]
        survivor.link.running[held.epoch] = work
        if work.link is not None:
            work.link.calls[work.call] = work.action
        now = time.time()
        age, ran = max(0.0, now - held.origin.queued), max(0.0, now - held.origin.started)
        task, failures = work.task, held.origin.failures
        turns = self._engine.turns_of(work.run) if parent else work.run.client
        self._engine.handle(Claim(work.action, parent, task.retry, task.timeouts, age, ran, failures, turns))
        if work.link is None:
            self._engine.roots[work.run.name] = work
            work.run.starter.running()
        if work.cached is not None:
            self._engine.cache.lead(work)
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
        outcome = survivor.outcome
        if self._scribe is None or outcome is None:
            return
        if isinstance(outcome, frames.Done):
            self._engine.vault.hold_for_journal(outcome.blobs)
            self._engine.discard(outcome.blobs)
        entry = self._scribe.found(survivor.held, survivor.link.replica, outcome, run)
        run.recalled = {**(run.recalled or {}), entry.action: entry}


class _Nobody:
    """The starter of a run that is not known."""

    def running(self) -> None: ...

    def logged(self, label: str, stream: str, text: str) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...


_NOBODY = _Nobody()
