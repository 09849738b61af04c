"""What executions in replicas say: what they call and withdraw, what they print, and how they end.

Called by the engine for each frame. Large values that a memory-bounded replica wrote are taken over first
(``engine.vault``), apart from the turn; what arrives meanwhile does not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samovar.core.actions import ABORTED
from samovar.core.messages import Abort, Finished
from samovar.engine.links import Link
from samovar.engine.timeline import SHORT
from samovar.engine.work import Work
from samovar.model import Blockage
from samovar.wire import frames

if TYPE_CHECKING:
    from samovar.engine.engine import Engine


SAY_AGAIN = 60.0
"""Seconds until people hear again of a task that blocks its event loop."""

_MOST_TOLD = 1000  # tasks


class Executions:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._told: dict[str, float] = {}  # when people were told last, by task that blocked its loop; oldest first

    def declared(self, link: Link, frame: frames.Declare) -> None:
        link.tasks[frame.ref] = frame.task

    def submitted(self, link: Link, frame: frames.Submit) -> None:
        if not (frame.blobs and link.is_bounded):
            self.called(link, frame)
            return
        parent = self._caller(link, frame)
        if parent is None or self._pool_with_room(link, frame, parent):
            link.calls[frame.call] = 0
            self._engine.vault.adopt(frame.blobs, lambda: self._called_apart(link, frame))

    def _called_apart(self, link: Link, frame: frames.Submit) -> None:
        if link.calls.pop(frame.call, None) is None or not link.is_open:  # withdrawn meanwhile
            self._engine.discard(frame.blobs)
        else:
            self.called(link, frame)
        self._engine.flush()

    def called(self, link: Link, frame: frames.Submit) -> None:
        """A call, whose large values are in their place."""
        engine = self._engine
        parent = self._caller(link, frame)
        if parent is None:
            engine.discard(frame.blobs)
            engine.send(link, frames.Answer(frame.call, failure=ABORTED))
            return
        pool = self._pool_with_room(link, frame, parent)
        if not pool:
            return
        run, declared = parent.run, link.tasks[frame.ref]
        work = Work(declared, pool, run, run.number(), frame.body, frame.blobs)
        work.link = link
        work.call = frame.call
        work.context = parent.context if frame.context is None else frame.context
        if parent.record is not None and engine.scribe is not None:
            work.record = engine.scribe.call(run, parent.record, declared, frame)
            if run.recalled and (known := run.recalled.pop(work.record.id, None)) is not None:
                if known.failure is not None:
                    engine.scribe.failed(work.record)
                engine.recall.answer(link, work, parent.action, known)
                return
        if frame.cached is not None:
            engine.cache.admit(work, frame.cached)
        if run.survivors and engine.adoption.claim(work, parent.action):
            return
        engine.submit(work, parent.action)

    def _caller(self, link: Link, frame: frames.Submit) -> Work | None:
        """Whose attempt makes the call; None: nobody's that counts, or the task is not known."""
        parent = link.running.get(frame.parent) or self._engine.adoption.ward(frame.parent)
        if parent is None or parent.epoch != frame.parent or frame.ref not in link.tasks:
            return None
        return parent

    def _pool_with_room(self, link: Link, frame: frames.Submit, parent: Work) -> str:
        """Where the call goes; "": there is no room, and the replica is told when to come again."""
        pool = self._engine.pool_for(link.tasks[frame.ref], parent.run, link.homes)
        wait = self._engine.admission(pool, self._engine.turns_of(parent.run), parent.action)
        if not wait:
            return pool
        self._engine.figures.of[pool].refused += 1
        self._engine.send(link, frames.SlowDown(frame.call, wait, frame))
        return ""

    def withdrawn(self, link: Link, frame: frames.Withdraw) -> None:
        action = link.calls.get(frame.call)
        if action:
            self._engine.handle(Abort(action, "its caller was cancelled"))
        elif action is not None:  # it is no action yet
            del link.calls[frame.call]

    def done(self, link: Link, frame: frames.Done) -> None:
        link.outcomes += 1
        if frame.blobs and link.is_bounded:
            number = link.outcomes
            link.apart.add(number)
            self._engine.vault.adopt(frame.blobs, lambda: self._finished_apart(link, frame, number))
        else:
            self._finished(link, frame)

    def _finished_apart(self, link: Link, frame: frames.Done, number: int) -> None:
        link.apart.discard(number)
        self._finished(link, frame)
        self._engine.flush()

    def _finished(self, link: Link, frame: frames.Done) -> None:
        work = link.running.pop(frame.epoch, None)
        if work is None:
            return self._engine.adoption.finished(link, frame)
        if work.epoch == frame.epoch:
            if work.result_blobs:  # of an attempt whose replica was lost just then
                self._engine.discard(work.result_blobs)
            work.result = frame.body
            work.result_blobs = frame.blobs
        else:
            self._engine.discard(frame.blobs)
        self._ended(link, work, frame, Finished(frame.epoch))

    def failed(self, link: Link, frame: frames.Failed) -> None:
        link.outcomes += 1
        work = link.running.pop(frame.epoch, None)
        if work is None:
            return self._engine.adoption.finished(link, frame)
        if frame.failure.code == "OOMError":
            self._engine.figures.of[work.pool].out_of_memory += 1
        self._ended(link, work, frame, Finished(frame.epoch, frame.failure))

    def _ended(self, link: Link, work: Work, frame: frames.Done | frames.Failed, event: Finished) -> None:
        """An attempt is over. Its next one may begin at once, in the same event."""
        engine, since = self._engine, work.since
        figures = engine.figures.of[work.pool]
        timeline, crowd = engine.timeline, link.crowd
        if crowd is not None and (
            crowd.task != work.task.name
            or engine.now - since >= SHORT  # by the last event, which is not long ago where there are crowds
            or event.failure is not None
            or work.epoch != event.epoch
        ):
            crowd = None
        execution = timeline.execution(event.epoch) if timeline is not None and crowd is None else None
        work.ran = frame.ran
        engine.handle(event)
        now = engine.now
        took = now - since
        if since and frame.ran:
            figures.ran(frame.ran)
            figures.dispatched(max(0.0, took - frame.ran))
        if crowd is not None:
            crowd.add(took)
            crowd.end = now
        elif execution is not None and timeline is not None:
            timeline.ended(link, execution, work, now)

    def traced(self, link: Link, frame: frames.Traced) -> None:
        scribe = self._engine.scribe
        work = link.running.get(frame.epoch) or self._engine.adoption.ward(frame.epoch)
        if work is not None and work.epoch == frame.epoch and work.record is not None and scribe is not None:
            self._engine.vault.hold_for_journal(frame.blobs)
            scribe.traced(work, work.record, frame)
        self._engine.discard(frame.blobs)

    def blocked(self, link: Link, frame: frames.Blocked) -> None:
        """Of one that blocks its loop again and again, people hear once in a while."""
        engine = self._engine
        work = link.running.get(frame.epoch) or engine.adoption.ward(frame.epoch)
        task, label = (work.task.name, work.label) if work is not None else ("", "")
        link.blockage = Blockage(task, label, frame.seconds, frame.stack)
        link.lag = frame.seconds
        engine.crew.figures(link.replica).blockages += 1
        text = _blocked(link.replica, link.blockage)
        if work is not None:
            engine.logbook.put(work, frames.ENGINE_STREAM, text)
        whose = task or link.replica
        if engine.now - self._told.get(whose, -SAY_AGAIN) >= SAY_AGAIN:
            self._told.pop(whose, None)
            self._told[whose] = engine.now
            if len(self._told) > _MOST_TOLD:
                del self._told[next(iter(self._told))]
            engine.say(text)

    def logged(self, link: Link, frame: frames.Log) -> None:
        if frame.stream == frames.SHARED_STREAM and link.running:
            return self._logged_by_some(link, frame)
        work = link.running.get(frame.epoch) or self._engine.adoption.ward(frame.epoch)
        if work is not None:
            work.run.starter.logged(work.label, frame.stream, frame.text)
            self._engine.logbook.put(work, frame.stream, frame.text)
        else:
            self._engine.on_log(link.replica, frame.stream, frame.text)

    def _logged_by_some(self, link: Link, frame: frames.Log) -> None:
        """Each of the runs that may have written it has it once."""
        label = f"{link.replica}, shared"
        for run in {work.run.name: work.run for work in link.running.values()}.values():
            run.starter.logged(label, frame.stream, frame.text)
            self._engine.logbook.put_shared(run.name, frame.stream, frame.text)


def _blocked(replica: str, blockage: Blockage) -> str:
    who = f"task {blockage.task} ({blockage.label})" if blockage.task else "code that no task has started"
    text = f"{who} on replica {replica} has blocked its event loop for {blockage.seconds:.1f} s"
    advice = "await what takes long (asyncio.to_thread), or make it a sync task, of an environment with concurrency=1"
    stack = f"; it stands in\n{blockage.stack}" if blockage.stack else ""
    return f"{text}: {advice}{stack}"
