"""The two displays, fed by hand."""

from __future__ import annotations

import io
from typing import Any

from samovar.cli.display import Lines, Rate, Screen
from samovar.model import Phase, PoolStats


def pool(**figures: Any) -> PoolStats:
    nothing = PoolStats("demo", 0, 0, 0, 4, 0, 0, 0, done=0, failed=0, cold=0, warm=0, note="")
    return nothing._replace(**figures)


def test_lines_are_written_where_something_happened() -> None:
    out = io.StringIO()
    lines = Lines(out)
    zero = lines.started
    lines.begin("r1", "demo.main")

    def at(seconds: float, **figures: Any) -> str:
        out.seek(0)
        out.truncate()
        lines.update(zero + seconds, Phase.RUNNING, [pool(**figures)])
        return out.getvalue()

    assert at(0.1, starting=2) == ""
    assert at(0.2, ready=2) == "samovar: demo: 2 replicas ready, 0.20 s\n"
    assert at(4.9, ready=2, done=400) == ""
    assert at(5.0, ready=2, active=3, done=410, cold=2, warm=408) == (
        "samovar: 5 s demo: 2 ready, 3/4 slots, 0 queued, 410 done, 2 cold/408 warm, 100 tasks/s\n"
    )
    assert at(10.1, ready=2, active=3, done=410, cold=2, warm=408) == ""
    assert "2 starting, 1 draining" in at(16.0, starting=2, draining=1, done=411)
    assert "demo: no free slot" in at(22.0, note="no free slot")


def test_the_rate_is_that_of_the_last_two_seconds() -> None:
    rate = Rate()
    assert rate.add(0.0, 0) == 0.0
    assert rate.add(1.0, 100) == 100.0
    for tenth in range(11, 60):
        shown = rate.add(tenth / 10, 100)
    assert shown == 0.0


def test_the_screen_shows_a_row_a_pool_and_gives_the_terminal_back() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    screen = Screen(out)
    screen.begin("r1", "demo.main")
    pools = [pool(ready=2, starting=1, active=3, queued=7, done=9, cold=2, warm=7, note="[b]no free slot[/b]")]
    screen.update(screen.started + 1.0, Phase.RUNNING, pools)
    screen.log("main r1", "stdout", "[red]as written\n")
    screen.report("an image [installs]")
    screen.end(screen.started + 2.0, Phase.SUCCEEDED, pools)
    screen.close()
    text = out.getvalue()
    for part in (
        "r1",
        "+1 starting",
        "3/4",
        "2/7",
        "━━━━━╌╌╌╌╌╌╌ 47 %",
        "[red]as written",
        "[b]no free slot[/b]",
        "an image [installs]",
    ):
        assert part in text
    assert "succeeded in 2.00 s" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor is hidden and shown again
