"""Stored lines of tasks: how they lie on disk, and how they are read.

A run has a folder, and in it segments, files of up to ``SEGMENT_BYTES`` of records: ``000001.jsonl`` while it is
written, ``000001.jsonl.gz`` from then on. So whoever follows a run reads on where it was, and who wants its last lines
reads from the end; also a person with ``tail -f`` and ``zcat``. Reading needs no service and takes no lock.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from samovar.wire.frames import ENGINE_STREAM

SEGMENT_BYTES = 4 * 1024 * 1024
"""Of a segment before it is compressed."""

PAGE_BYTES = 1024 * 1024
"""Of the text in a page."""

SCANNED_BYTES = 2 * SEGMENT_BYTES
"""That are looked at for a page."""

_LONGEST_NAME = 120
_LONGEST_PLACE = 25  # characters: of a segment of six figures, and of any offset in it


class LogLine(msgspec.Struct, frozen=True, array_like=True):
    """A line that a task wrote. ``number``: of the action within its run, as live lines show it."""

    at: float  # seconds since 1970
    action: str
    number: int
    task: str
    stream: str  # of frames.Log, or frames.ENGINE_STREAM
    text: str


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of a run, the oldest first. An empty field is no condition.

    ``tail``: only the last so many. ``after``: ``LogPage.next`` of the page before.
    """

    run: str
    action: str = ""  # an id, or a number within the run
    task: str = ""
    tail: int | None = None
    after: str = ""
    limit: int = 1000

    def wants(self, line: LogLine) -> bool:
        return (not self.action or self.action in (line.action, str(line.number))) and self.task in ("", line.task)

    def behind(self, page: LogPage) -> LogQuery:
        """The same, of what follows."""
        return msgspec.structs.replace(self, after=page.next, tail=None)


class LogPage(msgspec.Struct, frozen=True):
    lines: list[LogLine]
    next: str  # where to go on, now or when more is written
    is_last: bool  # nothing more is written yet


class Place(NamedTuple):
    """Before which byte of which segment."""

    segment: int
    offset: int

    def __str__(self) -> str:
        return f"{self.segment}-{self.offset}"

    @classmethod
    def of(cls, text: str) -> Place:
        """ValueError: it is none."""
        segment, _, offset = text.partition("-")
        if not (segment.isdecimal() and offset.isdecimal() and len(text) <= _LONGEST_PLACE):
            raise ValueError(f"{text!r} is no place among lines")
        return cls(int(segment), int(offset))


_SEGMENT = re.compile(r"[0-9]{6}\.jsonl(\.gz)?").fullmatch
_decode = msgspec.json.Decoder(LogLine).decode
encode_line = msgspec.json.Encoder().encode


def folder_of(root: Path, run: str) -> Path:
    """Where the lines of a run are: a run may have any name."""
    name = quote(run, safe="")
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}~{hashlib.blake2b(run.encode(), digest_size=8).hexdigest()}"
    return root / f"run-{name}"


def segments(folder: Path) -> list[int]:
    """The numbers of those that are there, in their order."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted({int(name[:6]) for name in names if _SEGMENT(name)})


def path_of(folder: Path, segment: int, packed: bool = False) -> Path:
    return folder / f"{segment:06}.jsonl{'.gz' if packed else ''}"


def read(root: Path, query: LogQuery) -> LogPage:
    """A page of lines; an empty one where nothing is stored. ValueError: ``after`` is no place."""
    folder = folder_of(root, query.run)
    present = segments(folder)
    if not present:
        return LogPage([], query.after, True)
    if query.after:
        start = Place.of(query.after)
    else:
        start = Place(0, 0) if query.tail is None else _place_of_tail(folder, present, query)
    found: list[LogLine] = []
    if start.segment < present[0] and present[0] > 1:
        found.append(_note_of(folder, present[0], "older lines of this run are gone, for their number"))
    return _page(folder, [number for number in present if number >= start.segment], start, query, found)


def _page(folder: Path, present: list[int], start: Place, query: LogQuery, found: list[LogLine]) -> LogPage:
    text = scanned = 0
    place = start
    for number in present:
        offset = start.offset if number == start.segment else 0
        place = Place(number, offset)
        for line, end in _lines(_content(folder, number, offset), offset):
            place = Place(number, end)
            scanned += end - offset
            offset = end
            if line is not None and query.wants(line):
                found.append(line)
                text += len(line.text)
            if len(found) >= query.limit or text >= PAGE_BYTES or scanned >= SCANNED_BYTES:
                return LogPage(found, str(place), False)
    return LogPage(found, str(place), True)


def _place_of_tail(folder: Path, present: list[int], query: LogQuery) -> Place:
    """Where the last ``query.tail`` lines begin."""
    left = query.tail or 0
    if left <= 0:
        return Place(present[-1], len(_content(folder, present[-1])))
    for number in reversed(present):
        begins = []
        offset = 0
        for line, end in _lines(_content(folder, number)):
            if line is not None and query.wants(line):
                begins.append(offset)
            offset = end
        if len(begins) >= left:
            return Place(number, begins[-left])
        left -= len(begins)
    return Place(present[0], 0)


def _content(folder: Path, number: int, offset: int = 0) -> bytes:
    """Of a segment, from the offset on. It may be packed, or removed, between two looks."""
    try:
        with open(path_of(folder, number), "rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        pass
    try:
        return gzip.decompress(path_of(folder, number, packed=True).read_bytes())[offset:]
    except (FileNotFoundError, EOFError, zlib.error, gzip.BadGzipFile):
        return b""


def _lines(content: bytes, base: int = 0) -> Iterator[tuple[LogLine | None, int]]:
    """Each line that is whole, and the place of its end where ``content`` begins at ``base``; None: it is damaged."""
    begin = 0
    while (end := content.find(b"\n", begin) + 1) > 0:
        try:
            yield _decode(content[begin : end - 1]), base + end
        except msgspec.MsgspecError:  # of a service that was killed while it wrote
            yield None, base + end
        begin = end


def _note_of(folder: Path, number: int, text: str) -> LogLine:
    first = next((line for line, _ in _lines(_content(folder, number)) if line is not None), None)
    return LogLine(first.at if first else 0.0, "", 0, "", ENGINE_STREAM, text)
