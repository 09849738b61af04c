"""Whole calls on containers that go well: values, lines and secrets on their way, and where they do not get."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from samovar.drivers.container_spec import LOCK

from . import program
from .hosts import SECONDS, until

BIG = 4_000_000  # numbers: 32 MB, which travel as a file


@pytest.fixture
def engine(container_engine, host):
    """The engine alone: the containers of the module's host stay from test to test."""
    return container_engine


def test_a_container_without_a_network_serves(host):
    assert host.result(program.interfaces) == ["lo"]


def test_without_reuse_each_execution_has_a_container(engine, host):
    found = host.result(program.children, count=6)
    assert len(set(found)) == 6
    until(lambda: not engine.of(program.fresh.name))


def test_an_idle_pool_has_no_containers_and_the_next_call_starts_one(engine, host):
    first = host.result(program.quick_where)
    until(lambda: not engine.of(program.quick.name))
    assert host.result(program.quick_where) != first


def test_arrays_to_a_container_and_back(host):
    sent = np.arange(BIG, dtype=np.float64)
    back = host.result(program.doubled, array=sent)
    assert np.array_equal(back, sent * 2)
    again = host.result(program.doubled, array=back)  # the script may write it over the file of a result
    assert np.array_equal(again, sent * 4)
    back[0] = 7  # it is the script's own
    assert host.result(program.summed, array=sent)[0] == sent.sum() + BIG
    assert sent[0] == 0


def test_the_first_value_of_a_script_may_be_large(hosting):
    umask = os.umask(0o077)
    try:
        with hosting() as host:
            assert host.result(program.summed, array=np.ones(BIG))[0] == 2 * BIG
    finally:
        os.umask(umask)


def test_an_array_from_container_to_container(host):
    total, here, there = host.result(program.passed_on, size=BIG)
    assert total == 3 * BIG
    assert here != there


def test_no_array_stays_when_it_was_read(host):
    kept = large_files(host)  # the script keeps a few, to write over
    host.result(program.passed_on, size=BIG)
    until(lambda: large_files(host) == kept)


def test_results_that_are_kept_are_not_memory_of_the_container_that_made_them(host):
    results = [host.result(program.ones, size=BIG) for _ in range(10)]  # 320 MB, of a container that may have 200
    assert len({container for _, container in results}) == 1
    waiting = [host.start(program.ones, size=BIG) for _ in range(10)]
    assert {run.wait(SECONDS)[1] for run in waiting} == {results[0][1]}


def large_files(host):
    found = set()
    for path in Path(host.embedded.blobs.folder).iterdir():
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > BIG:
                found.add(path.name)
    return found


def test_lines_belong_to_the_execution_that_wrote_them(host):
    names = ("ann", "bob", "cid")
    for run in [host.start(program.chatter, name=name) for name in names]:
        run.wait(SECONDS)
    until(lambda: host.text().count("tail") == len(names))
    spoken = {label: host.text("stdout", label) for label, _, _ in host.seen}
    assert sorted(spoken.values()) == [f"{name} 0\n{name} 1\n{name} 2\n{name} tail" for name in names]
    for label, text in spoken.items():
        name = text.split()[0]
        assert [line for line in host.text("stderr", label).splitlines() if f"log {name}" in line]
        assert Counter(host.text("stderr", label).split())["log"] == 3


def test_secrets_reach_the_task_and_nothing_else(engine, host, monkeypatch, tmp_path):
    word, content = "open-sesame-4711", "of-the-door-0815"
    monkeypatch.setenv("WORD", word)
    monkeypatch.setenv("SAMOVAR_SECRETS_DIR", str(tmp_path))
    (tmp_path / "door").mkdir()
    (tmp_path / "door" / "file").write_text(content)
    assert host.result(program.digests) == (
        program.digest(word.encode()),
        program.digest(content.encode()),
        "/etc/door/file",
    )
    (name,) = engine.of("trusted")
    shown = engine.cli("inspect", name) + engine.cli("ps", "--all", "--format={{json .}}") + repr(host.seen)
    shown += engine.events()
    lock = engine.label(name, LOCK)
    folders = [host.embedded.station.folder, host.embedded.blobs.folder, os.path.dirname(lock)]
    files = [path for folder in folders for path in Path(folder).rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"lock", "boot"}
    shown += "".join(path.read_text(errors="replace") for path in files if others_can_read(path))
    for secret in (word, content):
        assert secret not in shown


def others_can_read(path: Path) -> bool:
    """Whether anybody on this machine can, who is neither this user nor in the file's group."""
    above = [folder.stat().st_mode & 0o001 for folder in path.parents]
    return bool(path.stat().st_mode & os.R_OK) and all(above)
