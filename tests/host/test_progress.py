"""The line of a script on a terminal: shown when work takes long, out of the way of what is said, gone at the end."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from samovar.host import progress
from samovar.host.progress import PATIENCE, Progress, line
from samovar.model import PoolStats

ROOT = Path(__file__).parents[2]


def pool(name: str = "p", **more: int | str) -> PoolStats:
    base = PoolStats(name, 0, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, "")
    return base._replace(**more)  # type: ignore[arg-type]


class Worker:
    def __init__(self, *pools: PoolStats) -> None:
        self.is_at_work = True
        self.pools = list(pools)

    def stats(self) -> list[PoolStats]:
        if not self.pools:
            raise TimeoutError("too busy")
        return self.pools


class Terminal(io.StringIO):
    """What a person sees: a carriage return goes back to the start of the line."""

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        seen = []
        for written in self.getvalue().split("\n"):
            text = ""
            for part in written.split("\r"):
                text = part + text[len(part) :]
            seen.append(text.rstrip())
        return seen


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def test_work_that_is_soon_done_shows_nothing(terminal: Terminal) -> None:
    shown, worker = Progress(terminal), Worker(pool(active=1))
    shown.look(worker, 0.0)
    shown.look(worker, PATIENCE / 2)
    worker.is_at_work = False
    shown.look(worker, 5.0)
    assert terminal.getvalue() == ""


def test_the_line_counts_and_goes(terminal: Terminal) -> None:
    shown, worker = Progress(terminal), Worker(pool(queued=9, active=1, done=100))
    shown.look(worker, 0.0)
    worker.pools = [pool(queued=5, active=1, done=104, failed=0)]
    shown.look(worker, 2.0)
    assert terminal.lines == ["samovar: 2 s: 4 of 10 so far, 1 of 4 slots at work, 2.0/s"]
    worker.is_at_work = False
    shown.look(worker, 3.0)
    assert terminal.lines == [""]


def test_what_is_said_stands_above_it(terminal: Terminal) -> None:
    shown, worker = Progress(terminal), Worker(pool(queued=9))
    shown.look(worker, 0.0)
    shown.look(worker, 2.0)
    shown.say("image: installing 3 packages")
    shown.log("e.f r1-1", "stdout", "one\ntwo\n")
    shown.look(worker, 3.0)
    assert terminal.lines == [
        "samovar: image: installing 3 packages",
        "[e.f r1-1] one",
        "[e.f r1-1] two",
        "samovar: 3 s: 9 to do, 0 of 4 slots at work",
    ]
    shown.close()
    assert terminal.lines[-1] == ""
    shown.look(worker, 4.0)
    assert terminal.lines[-1] == "", "nothing is shown when it is over"


def test_a_service_that_does_not_answer_is_no_trouble(terminal: Terminal) -> None:
    shown, worker = Progress(terminal), Worker()
    shown.look(worker, 0.0)
    shown.look(worker, 2.0)
    assert terminal.getvalue() == ""


def test_starts_failures_and_what_is_waited_for_are_told() -> None:
    pools = [pool("a", starting=2, ready=0, slots=0, queued=3, note="replica starting"), pool("b", failed=1)]
    text = line(pools, {}, 4.0)
    assert text == (
        "samovar: 4 s: 1 of 4 so far, 1 failed, 0 of 4 slots at work, 2 replicas start, 0.2/s (replica starting)"
    )


def test_a_notebook_is_a_place_for_it_and_a_pipe_is_not(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> None:
    assert progress.suits(terminal)
    assert not progress.suits(io.StringIO())
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert progress.suits(io.StringIO())


SCRIPT = """
import asyncio, pathlib, sys
import samovar
env = samovar.TaskEnvironment("slow", reusable=samovar.ReusePolicy(replicas=1))
@env.task
async def wait(path: str) -> int:
    while not pathlib.Path(path).exists():
        await asyncio.sleep(0.01)
    return 7
if __name__ == "__main__":
    print(samovar.run(wait, sys.argv[1]).result())
"""


@pytest.mark.parametrize("wanted", ["auto", "off"])
def test_a_script_on_a_real_terminal(tmp_path: Path, wanted: str) -> None:
    script, go = tmp_path / "script.py", tmp_path / "go"
    script.write_text(SCRIPT)
    ours, theirs = pty.openpty()
    if wanted == "off":
        go.touch()
    process = subprocess.Popen(
        [sys.executable, str(script), str(go)],
        env={**os.environ, "SAMOVAR_PROGRESS": wanted},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while wanted == "auto" and b"1 of 1 slots at work" not in said:
            said += os.read(ours, 4096)
        go.touch()
        printed, _ = process.communicate(timeout=30)
        while True:
            said += os.read(ours, 4096)
    except OSError:  # the other end is closed
        pass
    finally:
        process.kill()
        os.close(ours)
    assert (printed, process.returncode) == (b"7\n", 0)
    seen = Terminal(said.decode().replace("\r\n", "\n"))
    assert [text for text in seen.lines if text] == []
