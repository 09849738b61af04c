"""The lobby: runs that this process has started, and that the queue of their pool has no room for.

They are let in, in order, when another run of the pool ends, and when time passes. Replicas and clients are refused
instead and come again, so that what they ask for waits with them; here waits only what the engine's own process asks
for. Called in a turn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from samovar.engine.work import Work


class Lobby:
    """``has_room`` says whether one may enter, ``enter`` lets it in."""

    def __init__(self, has_room: Callable[[Work], bool], enter: Callable[[Work], None]) -> None:
        self._has_room = has_room
        self._enter = enter
        self._waiting: dict[str, OrderedDict[int, Work]] = {}  # by pool, then by action

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, work: Work) -> None:
        self._waiting.setdefault(work.pool, OrderedDict())[work.action] = work

    def look(self) -> None:
        for pool in list(self._waiting):
            self.look_at(pool)

    def look_at(self, pool: str) -> None:
        """Let in as many as there is room for."""
        waiting = self._waiting.get(pool)
        while waiting:
            action, work = next(iter(waiting.items()))
            if not self._has_room(work):
                return
            self._leave(pool, action)
            self._enter(work)

    def call_in(self, work: Work) -> None:
        """Let this one in, room or not, if it is here."""
        if work.action in self._waiting.get(work.pool, ()):
            self._leave(work.pool, work.action)
            self._enter(work)

    def _leave(self, pool: str, action: int) -> None:
        waiting = self._waiting[pool]
        del waiting[action]
        if not waiting:
            del self._waiting[pool]
