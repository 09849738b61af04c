"""The end of a service: one deadline for all of it, whatever hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from samovar.host import ending
from samovar.host.ending import Ending
from samovar.host.service import _close

SECONDS = 30


class Part:
    """A station, an office, an entrance or a memory that notes what it is asked, and may hang."""

    turn = threading.Lock()

    def __init__(self, noted: list[str], name: str, hangs: threading.Event | None = None) -> None:
        self.engine = self
        self._noted = noted
        self._name = name
        self._hangs = hangs

    def __getattr__(self, verb: str) -> Callable[..., None]:
        def note(*_: object) -> None:
            self._noted.append(f"{self._name} {verb}")
            if verb == "close" and self._hangs is not None:
                assert self._hangs.wait(SECONDS)

        return note


PARTS = ("station", "office", "entrance", "memory")
WHOLE = [
    "entrance shut",
    "station fall_silent",
    "memory flush",
    "station close",
    "office close",
    "entrance close",
    "memory close",
]


@pytest.mark.parametrize("who", ["", *PARTS])
def test_every_step_is_taken_whichever_hangs(monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    monkeypatch.setattr(ending, "_MOMENT", 0.05)
    noted: list[str] = []
    said: list[str] = []
    over = threading.Event()
    parts: list[Any] = [Part(noted, name, over if name == who else None) for name in PARTS]
    made = Ending(said.append, rest=0.5)
    _close(made, *parts)
    over.set()
    assert noted == WHOLE
    assert made.gave_up == bool(who)
    assert ["not done after" in line for line in said] == [True] * bool(who)
    made.close()


def test_a_step_is_given_its_share_of_what_is_left() -> None:
    given: list[float] = []
    made = Ending(print, rest=100.0)
    made.step("first", given.append, 0.4)
    made.step("second", given.append)
    assert given[0] == pytest.approx(40.0)
    assert 40.0 < given[1] <= 100.0  # what the first did not need is the second's
    made.close()


def test_an_error_of_a_step_keeps_no_other_from_being_taken() -> None:
    taken: list[float] = []
    made = Ending(print)

    def fails(_: float) -> None:
        raise OSError("no room")

    made.step("first", fails)
    made.step("second", taken.append)
    assert len(taken) == 1
    with pytest.raises(OSError, match="no room"):
        made.finish()
    made.close()


def test_a_client_asks_with_a_grace_of_its_own() -> None:
    made = Ending(print)
    threading.Thread(target=made.ask, args=(3.0,)).start()
    assert made.wait() == 3.0
    made.close()


SIGNALLED = """
import sys, threading
from samovar.host.ending import Ending
made = Ending(lambda line: print(line, flush=True))
made.listen()
print("ready", flush=True)
print(f"grace {made.wait():g}", flush=True)
made.until(lambda: False, 600)
print("hurries", flush=True)
made.step("something", lambda seconds: threading.Event().wait())
made.finish()
"""


def test_a_second_signal_waits_for_nothing_and_a_step_that_hangs_keeps_no_process() -> None:
    with subprocess.Popen([sys.executable, "-c", SIGNALLED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in ("ready\n", "grace 10\n"):
            assert process.stdout.readline() == line
            os.kill(process.pid, signal.SIGTERM)
        assert process.stdout.readline() == "hurries\n"
        assert process.stdout.readline().startswith("something: not done after")
        assert process.stdout.readline() == "ended\n"
        assert process.wait(SECONDS) == 1
