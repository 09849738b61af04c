"""The watch: a thread beside the loop that a task cannot stop, but by holding the interpreter lock.

It beats, reads what was written past Python (``descriptors``), and looks whether the loop still turns. A turn that
takes longer than the engine has patience for is said once: in whose execution, and where it stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
import traceback
from types import FrameType

from samovar.runtime.descriptors import Descriptors
from samovar.runtime.link import Link
from samovar.runtime.loop import LinkSelector
from samovar.sdk import bundle
from samovar.sdk.context import current
from samovar.sdk.controller import Execution
from samovar.wire import frames

BEAT = 1.0
"""Seconds."""

LOOK = 0.25
"""Seconds between two looks."""

DEEPEST = 20
"""Frames of a stack that are told, the innermost."""

_OWN = (os.path.join(sys.modules["samovar"].__path__[0], ""), os.path.join(os.path.dirname(asyncio.__file__), ""))


class Watch:
    """Made in the thread of the loop. ``descriptors``: None where they cannot be read."""

    def __init__(self, link: Link, selector: LinkSelector, descriptors: Descriptors | None) -> None:
        self._link = link
        self._selector = selector
        self._descriptors = descriptors
        self._loop_thread = threading.get_ident()
        self._told = 0.0  # the turn that was told last
        self._beat_at = time.monotonic() + BEAT

    def run(self) -> None:
        while True:
            time.sleep(LOOK)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        if self._descriptors is not None:
            with contextlib.suppress(OSError):  # what tasks write is not worth the beats, which come from this thread
                self._descriptors.look()
        if self._link.is_away:
            return
        began = self._selector.turn_began
        lag = max(0.0, now - began) if began else 0.0
        if lag >= self._link.patience and began != self._told:
            self._tell(began, lag)
        if now >= self._beat_at:
            self._beat_at = now + BEAT
            self._link.send(frames.Beat(_rss(), lag))

    def _tell(self, began: float, lag: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        execution, stack = _seen(frame) if frame is not None else (None, "")
        if self._selector.turn_began == began:  # else it was another turn that was looked at
            self._told = began
            self._link.send(frames.Blocked(execution.epoch if execution is not None else 0, lag, stack))


def _seen(frame: FrameType) -> tuple[Execution | None, str]:
    """Whose code the loop runs there, for each of its callbacks has the context of whoever asked for it; and the stack
    from the user's first line on, the innermost last, with paths as the user knows them."""
    execution: Execution | None = None
    depth = 0
    at: FrameType | None = frame
    while at is not None:
        if at.f_code is asyncio.Handle._run.__code__:
            handle = at.f_locals["self"]  # None as soon as its callback has ended
            execution = handle._context.get(current) if handle is not None else None
            break
        depth += 1
        at = at.f_back
    calls = traceback.extract_stack(frame, depth)
    first = next((place for place, call in enumerate(calls) if _is_users(call.filename)), len(calls))
    shown = traceback.StackSummary.from_list(calls[first:][-DEEPEST:])
    return execution, bundle.as_known("".join(shown.format())).rstrip("\n")


def _is_users(file: str) -> bool:
    return not file.startswith((*_OWN, "<"))


def _rss() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
