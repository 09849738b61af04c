"""The folder of bundles: what is kept is whole, what is hostile is refused, what is old goes."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from samovar.host import bundles, packing
from samovar.host.bundles import Bundles, Delivery, Refused
from samovar.host.desk import Lineage
from samovar.wire.frames import Piece

FILES = {"main.py": b"import pkg", "pkg/__init__.py": b"", "pkg/tool": b"#!/bin/sh"}


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Bundles:
    return Bundles(tmp_path / "bundles", clock)


@pytest.fixture
def begin(store: Bundles) -> Iterator[Callable[..., Delivery]]:
    """Begins a delivery, of which nothing is left after the test."""
    begun: list[Delivery] = []

    def make(digest: str = "0" * 32) -> Delivery:
        begun.append(store.begin(digest))
        return begun[-1]

    yield make
    for delivery in begun:
        delivery.discard()


Begin = Callable[..., Delivery]


def piece(path: str, data: bytes, is_executable: bool = False) -> Piece:
    return Piece(path, zlib.compress(data), is_executable)


def digest(files: dict[str, bytes]) -> str:
    manifest = {}
    for name, data in files.items():
        found = packing.hasher()
        found.update(data)
        manifest[name] = packing.File(found.hexdigest(), name.endswith("tool"))
    return packing.digest_of(manifest)


def bring(store: Bundles, files: dict[str, bytes] = FILES) -> str:
    delivery = store.begin(digest(files))
    for name, data in files.items():
        delivery.add(piece(name, data, name.endswith("tool")))
    store.complete(delivery)
    return delivery.digest


def kept(store: Bundles, name: str) -> Path:
    return Path(store.files(name))


def test_a_bundle_is_there_when_all_of_it_has_come(store: Bundles) -> None:
    announced = digest(FILES)
    assert not store.has(announced)
    assert bring(store) == announced
    assert store.has(announced)
    files = kept(store, announced)
    assert {str(path.relative_to(files)): path.read_bytes() for path in files.rglob("*") if path.is_file()} == FILES
    modes = [stat.S_IMODE((files / name).stat().st_mode) for name in ("main.py", "pkg/tool", "pkg", ".")]
    assert modes == [0o444, 0o555, 0o755, 0o755]
    assert stat.S_IMODE(files.parent.parent.stat().st_mode) == 0o700


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        store = Bundles(tmp_path / "bundles")
        files = kept(store, bring(store))
    finally:
        os.umask(before)
    assert [stat.S_IMODE((files / name).stat().st_mode) for name in ("main.py", "pkg")] == [0o444, 0o755]


def test_the_digest_is_of_paths_bytes_and_the_right_to_execute() -> None:
    others = [
        {**FILES, "main.py": b"import pkg "},
        {"main2.py": FILES["main.py"], **{name: data for name, data in FILES.items() if name != "main.py"}},
        {**FILES, "more": b""},
        {**{name: data for name, data in FILES.items() if name != "pkg/tool"}, "pkg/t": FILES["pkg/tool"]},
    ]
    assert len({digest(FILES), *map(digest, others)}) == 5
    assert digest(dict(reversed(FILES.items()))) == digest(FILES)


def test_large_files_come_in_pieces(store: Bundles, begin: Begin) -> None:
    announced = digest({"big": b"ab"})
    delivery = begin(announced)
    delivery.add(piece("big", b"a"))
    delivery.add(piece("big", b"b"))
    store.complete(delivery)
    assert (kept(store, announced) / "big").read_bytes() == b"ab"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "", ".", "..", "a\0b", "a/./b"]
)
def test_a_path_that_leads_out_is_refused(store: Bundles, begin: Begin, tmp_path: Path, path: str) -> None:
    delivery = begin()
    with pytest.raises(Refused, match="is no path of a file in a bundle"):
        delivery.add(piece(path, b"x"))
    delivery.discard()
    assert [found.name for found in tmp_path.rglob("*")] == ["bundles"]


@pytest.mark.parametrize("name", ["../x", "", "0" * 31, "G" * 32, "0" * 32 + "/"])
def test_a_name_that_is_no_digest_is_refused(store: Bundles, tmp_path: Path, name: str) -> None:
    assert not store.has(name)
    with pytest.raises(Refused, match="is no digest"):
        store.begin(name)
    assert [found.name for found in tmp_path.rglob("*")] == ["bundles"]


def test_files_that_do_not_go_together_are_refused(store: Bundles, begin: Begin) -> None:
    delivery = begin()
    delivery.add(piece("a/b", b""))
    with pytest.raises(Refused, match="'a' is a folder too"):
        delivery.add(piece("a", b""))
    delivery = begin()
    delivery.add(piece("a", b""))
    with pytest.raises(Refused, match="'a' is a file too"):
        delivery.add(piece("a/b", b""))
    delivery = begin()
    delivery.add(piece("a", b""))
    delivery.add(piece("b", b""))
    with pytest.raises(Refused, match="'a' comes twice"):
        delivery.add(piece("a", b"more"))


def test_what_is_compressed_is_bounded(store: Bundles, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "PARCEL_BYTES", 100)
    monkeypatch.setattr(bundles, "MAX_BYTES", 150)
    monkeypatch.setattr(bundles, "MAX_FILES", 2)
    delivery = begin()
    for data, why in (
        (zlib.compress(bytes(101)), "too large"),
        (zlib.compress(b"x")[:-1], "cut off"),
        (b"????", "not"),
    ):
        with pytest.raises(Refused, match=why):
            delivery.add(Piece("a", data))
    delivery.add(piece("a", bytes(100)))
    with pytest.raises(Refused, match="more than 150 bytes"):
        delivery.add(piece("b", bytes(100)))
    with pytest.raises(Refused, match="more than 2 files"):
        delivery.add(piece("c", b""))


def test_what_was_not_announced_is_refused(store: Bundles, begin: Begin) -> None:
    delivery = begin(digest({"a": b"one"}))
    delivery.add(piece("a", b"two"))
    with pytest.raises(Refused, match="changed while they were sent"):
        store.complete(delivery)
    assert not store.has(delivery.digest)


def test_what_a_killed_service_had_begun_is_gone(store: Bundles, begin: Begin, tmp_path: Path) -> None:
    delivery = begin(digest(FILES))
    delivery.add(piece("main.py", FILES["main.py"]))
    assert not store.has(delivery.digest)
    again = Bundles(tmp_path / "bundles")
    assert not again.has(delivery.digest)
    assert list((tmp_path / "bundles").iterdir()) == []


def test_of_two_that_bring_the_same_the_first_counts(store: Bundles, begin: Begin) -> None:
    announced = digest({"a": b"x"})
    first, second = begin(announced), begin(announced)
    for delivery in (first, second):
        delivery.add(piece("a", b"x"))
    store.complete(first)
    inode = (kept(store, announced) / "a").stat().st_ino
    store.complete(second)
    assert (kept(store, announced) / "a").stat().st_ino == inode
    assert not second.folder.exists()


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest"])
def test_what_is_damaged_is_not_used_by_the_next_service(store: Bundles, tmp_path: Path, damage: str) -> None:
    announced = bring(store)
    assert Bundles(tmp_path / "bundles").has(announced)
    file = kept(store, announced) / "main.py"
    if damage == "changed":
        file.unlink()
        file.write_bytes(b"")
    elif damage == "missing":
        file.unlink()
    else:
        (kept(store, announced).parent / "manifest").write_bytes(b"\x91")
    again = Bundles(tmp_path / "bundles")
    assert not again.has(announced)
    assert bring(again) == announced
    assert again.has(announced)


def test_bytecode_beside_the_files_is_no_damage(store: Bundles, tmp_path: Path) -> None:
    announced = bring(store)
    (kept(store, announced) / "__pycache__").mkdir()
    (kept(store, announced) / "__pycache__" / "main.pyc").touch()
    assert Bundles(tmp_path / "bundles").has(announced)


def test_what_nobody_has_used_for_long_goes(store: Bundles, clock: Clock) -> None:
    used, old, needed = (bring(store, {"a": name}) for name in (b"1", b"2", b"3"))
    for one in (used, old, needed):
        assert store.has(one)
    clock.now += bundles.KEEP_SECONDS + 1
    assert store.has(used)
    assert store.sweep({needed}) == [old]
    assert [store.has(one) for one in (used, old, needed)] == [True, False, True]
    clock.now += bundles.KEEP_SECONDS - 1
    assert store.sweep(set()) == []  # what was needed counts as used then


def test_of_many_the_newest_stay(store: Bundles, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "KEEP_MOST", 2)
    made = []
    for number in range(4):
        clock.now += 1
        made.append(bring(store, {"a": b"%d" % number}))
        assert store.has(made[-1])
    assert store.sweep({made[0]}) == []  # all are recent
    clock.now += 3601
    assert store.sweep({made[0]}) == [made[1]]


def test_which_code_is_old() -> None:
    files = {"a1": {"a": 1}, "a2": {"a": 2}, "a1b": {"a": 1, "b": 1}, "c": {"c": 1}}

    def differ(one: str, other: str) -> bool:
        return any(files[other].get(name, data) != data for name, data in files[one].items())

    lineage = Lineage(differ)
    assert lineage.comes("here", "a1") == set()
    assert lineage.comes("here", "a1b") == set()  # it has loaded more, and nothing else
    assert lineage.comes("here", "c") == set()
    assert lineage.comes("there", "a1") == set()
    assert lineage.comes("here", "a2") == {"a1b"}  # the other one is current there
    assert lineage.comes("there", "a2") == {"a1"}
    assert lineage.comes("here", "a1") == set()  # and so is this one
    assert lineage.comes("there", "a1") == {"a2"}
