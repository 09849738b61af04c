"""What a replica sees of its tasks though they do not tell it: lines past Python, and a loop that does not turn."""

from __future__ import annotations

from pathlib import Path

import pytest

import samovar
from samovar.host import Host
from samovar.host.embedded import EmbeddedHost
from samovar.host.remote import RemoteHost
from samovar.model import Blockage

from . import noisy
from .conftest import Seen, until


def lines_of(seen: Seen, stream: str, label: str) -> list[str]:
    return seen.text(stream, label).split("\n")


def test_what_is_written_past_python_is_the_tasks_own(seen: Seen) -> None:
    samovar.run(noisy.writes, "mine").wait()
    wanted = ["by os.write", "to 2", "by a subprocess", "of its stderr", "by printf", "without an end"]
    assert lines_of(seen, "output", "noisy.writes ") == [f"mine {what}" for what in wanted]


def test_each_of_many_in_a_row_has_its_own(seen: Seen) -> None:
    for number in range(10):
        run = samovar.run(noisy.writes_in_a_thread, f"n{number}")
        run.wait()
        label = f"single.writes_in_a_thread {run.name}-1"
        assert seen.text("output", label) == f"n{number} in a thread\n"
        assert seen.text("stdout", label) == f"n{number} printed by a thread\n"


def test_a_parent_that_waits_is_not_at_work(seen: Seen) -> None:
    samovar.run(noisy.calls_writes, "child's").wait()
    assert lines_of(seen, "output", "noisy.writes ")[0] == "child's by os.write"
    assert not seen.text("output", "noisy.calls_writes")


def test_what_one_of_several_has_written_is_said_to_be_shared(seen: Seen, tmp_path: Path) -> None:
    samovar.run(noisy.writes_beside, str(tmp_path / "go")).wait()
    shared = [(label, text) for label, stream, text in seen.logs if stream == "shared"]
    assert "".join(text for _, text in shared).split("\n")[:2] == ["shared by os.write", "shared to 2"]
    assert all("noisy@" in label and label.endswith(", shared") for label, _ in shared)
    assert not seen.text("output")


def test_it_is_seen_while_the_task_runs(seen: Seen, tmp_path: Path) -> None:
    run = samovar.run(noisy.says_and_waits, "early", str(tmp_path / "go"))
    until(lambda: seen.text("output", "noisy.says_and_waits") == "early\n")
    (tmp_path / "go").touch()
    run.wait()


def blockages(host: Host) -> list[Blockage]:
    if isinstance(host, EmbeddedHost):
        with host.turn:
            replicas = host.engine.survey.replicas()
    else:
        assert isinstance(host, RemoteHost)
        replicas = host.standing()[1]
    return [replica.blockage for replica in replicas if replica.blockage is not None]


@pytest.mark.parametrize("task", [noisy.blocks, noisy.blocks_in_a_helper])
def test_a_task_that_blocks_its_loop_is_named_once(
    host: Host, seen: Seen, tmp_path: Path, task: samovar.Task[[str], None]
) -> None:
    run = samovar.run(task, str(tmp_path / "go"))
    until(lambda: blockages(host))
    (blockage,) = blockages(host)
    assert blockage.task == task.spec.name
    assert blockage.label == f"{task.spec.name} {run.name}-1"
    assert blockage.seconds >= 1.0
    stack = blockage.stack.split("\n")
    assert "noisy.py" in stack[0], "it begins with the user's own code"
    assert any("deep_inside" in line for line in stack)
    assert "in wait_for" in stack[-2]
    until(lambda: blockages(host)[0].seconds > 2.0)
    notes = [pool.note for pool in host.stats() if pool.name.startswith("noisy@")]
    assert any(f"task {task.spec.name} has blocked the event loop of noisy@" in note for note in notes)
    (tmp_path / "go").touch()
    run.wait()
    until(lambda: not blockages(host))
    said = [line for line in seen.lines if "has blocked its event loop" in line]
    assert len(said) == 1
    assert said[0].startswith(f"task {task.spec.name} ({task.spec.name} {run.name}-1) on replica noisy@")
    assert "await what takes long" in said[0]
    assert "deep_inside" in said[0]
