"""One line that says how far the work of a script is, on a terminal or in a notebook, and is gone when it is done.

For scripts that start runs themselves; ``samovar run`` has a display of its own. Where stderr is neither a terminal nor
a notebook nothing is shown but what was always said. What tasks print, and what the engine reports, goes through here
as well, so that lines do not run into each other.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TextIO

from samovar.model import PoolStats

PERIOD = 0.5
"""Seconds between two looks."""

PATIENCE = 1.0
"""Seconds for which work may go on before anything is shown."""

NOTEBOOK_COLUMNS = 110


class Worker(Protocol):
    """Who has something to do."""

    @property
    def is_at_work(self) -> bool:
        """Runs that this process has started have not ended."""
        ...

    def stats(self) -> list[PoolStats]: ...


def suits(stream: TextIO) -> bool:
    """A line may be written there again and again."""
    return stream.isatty() or _is_notebook()


def _is_notebook() -> bool:
    return "ipykernel" in sys.modules


class Progress:
    """``say`` and ``log`` may be called by any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._columns = 0
        self._shown = ""
        self._since: float | None = None
        self._before: dict[str, tuple[int, int]] = {}  # done and failed when work began, by pool
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def say(self, line: str) -> None:
        self._print([f"samovar: {part}" for part in line.rstrip("\n").split("\n")])

    def log(self, label: str, stream: str, text: str) -> None:
        self._print([f"[{label}] {line}" for line in text.rstrip("\n").split("\n")])

    def follow(self, worker: Worker, clock: Callable[[], float] = time.monotonic) -> None:
        """Look at it until ``close``, in a thread."""

        def look() -> None:
            while not self._closing.wait(PERIOD):
                self.look(worker, clock())

        threading.Thread(target=look, name="samovar-progress", daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._show("")

    def look(self, worker: Worker, now: float) -> None:
        if not worker.is_at_work:
            self._since = None
            self._show("")
            return
        with contextlib.suppress(Exception):  # a service that is gone, or too busy to say, is no matter of this line
            pools = worker.stats()
            if self._since is None:
                self._since = now
                self._before = {pool.name: (pool.done, pool.failed) for pool in pools}
            elif now - self._since >= PATIENCE:
                self._show(line(pools, self._before, now - self._since))

    def _show(self, text: str) -> None:
        with self._lock:
            if text != self._shown and not (text and self._closing.is_set()):
                columns = NOTEBOOK_COLUMNS if _is_notebook() else shutil.get_terminal_size().columns
                text = text[: columns - 1]
                self._write(f"\r{text.ljust(len(self._shown))}" + ("" if text else "\r"))
                self._shown = text

    def _print(self, lines: Sequence[str]) -> None:
        with self._lock:
            shown, self._shown = self._shown, ""
            clear = f"\r{' ' * len(shown)}\r" if shown else ""
            self._write(clear + "".join(f"{text}\n" for text in lines))

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more: the work goes on
            self._stream.write(text)
            self._stream.flush()


def line(pools: Sequence[PoolStats], before: dict[str, tuple[int, int]], seconds: float) -> str:
    """How far it is, of all pools that have anything to do, or have had since ``before``."""
    done = failed = 0
    for pool in pools:
        had = before.get(pool.name, (0, 0))
        done += pool.done - had[0]
        failed += pool.failed - had[1]
    left = sum(pool.queued + pool.active + pool.parked for pool in pools)
    starting = sum(pool.starting for pool in pools)
    ended = done + failed
    parts = [f"{ended} of {ended + left} so far" if ended else f"{left} to do"]
    if failed:
        parts.append(f"{failed} failed")
    parts.append(f"{sum(pool.active for pool in pools)} of {sum(pool.slots for pool in pools)} slots at work")
    if starting:
        parts.append(f"{starting} {'replica starts' if starting == 1 else 'replicas start'}")
    if ended and seconds > 0:
        parts.append(f"{ended / seconds:,.1f}/s")
    notes = [pool.note for pool in pools if pool.note and pool.note != "no free slot"]
    return f"samovar: {seconds:.0f} s: {', '.join(parts)}" + (f" ({notes[0]})" if notes else "")
