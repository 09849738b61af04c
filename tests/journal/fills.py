"""A process on a small disk of its own, which fills up and is freed again: ``… python -m tests.journal.fills FOLDER``.

Runs where FOLDER is a disk of a few megabytes. Prints what the journal said, and how many of its actions it has.
"""

from __future__ import annotations

import queue
import sys
from pathlib import Path

from samovar.entries import Health
from samovar.journal.sql.journal import SqlJournal
from tests.disks import fill

from .makers import settled, started

SECONDS = 30


def main(folder: Path) -> None:
    heard: queue.Queue[Health] = queue.Queue()
    refused: list[object] = []
    journal = SqlJournal(str(folder / "journal.db"), heard.put, lambda entry, error: refused.append(error))
    journal.record(started())
    journal.record(settled("before"))
    journal.flush(SECONDS)
    filler = folder / "filler"
    fill(filler)
    for number in range(100):
        journal.record(settled(str(number), result=bytes(10_000)))
    print(heard.get(timeout=SECONDS).trouble)
    filler.unlink()
    journal.flush(SECONDS)
    kept = {entry.action: len(entry.result) for entry in journal.settled("r")}
    assert kept == {"before": 0, **{str(number): 10_000 for number in range(100)}}
    assert not refused
    journal.close(SECONDS)
    print(len(kept))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
