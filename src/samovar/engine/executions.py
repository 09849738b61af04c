"""What executions in replicas say: what they call and withdraw, what they print, and how they end.

Called by the engine for each frame. Large values that a memory-bounded replica wrote are taken over first
(``engine.vault``), apart from the turn; what arrives meanwhile does not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samovar.core.actions import ABORTED
from samovar.core.messages import Abort, Finished
from samovar.engine.links import Link
from samovar.engine.work import Work
from samovar.wire import frames

if TYPE_CHECKING:
    from samovar.engine.engine import Engine


class Executions:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

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
        self._engine.send(link, frames.SlowDown(frame, wait))
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
        self._end(work, Finished(frame.epoch))

    def failed(self, link: Link, frame: frames.Failed) -> None:
        link.outcomes += 1
        work = link.running.pop(frame.epoch, None)
        if work is not None:
            self._end(work, Finished(frame.epoch, frame.failure))
        else:
            self._engine.adoption.finished(link, frame)

    def _end(self, work: Work, event: Finished) -> None:
        engine = self._engine
        timeline = engine.timeline
        if timeline is None:
            engine.handle(event)
            return
        execution = timeline.execution(event.epoch)
        engine.handle(event)
        if execution is not None:
            timeline.ended(execution, work, engine.now)

    def traced(self, link: Link, frame: frames.Traced) -> None:
        scribe = self._engine.scribe
        work = link.running.get(frame.epoch) or self._engine.adoption.ward(frame.epoch)
        if work is not None and work.epoch == frame.epoch and work.record is not None and scribe is not None:
            self._engine.vault.hold_for_journal(frame.blobs)
            scribe.traced(work, work.record, frame)
        self._engine.discard(frame.blobs)

    def logged(self, link: Link, frame: frames.Log) -> None:
        work = link.running.get(frame.epoch) or self._engine.adoption.ward(frame.epoch)
        if work is not None:
            work.run.starter.logged(work.label, frame.stream, frame.text)
            self._engine.logbook.put(work, frame.stream, frame.text)
        else:
            self._engine.on_log(link.replica, frame.stream, frame.text)
