"""Results of cached calls: which are known, who is to be answered with one, and who has to run.

The engine asks for tasks that are cached, and for no others. What this engine has settled lately is in memory; else the
journal is asked, in a thread, many keys at once. An action waits meanwhile outside of the queue, and so does one whose
twin runs (``CacheCall.alone``). A script's own engine opens the journal at the first cached task: its results are there
for the next script then. Without a journal they are in memory alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from samovar.core.messages import Answered, Enqueue
from samovar.engine.scribe import ROOT, Record, Scribe
from samovar.engine.work import Known, Run, Work
from samovar.model import SUCCEEDED, CacheCall, Phase

if TYPE_CHECKING:
    from samovar.engine.engine import Engine
    from samovar.engine.keeper import Keeper
    from samovar.engine.vault import Vault

OpenScribe = Callable[[], Scribe | None]
"""Opens the journal where results are written and found; called once, in a thread. None: there is none."""

RESULTS, RESULT_BYTES, BLOB_BYTES = 10_000, 64 * 1024 * 1024, 256 * 1024 * 1024
"""What is known in memory at most."""


class Question(NamedTuple):
    """Is there a result? ``known``: one that has large values, to be fetched."""

    key: str
    known: Known | None
    runs: bool  # it has to run whatever is known


class Found(NamedTuple):
    known: Known
    blobs: tuple[str, ...]  # to be consumed


class Cache:
    def __init__(self, engine: Engine, keeper: Keeper, vault: Vault, opened: OpenScribe) -> None:
        self._engine = engine
        self._keeper = keeper
        self._vault = vault
        self._open: OpenScribe | None = opened
        self._scribe: Scribe | None = None  # once it is opened
        self._results = _Results(vault)
        self._asked: list[Work] = []  # for the next look into the journal
        self._is_looking = False
        self._leaders: set[Work] = set()  # for whom others wait
        self._lanes: dict[str, list[Work]] = {}  # by key: who waits for a leader

    # of actions that wait

    def admit(self, work: Work, call: CacheCall) -> None:
        """A cached call is made. From here on it waits, and ``decide`` follows."""
        if work.run.caching == "off":
            return
        work.cached = call if work.run.caching == "" else CacheCall(call.key, replace=True)
        if work.record is None:
            work.record = Record(ROOT if work.number == 1 else str(work.number), None, time.time())

    def decide(self, work: Work) -> None:
        """Answer it, let it wait, or queue it."""
        call = work.cached
        assert call is not None
        if call.alone and not call.replace:
            lane = self._lanes.get(call.key)
            if lane is not None:
                lane.append(work)
                return
            self._lanes[call.key] = []
            self._leaders.add(work)
        self._ask(work)

    def lead(self, work: Work) -> None:
        """It runs already, on a replica that was adopted."""
        call = work.cached
        assert call is not None
        if call.alone and not call.replace and call.key not in self._lanes:
            self._lanes[call.key] = []
            self._leaders.add(work)

    def settled(self, work: Work) -> None:
        """The action has its final phase; called before anybody gets the result."""
        call = work.cached
        assert call is not None
        record = work.record
        if work.phase is SUCCEEDED and record is not None:
            if self._scribe is not None and self._scribe is not self._engine.scribe:
                if work.hit is None:
                    self._vault.hold_for_journal(work.result_blobs)
                self._scribe.note(work, record)
            if work.hit is None:
                known = Known(work.result, work.result_blobs, f"{work.run.name}/{record.id}")
                self._results.put(call.key, known, holds=self._scribe is None)
            elif self._results.get(call.key) is None:
                self._results.put(call.key, work.hit, holds=False)
        if work in self._leaders:
            self._leaders.discard(work)
            self._next(call.key)

    def ended(self, run: Run, phase: Phase) -> None:
        if self._scribe is not None and self._scribe is not self._engine.scribe:
            self._scribe.note_end(run, phase)

    def hand_over(self) -> None:
        """Give the journal what is written."""
        if self._scribe is not None:
            self._scribe.hand_over()

    def fall_silent(self) -> None:
        """Write nothing down any more."""
        self._scribe = self._open = None

    def _next(self, key: str) -> None:
        """The leader of a lane has ended: all get its result, or the next one runs."""
        waiting = [work for work in self._lanes.pop(key) if not work.phase.is_terminal]
        if self._results.get(key) is not None:
            for work in waiting:
                self._ask(work)
        elif waiting:
            self._leaders.add(waiting[0])
            self._lanes[key] = waiting[1:]
            self._engine.handle(Enqueue(waiting[0].action))

    def _ask(self, work: Work) -> None:
        call = work.cached
        assert call is not None
        known = None if call.replace else self._results.get(call.key)
        if known is not None and not known.blobs:
            self._answer(work, Found(known, ()))
            return
        self._asked.append(work)
        self._look()

    def _answer(self, work: Work, found: Found) -> None:
        work.hit = found.known
        work.result = found.known.body
        work.result_blobs = found.blobs
        self._engine.handle(Answered(work.action))

    # the journal

    def _look(self) -> None:
        """One look at a time; what is asked meanwhile is for the next."""
        if self._is_looking or not self._asked:
            return
        self._is_looking = True
        asked, self._asked = self._asked, []
        questions = [self._question(work) for work in asked]
        self._keeper.apart(lambda: self._find(questions), lambda found: self._found(asked, found))

    def _question(self, work: Work) -> Question:
        call = work.cached
        assert call is not None
        return Question(call.key, None if call.replace else self._results.get(call.key), call.replace)

    def _find(self, questions: list[Question]) -> list[Found | None]:
        """In a thread."""
        if self._open is not None:
            self._scribe, self._open = self._open(), None
        return [None if question.runs else self._find_one(question) for question in questions]

    def _find_one(self, question: Question) -> Found | None:
        known = question.known
        if known is not None and (blobs := self._vault.copies(known.blobs)) is not None:
            return Found(known, blobs)
        entry = self._scribe.known(question.key) if self._scribe is not None else None
        if entry is None:
            return None
        blobs = self._vault.copies(entry.result_blobs)
        if blobs is None:
            return None
        return Found(Known(entry.result, entry.result_blobs, entry.hit or f"{entry.run}/{entry.action}"), blobs)

    def _found(self, asked: list[Work], found: list[Found | None]) -> None:
        self._is_looking = False
        for work, result in zip(asked, found, strict=True):
            if work.phase.is_terminal:
                self._vault.discard(result.blobs if result is not None else ())
            elif result is not None:
                self._answer(work, result)
            elif work.cached is not None and not work.cached.replace and self._has_small(work.cached.key):
                self._ask(work)  # it has been settled meanwhile
            else:
                self._engine.handle(Enqueue(work.action))
        self._look()
        self._engine.flush()

    def _has_small(self, key: str) -> bool:
        known = self._results.get(key)
        return known is not None and not known.blobs


class _Results:
    """Results by key, the last ones used. Large values of results are held where no journal has them."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._known: dict[str, tuple[Known, int]] = {}  # and the bytes of its large values
        self._bytes = self._blob_bytes = 0

    def get(self, key: str) -> Known | None:
        found = self._known.pop(key, None)
        if found is None:
            return None
        self._known[key] = found  # the last to go
        return found[0]

    def put(self, key: str, known: Known, holds: bool) -> None:
        """``holds``: no journal has its large values, which its first consumer is about to get."""
        self._drop(key)
        size = 0
        if known.blobs and holds:
            size = self._vault.size(known.blobs)
            self._vault.hold(known.blobs)
        self._known[key] = known, size
        self._bytes += len(known.body)
        self._blob_bytes += size
        while len(self._known) > 1 and (
            len(self._known) > RESULTS or self._bytes > RESULT_BYTES or self._blob_bytes > BLOB_BYTES
        ):
            self._drop(next(iter(self._known)))

    def _drop(self, key: str) -> None:
        found = self._known.pop(key, None)
        if found is not None:
            known, size = found
            self._bytes -= len(known.body)
            self._blob_bytes -= size
            if size:
                self._vault.release(known.blobs)
