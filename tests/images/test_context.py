"""Which files travel to a builder, and the digests that name them."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from samovar.errors import ImageBuildError
from samovar.images.context import Context, digest, ignoring


@pytest.fixture
def folder(tmp_path) -> Path:
    found = tmp_path / "src"
    (found / "sub").mkdir(parents=True)
    (found / "a.py").write_text("a")
    (found / "sub" / "run.sh").write_text("b")
    (found / "sub" / "run.sh").chmod(0o700)
    (found / "link").symlink_to("a.py")
    return found


def archive(context: Context) -> dict[str, tarfile.TarInfo]:
    file = io.BytesIO()
    context.write(file)
    file.seek(0)
    with tarfile.open(fileobj=file) as found:
        return {member.name: member for member in found.getmembers()}


CHANGES = {
    "content": lambda folder: (folder / "a.py").write_text("c"),
    "name": lambda folder: (folder / "a.py").rename(folder / "b.py"),
    "program": lambda folder: (folder / "a.py").chmod(0o755),
    "new file": lambda folder: (folder / "sub" / "new").touch(),
    "new folder": lambda folder: (folder / "new").mkdir(),
    "target of a link": lambda folder: ((folder / "link").unlink(), (folder / "link").symlink_to("sub")),
    "file in place of a link": lambda folder: ((folder / "link").unlink(), (folder / "link").write_text("a.py")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_digest_changes_with(folder, change):
    before = digest(folder)
    change(folder)
    assert digest(folder) != before


def test_a_digest_does_not_change_with_times_caches_and_who_may_read(folder):
    before = digest(folder)
    os.utime(folder / "a.py", (0, 0))
    (folder / "a.py").chmod(0o600)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.pyc").touch()
    os.mkfifo(folder / "pipe")
    assert digest(folder) == before


def test_a_file_alone(folder, tmp_path):
    (tmp_path / "other").write_text("a")
    (tmp_path / "link").symlink_to("src/a.py")
    assert digest(folder / "a.py") == digest(tmp_path / "other") == digest(tmp_path / "link")
    assert digest(folder / "a.py") != digest(folder / "sub" / "run.sh")


def test_an_archive_has_neither_times_nor_owners_and_all_may_read_it(folder):
    context = Context()
    place = context.place(str(folder))
    context.add("text", "tea")
    found = archive(context)
    assert sorted(name.removeprefix(f"{place}/") for name in found) == sorted(
        [place, "a.py", "link", "sub", "sub/run.sh", "text"]
    )
    assert {(member.mtime, member.uid, member.uname) for member in found.values()} == {(0, 0, "")}
    modes = {name: oct(member.mode) for name, member in found.items() if not member.issym()}
    assert modes[f"{place}/a.py"] == "0o644"
    assert modes[f"{place}/sub/run.sh"] == modes[f"{place}/sub"] == "0o755"
    assert found[f"{place}/link"].linkname == "a.py"


def test_a_place_says_what_is_there_and_holds_nothing_else(folder, tmp_path):
    context = Context()
    (tmp_path / "b.py").write_text("a")
    first, second = context.place(str(folder / "a.py")), context.place(str(tmp_path / "b.py"))
    assert Path(first).name == "a.py"
    assert Path(first).parent != Path(second).parent
    assert context.place(str(folder / "a.py")) == first


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(ImageBuildError, match=r"needs .*/nowhere, which is not there"):
        Context().place(str(tmp_path / "nowhere"))


IGNORE = "*.log\n!keep.log\n# no\n\n/build\nsub/*/x\n**/deep.txt\nlit[ab]\n"


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("a.log", False),
        ("sub/a.log", True),
        ("keep.log", True),
        ("build", False),
        ("build/sub/x", False),
        ("buildings", True),
        ("sub/a/x", False),
        ("sub/a/b/x", True),
        ("deep.txt", False),
        ("a/b/deep.txt", False),
        ("lita", False),
        ("litc", True),
        ("# no", True),
    ],
)
def test_a_dockerignore(path, kept):
    assert ignoring(IGNORE)(path) == kept


def test_what_is_ignored_neither_counts_nor_travels(folder):
    keep = ignoring("sub\n!sub/run.sh")
    context = Context()
    context.add(".", folder, keep)
    assert sorted(archive(context)) == ["./a.py", "./link", "./sub/run.sh"]
    before = digest(folder, keep)
    (folder / "sub" / "other").touch()
    assert digest(folder, keep) == before
