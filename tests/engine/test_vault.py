"""Large values: handed on, held, kept on a disk before they are named, and fetched again."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from samovar.engine import vault as module
from samovar.engine.vault import ORPHANED, Cellar, Vault
from samovar.entries import RunStarted, Settled
from samovar.errors import JournalAwayError, JournalError
from samovar.model import Environment, Phase, TaskSpec

from .test_handshake import FakeKeeper

TASK = TaskSpec("e.f", "m", "f", Environment("e"))


def naming(*names: str) -> Settled:
    return Settled("r", "a", "", "e.f", Phase.SUCCEEDED, 0.0, 1.0, result_blobs=names)


@pytest.fixture
def cellar(tmp_path: Path) -> Cellar:
    return Cellar(lambda: tmp_path / "state" / "blobs")


@pytest.fixture
def vault(tmp_path: Path, cellar: Cellar) -> Vault:
    folder = tmp_path / "tmpfs"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / name).write_text(name)
    return Vault(FakeKeeper(), str(folder), cellar)  # type: ignore[arg-type]


def read(vault: Vault, names: tuple[str, ...] | None) -> list[str]:
    assert names is not None
    return [Path(vault.folder, name).read_text() for name in names]


def test_what_is_held_outlives_its_consumer_until_it_is_released(vault: Vault) -> None:
    assert vault.size(("one", "two")) == 6
    vault.hold(("one", "two"))
    vault.discard(("one", "two"))
    found: list[Any] = []
    vault.fetch(("two", "one"), found.append)
    assert read(vault, found[0]) == ["two", "one"]
    assert not {"one", "two"} & set(found[0]), "a consumer has names of its own"
    vault.release(("one", "two"))
    assert vault.copies(("two", "one")) is None
    assert sorted(os.listdir(vault.folder)) == sorted(found[0])
    assert vault.size(("one",)) == 0


def test_of_values_that_are_not_all_there_none_is_fetched(vault: Vault) -> None:
    vault.hold(("one", "gone"))
    assert vault.copies(("one", "gone")) is None
    assert sorted(os.listdir(vault.folder)) == ["one", "one.held", "two"]


def test_what_the_journal_names_is_on_the_disk_before_it_is_named(vault: Vault, cellar: Cellar) -> None:
    vault.hold_for_journal(("one",))
    vault.hold_for_journal(("two",))
    vault.discard(("one", "two"))
    inputs = RunStarted("r", "e", "root", TASK, 0.0, input_blobs=("two",))
    cellar.store([inputs, naming("one", "unheld")])
    cellar.store([inputs, naming("one")])
    assert sorted(os.listdir(cellar.folder)) == ["one", "two"]
    assert os.listdir(vault.folder) == []
    assert read(vault, vault.copies(("one", "two"))) == ["one", "two"]


def test_a_value_that_is_gone_is_not_named(vault: Vault, cellar: Cellar) -> None:
    vault.hold_for_journal(("never",))
    with pytest.raises(JournalError, match="large value never is gone") as found:
        cellar.store([naming("never")])
    assert not isinstance(found.value, JournalAwayError)


def test_a_full_disk_is_waited_for(vault: Vault, cellar: Cellar, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.hold_for_journal(("one",))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(module, "duplicate", full)
        with pytest.raises(JournalAwayError, match=r"cannot be kept in .*: No space left on device; make room there"):
            cellar.store([naming("one")])
    cellar.store([naming("one")])
    assert os.listdir(cellar.folder) == ["one"]


def test_a_name_leads_to_nowhere_else(vault: Vault, cellar: Cellar, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    Path(vault.folder, "link").symlink_to(tmp_path / "secret")
    vault.hold_for_journal(("../secret", "link"))
    for name in ("../secret", "link"):
        with pytest.raises(JournalError):
            cellar.store([naming(name)])
        assert vault.copies((name,)) is None
    assert not (tmp_path / "state" / "secret").exists()


def test_the_file_of_another_user_is_copied_first(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.stat(os.path.join(vault.folder, "one")).st_ino
    link = os.link

    def guarded(source: str, target: str, **options: Any) -> None:
        if os.stat(source).st_ino == before:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        link(source, target, **options)

    monkeypatch.setattr(os, "link", guarded)
    vault.hold(("one",))
    assert read(vault, vault.copies(("one",))) == ["one"]


def test_adopted_values_are_handed_on_when_they_are(vault: Vault) -> None:
    before = os.stat(os.path.join(vault.folder, "one")).st_ino
    done: list[str] = []
    vault.adopt(("one", "gone"), lambda: done.append("then"))
    assert done == ["then"]
    assert os.stat(os.path.join(vault.folder, "one")).st_ino != before


def test_only_old_files_that_nothing_waits_for_may_be_orphans(vault: Vault, cellar: Cellar) -> None:
    assert cellar.names() == []
    vault.hold_for_journal(("one",))
    cellar.folder.mkdir(parents=True)
    old = time.time() - ORPHANED - 1
    for name in ("one", "orphan", "young"):
        (cellar.folder / name).touch()
        if name != "young":
            os.utime(cellar.folder / name, (old, old))
    assert cellar.names() == ["orphan"]
    cellar.sweep(["orphan", "gone", "../../tmpfs/one"])
    assert sorted(os.listdir(cellar.folder)) == ["young"]
    assert "one" in os.listdir(vault.folder)
