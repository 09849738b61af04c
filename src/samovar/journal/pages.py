"""Lists in parts: where a page ends is where the next one begins, however much is written in between.

A list is sorted by a time and, within one, by a number that no two rows share.
"""

from __future__ import annotations

import math

from samovar.entries import ActionSummary, Settled
from samovar.errors import JournalError
from samovar.model import Failure

LARGEST = 1_000
"""Items of a page at most."""

Place = tuple[float, int]  # time, number
_LAST = 2**63 - 1  # number, of any database


def cursor(place: Place) -> str:
    time, number = place
    return f"{time!r}-{number}"


def place(after: str) -> Place | None:
    """Of a cursor; None for the first page. JournalError when it is not one."""
    if not after:
        return None
    time, _, number = after.rpartition("-")
    try:
        found = float(time), int(number)
        if not math.isfinite(found[0]) or found[1] > _LAST:
            raise ValueError
        return found
    except ValueError:
        raise JournalError(f"{after!r} is no place in a list; 'after' takes the 'next' of a page") from None


def length(limit: int) -> int:
    """How many items a page of this limit has at most."""
    return max(1, min(limit, LARGEST))


def error_line(failure: Failure) -> str:
    """One line for lists."""
    first = failure.message.strip().partition("\n")[0][:200]
    return plain(f"{failure.code}: {first}" if first else failure.code)


def plain(text: str) -> str:
    """Without what a database's text cannot hold: a user's message may have anything in it."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def summary_of(entry: Settled) -> ActionSummary:
    """As a list has it."""
    return ActionSummary(
        entry.run,
        entry.action,
        entry.parent,
        entry.task,
        entry.phase,
        entry.queued,
        entry.ended,
        entry.started,
        entry.attempts,
        entry.replica,
        entry.cold,
        error_line(entry.failure) if entry.failure is not None else "",
        entry.of_run,
    )
