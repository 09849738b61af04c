"""Anything may be killed at any step of the protocol: the run ends as it would have, and is recorded once.

Who is killed, at which frame or commit, and whether before, in the middle of it or after, stands in the name of each
test; the seed chooses the how manieth. In a storm they die at any moment, several times.
``SAMOVAR_CHAOS_SEEDS=20`` tries more seeds.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .forge import Forge
from .history import NODES, expected
from .world import world

SEEDS = int(os.environ.get("SAMOVAR_CHAOS_SEEDS", "1"))


class Step(NamedTuple):
    """A point of the protocol. ``last``: it comes at least so often in every run. ``how``: "watched", a second client
    attaches to the run; "detached", the first one leaves it to the service and others attach.
    """

    role: str
    act: str
    frame: str
    when: str
    last: int = 1
    how: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.role, self.when, self.act, self.frame, self.how)))


STEPS = [
    Step("replica", "send", "Hello", "after"),
    Step("replica", "send", "Ready", "before"),
    Step("replica", "send", "Ready", "after"),
    Step("replica", "receive", "Run", "before", 10),
    Step("replica", "send", "Submit", "before", NODES // 2),
    Step("replica", "send", "Submit", "half"),
    Step("replica", "send", "Submit", "after"),
    Step("replica", "send", "Done", "before", 10),
    Step("replica", "send", "Done", "half", 10),
    Step("replica", "send", "Done", "after", 10),
    Step("replica", "receive", "Answer", "before", 3),
    Step("replica", "receive", "Answer", "after", 3),
    Step("service", "receive", "Start", "before"),
    Step("service", "receive", "Start", "after"),
    Step("service", "receive", "Hello", "before", 2),
    Step("service", "receive", "Ready", "after", 2),
    Step("service", "send", "Run", "before", NODES),
    Step("service", "send", "Run", "half", NODES),
    Step("service", "send", "Run", "after", NODES),
    Step("service", "receive", "Submit", "before", NODES),
    Step("service", "receive", "Submit", "after", NODES),
    Step("service", "receive", "Done", "before", NODES),
    Step("service", "receive", "Done", "after", NODES),
    Step("service", "receive", "Failed", "after", 3),
    Step("service", "send", "Answer", "before", NODES // 2),
    Step("service", "send", "Answer", "half", NODES // 2),
    Step("service", "send", "Answer", "after", NODES // 2),
    Step("service", "commit", "RunStarted", "before"),
    Step("service", "commit", "RunStarted", "after"),
    Step("service", "commit", "Settled", "before", NODES // 2),
    Step("service", "commit", "Settled", "after", NODES // 2),
    Step("service", "commit", "RunEnded", "before"),
    Step("service", "commit", "RunEnded", "after"),
    Step("service", "send", "Ended", "before"),
    Step("service", "send", "Ended", "half"),
    Step("service", "send", "Ended", "after"),
    Step("client", "send", "Join", "before"),
    Step("client", "receive", "Joined", "before"),
    Step("client", "send", "Offer", "after"),
    Step("client", "send", "Parcel", "half"),
    Step("client", "receive", "Kept", "before"),
    Step("client", "send", "Start", "before"),
    Step("client", "send", "Start", "half"),
    Step("client", "send", "Start", "after"),
    Step("client", "receive", "Running", "before"),
    Step("client", "receive", "Running", "after"),
    Step("client", "receive", "Ended", "before"),
    Step("client", "receive", "Ended", "after"),
    Step("watcher", "send", "Attach", "before", how="watched"),
    Step("watcher", "send", "Attach", "after", how="watched"),
    Step("watcher", "receive", "Attached", "before", how="watched"),
    Step("watcher", "receive", "Ended", "before", how="watched"),
    Step("service", "receive", "Attach", "before", how="watched"),
    Step("service", "send", "Attached", "before", how="watched"),
    Step("service", "send", "Attached", "after", how="watched"),
    Step("service", "receive", "Start", "before", how="detached"),
    Step("service", "receive", "Start", "after", how="detached"),
    Step("service", "receive", "Ask", "before", how="detached"),
    Step("service", "receive", "Find", "before", 2, how="detached"),
    Step("service", "commit", "RunStarted", "before", how="detached"),
    Step("service", "commit", "RunStarted", "after", how="detached"),
    Step("client", "send", "Start", "after", how="detached"),
]


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    made = Forge()
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_killed_at_a_step(step: Step, seed: int, forge: Forge, tmp_path: Path) -> None:
    number = random.Random(f"{step} {seed}").randint(1, step.last)
    point = f"{step.role}:{step.act}:{step.frame}:{number}:{step.when}"
    print(f"point {point}, seed {seed}")
    with world(forge, tmp_path, point, step.how) as made:
        made.live()
    if step.role in ("service", "replica"):
        assert made.failed == [], made.told()  # a client that waits outlasts whoever dies


@pytest.mark.parametrize("seed", range(3 * SEEDS))
def test_a_storm(seed: int, forge: Forge, tmp_path: Path) -> None:
    dice = random.Random(seed)
    with world(forge, tmp_path) as made:
        for _ in range(6):
            time.sleep(dice.random() * 0.4)  # no event: the moment is the point
            who = dice.choice(["service", "replica", "replica", "client"])
            print(f"seed {seed}: {who} is killed")
            made.kill(who, dice)
            made.revive()
        made.live()


def test_the_model_is_that_of_the_program(forge: Forge, tmp_path: Path) -> None:
    """Without a kill it comes to the same; what the model says is not made up."""
    with world(forge, tmp_path) as made:
        made.live()
    assert made.failed == []
    assert len(expected()) == 1 + NODES + 3 * (NODES // 5 - 1)
