"""What waits for a slot of a pool: a lane for each run, taken in turn.

First come, first served would let a run of a million actions hold up everybody behind it. Here each lane with work is
taken one action at a time, round robin, and order is kept within a lane: while one lane waits, no other is taken twice.
Actions are linked through themselves and lanes in a ring, so whatever has left, in the middle too, is kept nowhere, and
neither is an empty lane. Every operation is O(1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samovar.core.actions import Action


class Lane:
    """Actions in order. An action stands in one lane at most; ``action.lane`` says in which."""

    __slots__ = ("after", "before", "first", "last", "length", "run")

    def __init__(self, run: int = 0) -> None:
        self.run = run
        self.length = 0
        self.first: Action | None = None
        self.last: Action | None = None
        self.before = self.after = self  # its neighbours in the ring

    def append(self, action: Action) -> None:
        last = self.last
        if last is None:
            self.first = action
        else:
            last.behind = action
            action.ahead = last
        self.last = action
        action.lane = self
        self.length += 1

    def put_first(self, action: Action) -> None:
        first = self.first
        if first is None:
            self.last = action
        else:
            first.ahead = action
            action.behind = first
        self.first = action
        action.lane = self
        self.length += 1

    def remove(self, action: Action) -> None:
        ahead, behind = action.ahead, action.behind
        if ahead is None:
            self.first = behind
        else:
            ahead.behind = behind
            action.ahead = None
        if behind is None:
            self.last = ahead
        else:
            behind.ahead = ahead
            action.behind = None
        action.lane = None
        self.length -= 1

    def __iter__(self) -> Iterator[Action]:
        action = self.first
        while action is not None:
            yield action
            action = action.behind


class Queue:
    """``length`` counts the actions of all lanes."""

    __slots__ = ("_lanes", "_next", "length")

    def __init__(self) -> None:
        self._lanes: dict[int, Lane] = {}  # those with work, by ``Action.run``
        self._next: Lane | None = None  # whose turn it is
        self.length = 0

    def append(self, action: Action) -> None:
        lane = self._lanes.get(action.run) or self._open(action.run)
        lane.append(action)
        self.length += 1

    def put_first(self, action: Action) -> None:
        """At the head of its lane: it has waited its turn before."""
        lane = self._lanes.get(action.run) or self._open(action.run)
        lane.put_first(action)
        self.length += 1

    def first(self) -> Action | None:
        """The one to be taken next."""
        return self._next.first if self._next is not None else None

    def take(self) -> Action:
        """The next in turn; its lane goes behind all others. There must be one."""
        lane = self._next
        assert lane is not None
        action = lane.first
        assert action is not None
        self._next = lane.after
        self.remove(action)
        return action

    def remove(self, action: Action) -> None:
        lane = action.lane
        assert lane is not None
        lane.remove(action)
        self.length -= 1
        if not lane.length:
            self._close(lane)

    def held(self, run: int) -> int:
        """How many actions of the run wait."""
        lane = self._lanes.get(run)
        return lane.length if lane is not None else 0

    @property
    def runs(self) -> int:
        """How many runs have work here."""
        return len(self._lanes)

    @property
    def lanes(self) -> list[Lane]:
        """Those with work, in the order of their turns."""
        found: list[Lane] = []
        lane = self._next
        while lane is not None and (not found or lane is not found[0]):
            found.append(lane)
            lane = lane.after
        return found

    def _open(self, run: int) -> Lane:
        """A lane that is new has the last turn."""
        lane = self._lanes[run] = Lane(run)
        following = self._next
        if following is None:
            self._next = lane
        else:
            lane.before, lane.after = following.before, following
            lane.before.after = following.before = lane
        return lane

    def _close(self, lane: Lane) -> None:
        del self._lanes[lane.run]
        if lane.after is lane:
            self._next = None
        elif self._next is lane:
            self._next = lane.after
        lane.before.after, lane.after.before = lane.after, lane.before
        del lane.before, lane.after  # a ring of one would keep itself until the collector comes
