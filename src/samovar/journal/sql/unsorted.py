"""What is committed and not in its place yet: the groups of entries as they came, each one row of bytes.

A row of a table with its indexes costs ten times what its bytes cost, and the engine needs the processor itself while
much happens. So a group is committed as it is, and sorted into the tables later: by the writer when it is calm, or by
whoever reads, before he reads. Taking a group out and putting its entries in their places is one transaction, so each
is placed once, whoever does it and whatever dies meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from types import GenericAlias
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, select

from samovar.entries import Entry, RunStarted
from samovar.errors import JournalAwayError
from samovar.journal.sql import rows
from samovar.journal.sql.batch import Batch
from samovar.journal.sql.dialects import Dialect, translated, writing
from samovar.journal.sql.schema import UNSORTED
from samovar.model import TaskSpec

_ADD = insert(UNSORTED)

AT_ONCE = 3_000  # entries, or one group, that are sorted in one transaction: others who write wait for it

Refused = list[tuple[Entry, Exception]]


_FIELDS = [(field.name, field.type, field.default) for field in msgspec.structs.fields(RunStarted)]
_OTHERS = [field for field in _FIELDS if field[0] != "task"]
_TASK = [name for name, *_ in _FIELDS].index("task")
_others = attrgetter(*[name for name, *_ in _OTHERS])

_Start: Any = msgspec.defstruct(
    "_Start",
    [("task", int), *_OTHERS],
    frozen=True,
    array_like=True,
    tag=True,
    gc=False,
)
"""A ``RunStarted`` that has the place of its task in place of the task: many calls are of one."""

_Opened: Any = msgspec.defstruct(
    "PoolOpened",
    [("pool", str), ("at", float), ("environment", msgspec.Raw)],
    frozen=True,
    array_like=True,
    tag=True,
)
"""What schema version 3 wrote down of pools, and may have left here. It has no place any more."""

_START: str = _Start.__struct_config__.tag

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(
    GenericAlias(tuple, (list[bytes], GenericAlias(list, (_Start | _Opened | Entry,))))
).decode


class Unsorted:
    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def count(self) -> int:
        with translated(self._dialect), self._dialect.engine.connect() as connection:
            entries: int = connection.execute(select(func.coalesce(func.sum(UNSORTED.c.count), 0))).scalar_one()
        return entries

    def add(self, connection: Connection, packed: bytes, count: int) -> None:
        connection.execute(_ADD, {"count": count, "entries": packed})

    def sort(self) -> tuple[int, Refused]:
        """Put the oldest entries in their places. Gives their number, and those that contradict what is there."""
        refused: Refused = []
        with translated(self._dialect), writing(self._dialect.engine) as connection:
            self._dialect.lock_sorting(connection)
            numbers, entries = self._oldest(connection)
            self._place(connection, entries, rows.Specs(), refused)
            connection.execute(delete(UNSORTED).where(UNSORTED.c.number.in_(numbers)))
        return len(entries), refused

    def sort_all(self) -> Refused:
        """All that is there now."""
        newest = select(func.max(UNSORTED.c.number))
        with translated(self._dialect), self._dialect.engine.connect() as connection:
            until = connection.execute(newest).scalar()
        refused: Refused = []
        while until is not None and self._is_left(until):
            refused += self.sort()[1]
        return refused

    def _is_left(self, until: int) -> bool:
        some = select(UNSORTED.c.number).where(UNSORTED.c.number <= until).limit(1)
        with translated(self._dialect), self._dialect.engine.connect() as connection:
            return connection.execute(some).first() is not None

    def _oldest(self, connection: Connection) -> tuple[list[int], list[Entry]]:
        """Groups from the first one on, and their numbers: of two writers the lower one may commit last."""
        numbers, entries = list[int](), list[Entry]()
        while len(entries) < AT_ONCE:
            last = numbers[-1] if numbers else 0
            following = select(UNSORTED.c.number, UNSORTED.c.entries).where(UNSORTED.c.number > last)
            row = connection.execute(following.order_by(UNSORTED.c.number).limit(1)).first()
            if row is None:
                break
            numbers.append(row.number)
            entries += unpack(row.entries)
        return numbers, entries

    def _place(self, connection: Connection, entries: Sequence[Entry], specs: rows.Specs, refused: Refused) -> None:
        """An entry that cannot be placed is found by halves."""
        if not entries:
            return
        try:
            with translated(self._dialect), connection.begin_nested():
                Batch(entries, specs).write(connection, self._dialect)
        except JournalAwayError:
            raise
        except Exception as error:
            if len(entries) == 1:
                refused.append((entries[0], error))
                return
            half = len(entries) // 2
            self._place(connection, entries[:half], specs, refused)
            self._place(connection, entries[half:], specs, refused)


def pack(group: Sequence[Entry], specs: rows.Specs) -> bytes:
    packed: list[bytes] = []
    places: dict[int, int] = {}  # by the id of a task
    entries: list[object] = []
    for entry in group:
        if type(entry) is RunStarted:
            task = entry.task
            place = places.get(id(task))
            if place is None:
                place = places[id(task)] = len(packed)
                packed.append(specs.pack(task))
            entries.append(_start(entry, place))
        else:
            entries.append(entry)
    return _encode((packed, entries))


def _start(entry: RunStarted, place: int) -> object:
    """Packed as the _Start of the same fields is, which takes longer to make."""
    payloads = entry.inputs, entry.input_blobs, entry.context, entry.caching
    return _START, place, entry.run, entry.engine, entry.action, entry.started, *payloads


def unpack(packed: bytes) -> list[Entry]:
    specs, entries = _decode(packed)
    tasks = [rows.task_of(spec) for spec in specs]
    return [_started(entry, tasks[entry.task]) if type(entry) is _Start else entry for entry in entries]


def _started(start: Any, task: TaskSpec) -> RunStarted:
    values = list(_others(start))
    values.insert(_TASK, task)
    return RunStarted(*values)
