"""A process that writes to a journal until it is killed: ``python -m tests.journal.writes URL RUN SEED [storm]``.

In a storm nothing is sorted in, as it is never calm. Prints how many actions are committed, now and then. They are
named by their number, from 0.
"""

from __future__ import annotations

import random
import sys

from samovar.journal import writer
from samovar.journal.sql.journal import SqlJournal
from tests.journeys.conftest import until

from .makers import attempt, settled, started


def main(url: str, run: str, seed: int, is_storm: bool) -> None:
    if is_storm:
        writer.CALM, writer.QUIET = 0, 3600
    chance = random.Random(seed)
    journal = SqlJournal(url)
    journal.record(started(run))
    number = 0
    while True:
        for _ in range(chance.randint(1, 400)):
            if chance.random() < 0.1:
                journal.record(attempt(action=str(number), run=run))
            result = bytes(chance.choice((0, 10, 200, 20_000)))
            journal.record(settled(str(number), run=run, result=result, result_blobs=(f"{run}-{number}",)))
            number += 1
        if is_storm:
            until(lambda: not journal.health().backlog, 30)
        else:
            journal.flush(30)
        print(number, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), "storm" in sys.argv)
