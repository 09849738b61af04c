"""What a person sees of a run, all of it on stderr: stdout belongs to the result.

``Lines`` writes plain lines, for files and pipes; ``Screen`` keeps a table of the pools below the logs, for
terminals. ``report`` and ``log`` are called from the engine's thread, everything else from the command's.
Neither display decides anything; the clock comes in as an argument.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from samovar.model import Phase, PoolStats

if TYPE_CHECKING:
    from rich.console import RenderableType


BAR = 12  # characters


class Rate:
    """Tasks a second over the last two seconds, for one pool."""

    WINDOW = 2.0  # seconds

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now: float, done: int) -> float:
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[0][0] > self.WINDOW:
            self._samples.popleft()
        then, before = self._samples[0]
        return (done - before) / (now - then) if now > then else 0.0


class Display:
    """Shows only logs (``--no-progress``), and not even these with ``logs=False``; the base of the others."""

    def __init__(self, stream: TextIO | None = None, logs: bool = True) -> None:
        self._stream = stream or sys.stderr
        self._logs = logs
        self._run = ""
        self._is_ours = True  # the run was started by this command
        self._lock = threading.Lock()
        self.started = time.monotonic()

    def report(self, text: str) -> None:
        """A line from the engine: an image that installs, a warning."""

    def log(self, label: str, stream: str, text: str) -> None:
        """Output of a task."""
        if self._logs:
            self._write([f"[{label}] {line}" for line in text.rstrip("\n").split("\n")])

    def begin(self, run: str, task: str, is_ours: bool = True) -> None:
        """The run has been submitted, or else is watched from now on."""

    def update(self, now: float, phase: Phase, pools: Sequence[PoolStats]) -> None:
        """How things stand; called several times a second."""

    def end(self, now: float, phase: Phase, pools: Sequence[PoolStats]) -> None:
        """The run is over."""

    def close(self) -> None:
        """Give the terminal back; may be called twice."""

    def say(self, text: str) -> None:
        """A line of the command itself, shown by every display."""
        self._write(text.split("\n"))

    def _closing(self, now: float, phase: Phase, pools: Sequence[PoolStats]) -> str:
        """The figures are those since this display began: of a run that began before, they say nothing."""
        text = f"samovar: run {self._run} {phase.value.replace('_', ' ')}"
        if not self._is_ours:
            return text
        done = sum(pool.done for pool in pools)
        cold, warm = sum(pool.cold for pool in pools), sum(pool.warm for pool in pools)
        return f"{text} in {now - self.started:.2f} s: {_count(done, 'task')} done, {cold} cold, {warm} warm"

    def _write(self, lines: Sequence[str]) -> None:
        with (
            self._lock,
            contextlib.suppress(BrokenPipeError, ValueError),
        ):  # nobody reads any more: the run goes on
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()


class Lines(Display):
    """A line where something happened: start, replicas ready, every five seconds what changed, end."""

    PERIOD = 5.0  # seconds

    def __init__(self, stream: TextIO | None = None, logs: bool = True) -> None:
        super().__init__(stream, logs)
        self._ready: dict[str, int] = {}
        self._notes: dict[str, str] = {}
        self._rates: dict[str, Rate] = {}
        self._shown: dict[str, tuple[int, ...]] = {}
        self._next = self.started + self.PERIOD

    def report(self, text: str) -> None:
        self._write([f"samovar: {line}" for line in text.rstrip("\n").split("\n")])

    def begin(self, run: str, task: str, is_ours: bool = True) -> None:
        self._run, self._is_ours = run, is_ours
        self._write(
            [f"samovar: run {run} of {task} started" if is_ours else f"samovar: attached to run {run} of {task}"]
        )

    def update(self, now: float, phase: Phase, pools: Sequence[PoolStats]) -> None:
        lines = []
        due = now >= self._next
        for pool in pools:
            rate = self._rates.setdefault(pool.name, Rate()).add(now, pool.done)
            if pool.ready and not self._ready.get(pool.name):
                lines.append(f"samovar: {pool.name}: {_count(pool.ready, 'replica')} ready, {now - self.started:.2f} s")
            self._ready[pool.name] = pool.ready
            if pool.note and pool.note != self._notes.get(pool.name) and due:
                lines.append(f"samovar: {pool.name}: {pool.note}")
            self._notes[pool.name] = pool.note
            if due and self._shown.get(pool.name) != _figures(pool):
                self._shown[pool.name] = _figures(pool)
                lines.append(f"samovar: {now - self.started:.0f} s {pool.name}: {_line(pool, rate)}")
        if due:
            self._next = now + self.PERIOD
        if lines:
            self._write(lines)

    def end(self, now: float, phase: Phase, pools: Sequence[PoolStats]) -> None:
        self._write([self._closing(now, phase, pools)])


class Screen(Display):
    """A live table on a terminal."""

    def __init__(self, stream: TextIO | None = None, logs: bool = True) -> None:
        super().__init__(stream, logs)
        from rich.console import Console  # only here and below: a run in a pipe needs no rich
        from rich.live import Live

        self._console = Console(file=self._stream, stderr=stream is None, highlight=False, soft_wrap=True)
        self._rates: dict[str, Rate] = {}
        self._task = ""
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,  # stdout may be a pipe, and carries the result only
            redirect_stderr=False,
        )
        self._open = False

    def report(self, text: str) -> None:
        self._console.print(text.rstrip("\n"), style="dim", markup=False)

    def log(self, label: str, stream: str, text: str) -> None:
        if self._logs:
            from rich.text import Text

            for line in text.rstrip("\n").split("\n"):
                self._console.print(Text.assemble((f"[{label}] ", "cyan"), Text.from_ansi(line)))

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def begin(self, run: str, task: str, is_ours: bool = True) -> None:
        self._run, self._task, self._is_ours = run, task, is_ours
        self._live.start()
        self._open = True

    def update(self, now: float, phase: Phase, pools: Sequence[PoolStats]) -> None:
        if self._open:
            self._live.update(self._table(now, phase, pools), refresh=True)

    def end(self, now: float, phase: Phase, pools: Sequence[PoolStats]) -> None:
        self.close()
        style = "green" if phase is Phase.SUCCEEDED else "red"
        text = self._closing(now, phase, pools).removeprefix("samovar: ")
        self._console.print(text, style=style, markup=False)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._live.stop()

    def _table(self, now: float, phase: Phase, pools: Sequence[PoolStats]) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        seconds = now - self.started
        head = Text.assemble(
            (self._run, "bold"),
            f"  {self._task}  ",
            (phase.value.replace("_", " "), "yellow"),
            f"  {seconds:.1f} s  {_bar(pools)}",
        )
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in ("pool", "replicas", "slots", "queued", "done", "cold/warm", "tasks/s"):
            table.add_column(title, style="bold" if title == "pool" else "", header_style="dim", no_wrap=True)
        notes = []
        for pool in pools:
            rate = self._rates.setdefault(pool.name, Rate()).add(now, pool.done)
            starting = f" +{pool.starting} starting" if pool.starting else ""
            failed = f" ({pool.failed} failed)" if pool.failed else ""
            table.add_row(
                Text(pool.name),
                f"{pool.ready} ready{starting}",
                f"{pool.active}/{pool.slots}",
                str(pool.queued),
                f"{pool.done}{failed}",
                f"{pool.cold}/{pool.warm}",
                f"{rate:,.0f}",
            )
            if pool.note:
                notes.append(Text(f"{pool.name}: {pool.note}", style="dim"))
        return Group(head, table, *notes)


def choose(progress: bool, logs: bool) -> Display:
    """The display that suits stderr."""
    if not progress:
        return Display(logs=logs)
    return Screen(logs=logs) if sys.stderr.isatty() else Lines(logs=logs)


def _figures(pool: PoolStats) -> tuple[int, ...]:
    return (
        pool.ready,
        pool.starting,
        pool.draining,
        pool.active,
        pool.slots,
        pool.queued,
        pool.done,
        pool.failed,
    )


def _line(pool: PoolStats, rate: float) -> str:
    parts = [f"{pool.ready} ready"]
    optional: list[tuple[int, Callable[[int], str]]] = [
        (pool.starting, "{} starting".format),
        (pool.draining, "{} draining".format),
    ]
    parts += [text(n) for n, text in optional if n]
    parts += [f"{pool.active}/{pool.slots} slots", f"{pool.queued} queued", f"{pool.done} done"]
    if pool.failed:
        parts.append(f"{pool.failed} failed")
    parts += [f"{pool.cold} cold/{pool.warm} warm", f"{rate:,.0f} tasks/s"]
    return ", ".join(parts)


def _bar(pools: Sequence[PoolStats]) -> str:
    """How much is done of what has been asked for so far."""
    ended = sum(pool.done + pool.failed for pool in pools)
    known = ended + sum(pool.queued + pool.active + pool.parked for pool in pools)
    if not ended or ended == known:
        return ""
    full = ended * BAR // known
    return f"{'━' * full}{'╌' * (BAR - full)} {ended * 100 // known:>2} %"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
