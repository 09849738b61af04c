"""What tasks print, stored by a service, so that it can be read later and from elsewhere (``lines`` says how it lies).

The engine puts lines into a queue, which costs it no more than that; a thread stores them. What does not fit into the
queue, or not on the disk, is counted, and the number stands among the lines. A run keeps its newest ``Bounds.run``
bytes, and all runs together ``Bounds.total`` bytes of disk.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from samovar.engine.work import Work
from samovar.host import lines
from samovar.host.lines import LogLine
from samovar.wire.frames import ENGINE_STREAM

GATHER = 0.05  # seconds between two looks of the thread

LONGEST_LINE = 64 * 1024
"""Characters of a line that are kept."""

YOUNG = 3600.0
"""Seconds for which a run's lines stay whether or not its run is written down: the journal may be behind."""

_LINE_BYTES = 200  # what a line counts beside its text


class Bounds(NamedTuple):
    """In bytes."""

    queue: int = 32 * 1024 * 1024
    segment: int = lines.SEGMENT_BYTES
    run: int = 16 * lines.SEGMENT_BYTES  # before they are compressed
    total: int = 1024 * 1024 * 1024


class _Said(NamedTuple):
    """``text`` None: nothing follows of the run."""

    run: str
    at: float
    action: str = ""
    number: int = 0
    task: str = ""
    stream: str = ""
    text: str | None = None


class Logbook:
    """Implements ``samovar.engine.work.Logbook``. ``say`` takes what people should know of trouble."""

    def __init__(self, root: Path, say: Callable[[str], None], bounds: Bounds | None = None) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._bounds = bounds or Bounds()
        self._shelf = _Shelf(root, self._bounds)
        self._say = say
        self._queue: deque[_Said | threading.Event] = deque()  # an event is set when all before it is stored
        self._put = self._stored = 0  # bytes: each has one writer, and the difference waits
        self._open: set[str] = set()  # runs that have said something; touched in turns alone
        self._missed: dict[str, int] = {}  # run → lines that were not kept
        self._missing = threading.Lock()
        self._news = threading.Event()
        self._closing = threading.Event()
        self._trouble = ""
        self._thread = threading.Thread(target=self._store_all, name="samovar-logbook", daemon=True)
        self._thread.start()

    # in a turn

    def put(self, work: Work, stream: str, text: str) -> None:
        self._take(_Said(work.run.name, time.time(), work.id, work.number, work.task.name, stream, text), text)

    def put_shared(self, run: str, stream: str, text: str) -> None:
        self._take(_Said(run, time.time(), stream=stream, text=text), text)

    def _take(self, said: _Said, text: str) -> None:
        run, size = said.run, len(text) + _LINE_BYTES
        self._open.add(run)
        if self._put - self._stored + size > self._bounds.queue:
            self._miss(run, text.count("\n") or 1)
            return
        self._put += size
        self._queue.append(said)
        if not self._news.is_set():
            self._news.set()

    def ended(self, run: str) -> None:
        if run in self._open:
            self._open.discard(run)
            self._queue.append(_Said(run, time.time()))
            self._news.set()

    # of whoever reads and keeps house

    @property
    def root(self) -> Path:
        return self._shelf.root

    def flush(self, timeout: float) -> None:
        """Return when all that was put before is stored, or after ``timeout`` seconds."""
        stored = threading.Event()
        self._queue.append(stored)
        self._news.set()
        stored.wait(timeout)

    def forget(self, is_kept: Callable[[str], bool]) -> None:
        """Remove the lines of runs that are not kept, but for what was just written."""
        self._shelf.forget(is_kept)

    def close(self) -> None:
        """Store what waits."""
        self._closing.set()
        self._news.set()
        self._thread.join()

    # in its own thread

    def _store_all(self) -> None:
        self._guarded(self._shelf.tidy)
        while True:
            self._news.wait()
            is_last = self._closing.is_set()
            self._news.clear()
            self._store()
            if is_last:
                return
            self._closing.wait(GATHER)

    def _store(self) -> None:
        """By runs, so that a file is opened once for all that waits."""
        gathered: dict[str, list[_Said]] = {}
        asked: list[threading.Event] = []
        while self._queue:
            said = self._queue.popleft()
            if isinstance(said, threading.Event):
                asked.append(said)
            else:
                gathered.setdefault(said.run, []).append(said)
        with self._missing:
            missed, self._missed = self._missed, {}
        for run in {**gathered, **missed}:
            self._store_run(run, gathered.get(run, []), missed.get(run, 0))
        self._guarded(self._shelf.bound)
        for event in asked:
            event.set()

    def _store_run(self, run: str, all_said: list[_Said], missed: int) -> None:
        told = [said for said in all_said if said.text is not None]
        records = deque(_records(told))
        if missed:
            records.appendleft(_note_of(missed))
        count = len(records)
        if not self._guarded(lambda: self._shelf.write(run, records), is_proof=True):
            self._miss(run, missed + len(records) - 1 if missed and len(records) == count else len(records))
        if len(told) < len(all_said):
            self._guarded(lambda: self._shelf.finish(run))
        self._stored += sum(len(said.text or "") + _LINE_BYTES for said in told)

    def _miss(self, run: str, count: int) -> None:
        with self._missing:
            self._missed[run] = self._missed.get(run, 0) + count

    def _guarded(self, work: Callable[[], None], is_proof: bool = False) -> bool:
        """False: the disk did not take it, which is said once. ``is_proof``: where it does, all is well again."""
        try:
            work()
        except OSError as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                self._say(f"logs: what tasks print is not stored: {error}")
            return False
        if self._trouble and is_proof:
            self._trouble = ""
            self._say("logs: what tasks print is stored again")
        return True


def _note_of(missed: int) -> bytes:
    text = f"{missed} {'line was' if missed == 1 else 'lines were'} not kept: more was written than could be stored"
    return lines.encode_line(LogLine(time.time(), "", 0, "", ENGINE_STREAM, text)) + b"\n"


def _records(told: list[_Said]) -> Iterator[bytes]:
    for said in told:
        for text in (said.text or "").removesuffix("\n").split("\n"):
            line = LogLine(said.at, said.action, said.number, said.task, said.stream, _cut(text))
            yield lines.encode_line(line) + b"\n"


def _cut(text: str) -> str:
    text = text.removesuffix("\r").encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]}… ({len(text) - LONGEST_LINE} more characters)"


class _Shelf:
    """The files. Errors are OSErrors, and leave what was stored before."""

    def __init__(self, root: Path, bounds: Bounds) -> None:
        self.root = root
        self._bounds = bounds
        self._current: dict[str, tuple[int, int]] = {}  # run → the segment that is written, and its bytes
        self._total = 0  # bytes on disk, of what is packed

    def write(self, run: str, records: deque[bytes]) -> None:
        """Takes away what is stored."""
        folder = lines.folder_of(self.root, run)
        while records:
            room = self._bounds.segment - self._current.get(run, (0, 0))[1]
            part = 0
            for record in records:
                if room <= 0:
                    break
                room -= len(record)
                part += 1
            self._append(run, folder, b"".join(islice(records, part)))
            for _ in range(part):
                records.popleft()
            if room <= 0:
                self._turn_page(run, folder)

    def finish(self, run: str) -> None:
        """The run has ended."""
        segment, _ = self._current.pop(run, (0, 0))
        if segment:
            self._pack(lines.folder_of(self.root, run), segment)

    def tidy(self) -> None:
        """Pack what a service that was killed has left, and weigh all."""
        for folder in self._folders():
            for segment in lines.segments(folder):
                self._pack(folder, segment)
        self._total = sum(size for _, size, _ in self._packed())

    def bound(self) -> None:
        """Where there is too much on the disk the oldest goes, until a tenth is free."""
        if self._total <= self._bounds.total:
            return
        packed = sorted(self._packed())
        self._total = sum(size for _, size, _ in packed)
        for _, size, path in packed:
            if self._total <= self._bounds.total * 0.9:
                return
            path.unlink(missing_ok=True)
            self._total -= size
            if not lines.segments(path.parent):
                shutil.rmtree(path.parent, ignore_errors=True)

    def forget(self, is_kept: Callable[[str], bool]) -> None:
        for folder in self._folders():
            with contextlib.suppress(FileNotFoundError):
                young = time.time() - folder.stat().st_mtime < YOUNG
                if not young and not is_kept((folder / _NAME).read_text()):
                    shutil.rmtree(folder, ignore_errors=True)

    def _append(self, run: str, folder: Path, data: bytes) -> None:
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            (folder / _NAME).write_text(run)
        segment, size = self._current.get(run) or ((lines.segments(folder) or [0])[-1] + 1, 0)
        fd = os.open(lines.path_of(folder, segment), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            done = os.write(fd, data)
            if done < len(data):
                os.ftruncate(fd, size)  # all or nothing, so that what is told to be missing is missing
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
        self._current[run] = (segment, size + len(data))

    def _turn_page(self, run: str, folder: Path) -> None:
        """Begin a new segment; of too many the oldest goes."""
        segment, _ = self._current[run]
        self._pack(folder, segment)
        self._current[run] = (segment + 1, 0)
        for old in lines.segments(folder):
            if (segment + 1 - old) * self._bounds.segment < self._bounds.run:
                break
            with contextlib.suppress(FileNotFoundError):
                self._total -= lines.path_of(folder, old, packed=True).stat().st_size
            lines.path_of(folder, old, packed=True).unlink(missing_ok=True)

    def _pack(self, folder: Path, segment: int) -> None:
        plain, packed = lines.path_of(folder, segment), lines.path_of(folder, segment, packed=True)
        if not plain.exists():
            return
        half = packed.with_suffix(".tmp")
        with open(half, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(gzip.compress(plain.read_bytes(), 6))
        os.replace(half, packed)
        plain.unlink()
        self._total += packed.stat().st_size

    def _folders(self) -> list[Path]:
        return [Path(entry.path) for entry in os.scandir(self.root) if entry.name.startswith("run-") and entry.is_dir()]

    def _packed(self) -> Iterator[tuple[float, int, Path]]:
        """When it was written, its bytes, where it is."""
        for folder in self._folders():
            for path in folder.glob("*.gz"):
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    yield status.st_mtime, status.st_size, path


_NAME = "name"
"""The file with a run's whole name."""
