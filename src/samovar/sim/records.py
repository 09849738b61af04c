"""What the checker knows of the record: the one thing that outlives engines, in which everything has one outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Records:
    """``must`` takes whether something holds, and what is the matter if it does not."""

    def __init__(self, must: Callable[[bool, str], None]) -> None:
        self._must = must
        self._safe: set[str] = set()
        self._new: set[str] = set()
        self._answered: set[str] = set()

    def add(self, record: str) -> None:
        self._must(record not in self._safe and record not in self._new, f"{record} is recorded twice")
        self._new.add(record)

    def commit(self, records: Iterable[str]) -> None:
        self._safe |= self._new & set(records)
        self._new -= self._safe

    def tear(self) -> None:
        """The engine was killed: what is not safe never was."""
        self._new.clear()

    def is_safe(self, record: str) -> bool:
        return record in self._safe

    def answer(self, key: str) -> None:
        self._must(key not in self._answered, f"the client of {key} is answered twice")
        self._answered.add(key)

    def check_end(self, runs: Iterable[str] = ()) -> None:
        self._must(not self._new, "records were never committed")
        missing = [run for run in runs if run not in self._answered]
        self._must(not missing, f"never answered: {', '.join(missing[:5])}")
