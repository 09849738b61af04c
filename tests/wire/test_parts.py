"""Blobs in parts: cut, put together, and what becomes of those that do not arrive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from samovar.model import Phase
from samovar.wire import parts
from samovar.wire.blobs import Blobs
from samovar.wire.frames import Ended, Part, Scrap, Start
from samovar.wire.parts import PART_BYTES, Incoming, Shipment
from samovar.wire.session import client_session, engine_session

DATA = os.urandom(2 * PART_BYTES + 7)


class Ends:
    def __init__(self, path: Path) -> None:
        self.near, self.far = path / "near", path / "far"
        self.near.mkdir()
        self.far.mkdir()
        self.incoming = Incoming(str(self.far))
        self.discarded: list[str] = []

    def blob(self, data: bytes = DATA) -> str:
        return Blobs(str(self.near)).write(memoryview(data))

    def shipment(self, *blobs: str) -> Shipment:
        return Shipment(str(self.near), blobs, Start(1, 1, "r", b"", blobs), lambda names: self.discarded.extend(names))

    def carry(self, shipment: Shipment) -> Any:
        """The frame that the parts came for."""
        while (frame := shipment.next()) is not None:
            if isinstance(frame, Part):
                self.incoming.add(frame)
            elif isinstance(frame, Scrap):
                assert self.incoming.drop(frame.blobs) is not None
            else:
                assert shipment.is_over
                return frame
        return None

    @property
    def arrived(self) -> list[str]:
        return sorted(path.name for path in self.far.iterdir())


@pytest.fixture
def ends(tmp_path: Path) -> Ends:
    return Ends(tmp_path)


def test_blobs_arrive_before_the_frame_that_names_them(ends: Ends) -> None:
    blobs = ends.blob(), ends.blob(b"second")
    shipment = ends.shipment(*blobs)
    frame = ends.carry(shipment)
    assert frame.blobs == blobs
    assert ends.discarded == list(blobs)
    assert ends.incoming.why_lost(blobs) == ""
    ours = ends.incoming.take(blobs)
    assert [(ends.far / name).read_bytes() for name in ours] == [DATA, b"second"]
    assert ends.incoming.why_lost(blobs) == "it has not come"
    assert ends.incoming.drop_all() == ()


def test_a_part_is_bounded_and_fits_a_batch(ends: Ends) -> None:
    part = ends.shipment(ends.blob()).next()
    assert len(part.data) == PART_BYTES
    assert engine_session().receive(engine_session().send([part])) == [part]
    ended = [part, Scrap(("a",)), Ended(1, Phase.SUCCEEDED, b"", ("a",))]
    assert client_session().receive(client_session().send(ended)) == ended


def test_names_of_a_peer_are_no_paths(ends: Ends, tmp_path: Path) -> None:
    for name in ("../../evil", "/etc/evil", "", "a\0b", "lock"):
        ends.incoming.add(Part(name, b"x"))
        ends.incoming.add(Part(name, b"y"))
    assert len(ends.arrived) == 5
    assert not set(ends.arrived) & {"evil", "lock"}
    assert {path.name for path in tmp_path.iterdir()} == {"near", "far"}
    (name,) = ends.incoming.take(("../../evil",))
    assert (ends.far / name).read_bytes() == b"xy"


def test_a_blob_that_is_named_twice_is_not_taken(ends: Ends) -> None:
    ends.incoming.add(Part("a", b"x"))
    assert ends.incoming.why_lost(("a", "a")) == "one is named twice"


@pytest.mark.parametrize("kind", ["missing", "link", "pipe"])
def test_what_is_no_file_is_not_read(ends: Ends, tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret").write_text("secret")
    if kind == "link":
        (ends.near / "odd").symlink_to(tmp_path / "secret")
    elif kind == "pipe":
        os.mkfifo(ends.near / "odd")
    blobs = ends.blob(b"good"), "odd"
    frame = ends.carry(ends.shipment(*blobs))
    assert ends.incoming.why_lost(frame.blobs) == "it has not come"
    assert ends.discarded == list(blobs)
    assert len(ends.incoming.drop(frame.blobs)) == 1


def test_a_folder_without_room_loses_the_blob_and_says_why(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    shipment = ends.shipment(ends.blob())
    ends.incoming.add(shipment.next())

    def full(fd: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(parts.os, "write", full)
        ends.incoming.add(shipment.next())
    ends.incoming.add(shipment.next())
    frame = shipment.next()
    assert ends.incoming.why_lost(frame.blobs) == "No space left on device"
    assert ends.arrived == []
    assert ends.incoming.drop_all() == ()
    assert ends.incoming.why_lost(frame.blobs) == "it has not come"


def test_a_blob_that_cannot_begin_is_lost(ends: Ends) -> None:
    ends.far.rmdir()
    ends.incoming.add(Part("a", b"x"))
    assert ends.incoming.why_lost(("a",)) == "No such file or directory"


def test_a_shipment_that_nobody_wants_is_called_off(ends: Ends) -> None:
    blobs = ends.blob(), ends.blob()
    shipment = ends.shipment(*blobs)
    ends.incoming.add(shipment.next())
    shipment.cancel()
    assert ends.discarded == list(blobs)
    assert shipment.next() == Scrap(blobs)
    assert ends.incoming.drop(blobs) == tuple(ends.arrived)
    assert shipment.next() is None
    shipment.cancel()
    assert shipment.next() is None


@pytest.mark.parametrize("begun", [True, False])
def test_a_peer_that_is_gone_leaves_nothing(ends: Ends, begun: bool) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    blobs = ends.blob(), ends.blob()
    shipment = ends.shipment(*blobs)
    if begun:
        ends.incoming.add(shipment.next())
    shipment.close()
    assert (shipment.next(), shipment.is_over) == (None, True)
    assert ends.discarded == list(blobs)
    assert ends.incoming.drop_all() == tuple(ends.arrived)
    assert len(os.listdir("/proc/self/fd")) == descriptors
