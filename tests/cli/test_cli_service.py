"""``samovar start`` beside a service that runs: what that one does not do as asked."""

from __future__ import annotations

import socket

import pytest

from samovar.cli.service import otherwise
from samovar.host.entrance import AS_SET, Wanted
from samovar.wire.frames import Joined

PIN = "0" * 64
HOST = socket.gethostname()
BARE = Joined(7, "", "auto", 0.0)
OPEN = Joined(7, "", "process", 0.0, f"samovar://192.0.2.1:7266#{PIN}", "http://127.0.0.1:7870")
WIDE = Joined(7, "", "process", 0.0, f"samovar://{HOST}:7266", f"http://{HOST}:80")


@pytest.mark.parametrize(
    ("about", "driver", "web", "wanted"),
    [
        (BARE, "", "", AS_SET),
        (OPEN, "", "", AS_SET),
        (BARE, "auto", "none", AS_SET),
        (OPEN, "process", "127.0.0.1:7870", Wanted("192.0.2.1:7266")),
        (OPEN, "process", "127.0.0.1:0", Wanted("192.0.2.1:0")),
        (OPEN, "", "127.0.0.1", Wanted("192.0.2.1")),
        (WIDE, "", "0.0.0.0:80", Wanted("0.0.0.0:7266", "own.pem", "own.key")),
    ],
)
def test_a_service_that_is_as_asked(about: Joined, driver: str, web: str, wanted: Wanted) -> None:
    assert otherwise(about, driver, web, wanted) == []


@pytest.mark.parametrize(
    ("about", "driver", "web", "wanted", "unmet"),
    [
        (BARE, "container", "", AS_SET, "its driver is auto, not container"),
        (BARE, "", "", Wanted("192.0.2.1:7266"), "it does not listen for other hosts"),
        (
            OPEN,
            "",
            "",
            Wanted("192.0.2.1:7267"),
            "it listens for other hosts at 192.0.2.1:7266, not at 192.0.2.1:7267",
        ),
        (OPEN, "", "", Wanted("0.0.0.0:7266"), "it listens for other hosts at 192.0.2.1:7266, not at 0.0.0.0:7266"),
        (OPEN, "", "", Wanted("", "own.pem", "own.key"), "its certificate is one of its own, not own.pem"),
        (BARE, "", "127.0.0.1:0", AS_SET, "it has no dashboard"),
        (OPEN, "", "none", AS_SET, "it has a dashboard at http://127.0.0.1:7870"),
        (OPEN, "", "127.0.0.1:7871", AS_SET, "its dashboard is at http://127.0.0.1:7870, not at 127.0.0.1:7871"),
        (OPEN, "", "0.0.0.0", AS_SET, "its dashboard is at http://127.0.0.1:7870, not at 0.0.0.0:7870"),
    ],
)
def test_a_service_that_is_not_as_asked(about: Joined, driver: str, web: str, wanted: Wanted, unmet: str) -> None:
    assert otherwise(about, driver, web, wanted) == [unmet]


def test_all_that_is_not_as_asked_is_said() -> None:
    assert len(otherwise(OPEN, "auto", "none", Wanted("192.0.2.2", "own.pem", "own.key"))) == 4
