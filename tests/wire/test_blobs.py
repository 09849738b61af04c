"""Files of large values: written, mapped, consumed, and used again where they are nobody else's."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from samovar.wire import blobs as module
from samovar.wire.blobs import Blobs, adopt, duplicate, share

A, B = b"a" * 10_000, b"b" * 5_000


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(str(tmp_path), spares=True)


def files(blobs: Blobs) -> dict[str, int]:
    return {name: os.stat(os.path.join(blobs.folder, name)).st_ino for name in os.listdir(blobs.folder)}


def test_a_consumed_blob_is_gone_at_once_and_its_map_stays(tmp_path: Path) -> None:
    plain = Blobs(str(tmp_path))
    mapped = plain.map(plain.write(memoryview(A)), consume=True)
    assert files(plain) == {}
    assert mapped[:] == A


def test_of_a_blob_that_cannot_be_written_nothing_stays(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left on device"):
        blobs.write(memoryview(A))
    assert files(blobs) == {}


def test_the_group_reads_a_blob_whatever_the_umask(blobs: Blobs) -> None:
    umask = os.umask(0o077)
    try:
        name = blobs.write(memoryview(A))
    finally:
        os.umask(umask)
    assert stat.S_IMODE(os.stat(os.path.join(blobs.folder, name)).st_mode) == 0o640


def test_what_nobody_will_read_is_removed_and_may_be_gone_before(blobs: Blobs) -> None:
    first, second = blobs.write(memoryview(A)), blobs.write(memoryview(B))
    blobs.remove((first,))
    blobs.remove((first, second))
    assert files(blobs) == {}


def test_a_blob_that_is_not_consumed_stays(blobs: Blobs) -> None:
    name = blobs.write(memoryview(A))
    mapped = blobs.map(name, consume=False)
    del mapped
    assert list(files(blobs)) == [name]
    assert blobs.write(memoryview(B)) != name
    assert len(files(blobs)) == 2


def test_a_consumed_file_is_written_again_when_its_map_is_gone(blobs: Blobs) -> None:
    first = blobs.write(memoryview(A))
    inode = files(blobs)[first]
    mapped = blobs.map(first, consume=True)
    second = blobs.write(memoryview(B))
    assert files(blobs)[second] != inode
    assert mapped[:] == A
    del mapped
    third = blobs.write(memoryview(B))
    assert files(blobs) == {second: files(blobs)[second], third: inode}
    assert blobs.map(third, consume=False)[:] == B


def test_a_view_keeps_the_file_from_being_written(blobs: Blobs) -> None:
    view = memoryview(blobs.map(blobs.write(memoryview(A)), consume=True))[10:20]
    blobs.write(memoryview(B))
    assert bytes(view) == A[10:20]


def test_what_a_child_may_map_is_never_written_again(blobs: Blobs) -> None:
    spare = blobs.map(blobs.write(memoryview(A)), consume=True)
    held = blobs.map(blobs.write(memoryview(A)), consume=True)
    del spare
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert len(files(blobs)) == 1
    del held
    assert files(blobs) == {}


def test_only_so_many_bytes_are_kept(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", len(A))
    maps = [blobs.map(blobs.write(memoryview(A)), consume=True) for _ in range(3)]
    maps.clear()
    assert len(files(blobs)) == 1


def test_a_spare_that_has_gone_is_no_trouble(blobs: Blobs) -> None:
    mapped = blobs.map(blobs.write(memoryview(A)), consume=True)
    del mapped
    for name in files(blobs):
        os.unlink(os.path.join(blobs.folder, name))
    name = blobs.write(memoryview(B))
    assert list(files(blobs)) == [name]


def test_an_adopted_blob_is_another_file_of_the_same_name(blobs: Blobs) -> None:
    name = blobs.write(memoryview(A))
    inode = files(blobs)[name]
    adopt(blobs.folder, name)
    assert list(files(blobs)) == [name]
    assert files(blobs)[name] != inode
    assert blobs.map(name, consume=False)[:] == A


def test_a_blob_that_cannot_be_adopted_is_left_as_it_was(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    name = blobs.write(memoryview(A))
    before = files(blobs)
    monkeypatch.setattr(os, "sendfile", full)
    with pytest.raises(OSError, match="No space left on device"):
        adopt(blobs.folder, name)
    assert files(blobs) == before


def test_a_link_in_the_place_of_a_blob_is_not_followed(blobs: Blobs, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "file"
    elsewhere.write_bytes(A)
    (Path(blobs.folder) / "name").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"):
        adopt(blobs.folder, "name")
    assert list(files(blobs)) == ["name"]


def test_a_shared_blob_lives_for_itself(tmp_path: Path) -> None:
    plain = Blobs(str(tmp_path))
    name = plain.write(memoryview(A))
    shared = share(plain.folder, f"../{name}")
    assert plain.map(name, consume=True)[:] == A
    assert plain.map(shared, consume=True)[:] == A
    assert files(plain) == {}
    with pytest.raises(FileNotFoundError):
        share(plain.folder, name)


def test_a_file_that_has_another_name_is_not_written_over(blobs: Blobs, tmp_path: Path) -> None:
    name = blobs.write(memoryview(A))
    os.link(tmp_path / name, tmp_path / "kept")
    mapped = blobs.map(name, consume=True)
    del mapped
    blobs.write(memoryview(B))
    assert (tmp_path / "kept").read_bytes() == A
    assert name not in files(blobs)


def test_a_durable_copy_is_on_the_disk_before_it_has_its_name(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = blobs.write(memoryview(A))
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append((tmp_path / "copy").exists()))
    (tmp_path / "copy.copy").write_bytes(b"half of one, by a process that died")
    duplicate(str(tmp_path / name), str(tmp_path / "copy"), durable=True)
    assert synced == [False]
    assert (tmp_path / "copy").read_bytes() == A
    assert sorted(files(blobs)) == sorted([name, "copy"])
