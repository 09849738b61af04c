"""What a task prints is sent to the engine under the task's name, also when tasks interleave.

``sys.stdout`` and ``sys.stderr`` are replaced before the user's code is imported, so ``print``, ``logging`` and
``warnings`` all pass here. Whole lines are sent; the rest of a line waits for its end or for the end of the task, or
until it is long: a progress bar may never end its line. What is written past them is seen by ``descriptors``.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any, TextIO

from samovar.runtime.descriptors import LONGEST_LINE
from samovar.sdk.context import current
from samovar.sdk.controller import Execution

Write = Callable[[int, str, str], None]  # epoch, stream, text


class Stream(io.TextIOBase):
    """Text of the current execution; outside of any, as in a thread that a task has started, text of ``alone()``."""

    def __init__(self, name: str, real: TextIO, write: Write, alone: Callable[[], int]) -> None:
        self._stream = name
        self._real = real
        self._send = write
        self._alone = alone

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._real.fileno()

    def write(self, text: str) -> int:
        execution = current.get()
        if execution is None:
            self._send(self._alone(), self._stream, text)
            return len(text)
        parts: dict[str, str] = execution.extra
        whole = parts.pop(self._stream, "") + text
        lines, newline, rest = whole.rpartition("\n")
        if newline:
            self._send(execution.epoch, self._stream, lines + newline)
        if len(rest) > LONGEST_LINE:
            self._send(execution.epoch, self._stream, rest)
        elif rest:
            parts[self._stream] = rest
        return len(text)


def install(write: Write, alone: Callable[[], int]) -> None:
    sys.stdout = Stream("stdout", sys.stdout, write, alone)
    sys.stderr = Stream("stderr", sys.stderr, write, alone)


def finish(execution: Execution, write: Write) -> None:
    """Send what an execution left without a newline."""
    parts: dict[str, Any] = execution.extra
    for stream, text in parts.items():
        write(execution.epoch, stream, text)
    parts.clear()
