"""Files of large values: written, mapped, consumed, and used again where they are nobody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from samovar.wire import blobs as module
from samovar.wire.blobs import Blobs

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
