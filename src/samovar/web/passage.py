"""Where somebody is in a list of actions that changes while it is read.

The list has what is on its way, by the engine's numbers, and then what is settled, by the time of its end; the newest
come first in both. Meanwhile actions move from the one part to the other. A passage knows when it came by which of
them, so that one which was shown on its way is not shown again, and one that was settled before is not left out. The
list is that of the actions which there were when its first page was read.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from samovar.web.problems import Problem

MARKS = 40
"""Of a passage; of more the older ones are joined, and then an action may be shown twice, but is never left out."""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """At ``at`` all that was queued at ``queued`` or later had been passed."""

    queued: float
    at: float


class Passage(msgspec.Struct, frozen=True, array_like=True):
    before: int | None = 0
    """Before which of the engine's numbers to go on; 0: at the newest; None: what is on its way has been shown."""

    marks: tuple[Mark, ...] = ()  # the newest action first
    written: str = ""  # the place in the journal

    @classmethod
    def of(cls, cursor: str) -> Passage:
        """404: it is none."""
        if not cursor:
            return cls()
        try:
            padded = cursor.encode() + b"=" * (-len(cursor) % 4)
            return msgspec.json.decode(base64.b64decode(padded, b"-_", validate=True), type=cls)
        except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
            raise Problem(404, "after: it is no place in this list; take the 'next' of the page before") from error

    @property
    def cursor(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    def on(self, before: int, queued: float | None, at: float) -> Passage:
        """It has gone on to ``before`` (0: to the end) at ``at``; ``queued``: when the last one that it met was."""
        marks = self.marks
        if not before:
            marks += (Mark(0.0, at),)
        elif queued is not None:
            marks += (Mark(queued, at),)
        if len(marks) > MARKS:
            marks = (Mark(marks[1].queued, max(marks[0].at, marks[1].at)), *marks[2:])
        return Passage(before or None, marks, self.written)

    def has_shown(self, queued: float, ended: float) -> bool:
        """Whether an action that is settled was shown when it was on its way, or had not begun when the list was."""
        for mark in self.marks:
            if queued >= mark.queued:
                return ended > mark.at
        return False
