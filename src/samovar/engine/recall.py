"""What had ended before: given to an action that runs again, so that it is not done twice.

An action runs again when its attempt failed or its replica was lost, or when the engine before this one was killed.
What it had called and traced by then is read from the journal, in a thread, before its next attempt begins: until then
the attempt has its slot, and its replica does not know of it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from samovar.core.actions import ABORTED
from samovar.core.messages import Finished
from samovar.engine.scribe import TRACE, Scribe, parted
from samovar.engine.work import Work
from samovar.light import msgspec
from samovar.model import Phase
from samovar.wire import frames

if TYPE_CHECKING:
    from samovar.engine.engine import Engine
    from samovar.engine.keeper import Keeper
    from samovar.engine.links import Link
    from samovar.engine.vault import Vault
    from samovar.entries import Settled


class _Trace(NamedTuple):
    action: str  # its id
    past: frames.Past


class Recall:
    def __init__(self, engine: Engine, keeper: Keeper, vault: Vault) -> None:
        self._engine = engine
        self._keeper = keeper
        self._vault = vault
        self.given: dict[int, tuple[str, ...]] = {}  # large values of traces, by action
        self._waiting: dict[int, tuple[Work, Link]] = {}  # attempts whose replica does not know of them, by epoch

    def before(self, scribe: Scribe, work: Work, link: Link, frame: frames.Run) -> None:
        """Send the frame, with what is known of earlier attempts."""
        record, run = work.record, work.run.name
        assert record is not None
        self._waiting[frame.epoch] = work, link
        action = record.id
        scribe.hand_over()
        self._keeper.apart(lambda: self._read(scribe, run, action), lambda found: self._go(frame, *found))

    def cancelled(self, epoch: int) -> bool:
        """The attempt is not wanted any more. True: it ends here, and its replica need not know."""
        found = self._waiting.pop(epoch, None)
        if found is None:
            return False
        found[1].running.pop(epoch, None)
        self._engine.handle(Finished(epoch, ABORTED))
        return True

    def answer(self, link: Link, work: Work, parent: int, known: Settled) -> None:
        """A call whose outcome is there. Where its large values are not, it is made."""
        if not known.result_blobs:
            self._vault.discard(work.blobs)
            self._engine.send(link, frames.Answer(work.call, known.result, failure=known.failure))
            return
        link.calls[work.call] = 0
        self._vault.fetch(known.result_blobs, lambda blobs: self._fetched(link, work, parent, known, blobs))

    def _fetched(self, link: Link, work: Work, parent: int, known: Settled, blobs: tuple[str, ...] | None) -> None:
        if link.calls.pop(work.call, None) is None or not link.is_open:  # it was withdrawn
            self._vault.discard((*work.blobs, *(blobs or ())))
        elif blobs is None:
            work.pool = self._engine.pool_for(work.task, work.run, link.homes)  # its pool may have ended meanwhile
            self._engine.submit(work, parent)
        else:
            self._vault.discard(work.blobs)
            self._engine.send(link, frames.Answer(work.call, known.result, blobs))
        self._engine.flush()

    def settled(self, work: Work) -> None:
        """Its attempts need no traces any more."""
        self._vault.discard(self.given.pop(work.action, ()))

    # in a thread

    def _read(self, scribe: Scribe, run: str, action: str) -> tuple[list[Settled], list[_Trace]]:
        """What the action has called; and what it has traced last under each key, with large values to be consumed."""
        below = scribe.below(run, action)
        traced: dict[str, tuple[int, Settled]] = {}
        for entry in below:
            _, mark, key = entry.action.partition(TRACE)
            if mark:
                base, times = parted(key)
                traced[base] = max((times, entry), traced.get(base, (0, entry)), key=lambda found: found[0])
        found = []
        for key, (_, entry) in traced.items():
            blobs = self._vault.copies(entry.result_blobs)
            if blobs is not None:
                found.append(_Trace(entry.action, frames.Past(key, entry.result, blobs, entry.failure)))
        return [entry for entry in below if TRACE not in entry.action], found

    # in a turn

    def _go(self, frame: frames.Run, below: list[Settled], traces: list[_Trace]) -> None:
        waiting = self._waiting.pop(frame.epoch, None)
        if waiting is None or not waiting[1].is_open:
            for trace in traces:
                self._vault.discard(trace.past.blobs)
            return
        work, link = waiting
        run = work.run
        run.taken |= {entry.action for entry in below if entry.phase is Phase.ABORTED}
        counted = {entry.action: entry for entry in below if entry.action not in run.taken}
        run.recalled = {**(run.recalled or {}), **counted}
        past = tuple(trace.past for trace in traces if trace.action not in run.taken)
        blobs = tuple(name for trace in traces for name in trace.past.blobs)
        if blobs:
            self.given[work.action] = self.given.get(work.action, ()) + blobs
        message: Any = msgspec.structs.replace(frame, past=past)
        self._engine.send(link, message)
        self._engine.flush()
