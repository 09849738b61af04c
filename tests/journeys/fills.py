"""A service whose journal is on a small disk, which fills up and is freed: ``… python -m tests.journeys.fills FOLDER``.

Prints what the service said of its journal.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

from samovar.entries import ActionQuery, RunQuery
from samovar.journal.choice import open_journal
from tests.disks import fill

from . import services
from .conftest import until

SECONDS = 120
RUNS = 40_000  # of three entries each: more than the journal has room for
SOME = 15_000  # that it has room for

PROGRAM = f"""
import samovar as flyte
env = flyte.TaskEnvironment(name="disk", reusable=flyte.ReusePolicy(replicas=1, concurrency=100))

@env.task
async def tiny(x: int) -> int:
    return x

if __name__ == "__main__":
    runs = [flyte.run(tiny, 0)]
    assert runs[0].outputs() == (0,)
    print("first", flush=True)
    input()
    runs += [flyte.run(tiny, x) for x in range(1, {SOME})]
    assert [run.outputs() for run in runs] == [(x,) for x in range({SOME})]
    print("goes on", flush=True)
    runs += [flyte.run(tiny, x) for x in range({SOME}, {RUNS})]  # waits in the middle, until the journal has room
    assert [run.outputs() for run in runs] == [(x,) for x in range({RUNS})]
    print("done", flush=True)
"""


def main(folder: Path) -> None:
    database, filler = folder / "journal.db", folder / "filler"
    with tempfile.TemporaryDirectory() as name:
        home = services.Home(Path(name), PROGRAM)
        service, address = services.begin(home.path, SAMOVAR_JOURNAL=str(database))
        heard: list[str] = []
        listener = threading.Thread(target=lambda: heard.extend(service.stderr))
        listener.start()
        try:
            with home.python_beside(SAMOVAR_ENDPOINT=address) as client:
                assert client.stdout.readline() == "first\n"
                fill(filler)
                print("now", file=client.stdin, flush=True)
                assert client.stdout.readline() == "goes on\n"
                until(lambda: any("full" in line for line in heard), SECONDS)
                assert client.poll() is None
                filler.unlink()
                assert client.stdout.readline() == "done\n"
        finally:
            service.terminate()
            service.wait(SECONDS)
            listener.join(SECONDS)
        check(database)
        print(*(line for line in heard if line.startswith("samovar: journal")), sep="", end="")


def check(database: Path) -> None:
    """Every run is recorded, once, and as it was."""
    journal = open_journal(str(database))
    found: Counter[str] = Counter()
    query = RunQuery(limit=1_000)
    while True:
        page = journal.find(query)
        assert all((run.phase, run.actions) == ("succeeded", 1) for run in page.items)
        found.update(run.run for run in page.items)
        if not page.next:
            break
        query = RunQuery(limit=1_000, after=page.next)
    assert len(found) == RUNS == found.total()
    assert len(list(journal.settled(next(iter(found))))) == 1
    assert journal.find(ActionQuery(phase="failed")).items == []
    journal.close(SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
