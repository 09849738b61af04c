"""The session: any chunking gives the same frames, and garbage gives nothing but ProtocolError."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.errors import ProtocolError
from samovar.model import (
    Bundle,
    Environment,
    Failure,
    Phase,
    PoolSettings,
    PoolStats,
    ReplicaStats,
    TaskSpec,
    Underway,
)
from samovar.wire import frames, session
from samovar.wire.session import Session, client_session, engine_session, replica_session

FAILURE = Failure("user", "ValueError", "no", "trace", False, "p-1", b"pickled")
FROM_REPLICA = [
    frames.Hello(1, "p-1", "token", 7),
    frames.Ready(0.5),
    frames.Unfit(FAILURE),
    frames.Declare(1, TaskSpec("e.f", "m", "f", Environment("e", bundle=Bundle("a.py")))),
    frames.Submit(1, 2, 3, b"body", ("blob",), "group"),
    frames.Withdraw(1),
    frames.Done(1, b"body", ("a", "b")),
    frames.Failed(1, FAILURE),
    frames.Log(0, "stdout", "text\n"),
    frames.Beat(1 << 30, 0.5),
]
FROM_ENGINE = [
    frames.Welcome(Bundle("a.py"), "/folder"),
    frames.Refuse("no"),
    frames.Run(1, "e.f", "m", "f", "r1", 1, 1, b"body", (), 10, {"a": "b"}),
    frames.Cancel(1),
    frames.Answer(1, b"body", (), None),
    frames.Answer(1, failure=FAILURE),
    frames.SlowDown(1, 0.5, frames.Submit(1, 2, 3, b"body", ("blob",), "group")),
]

POOL = PoolStats("p", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, "note", "awake", PoolSettings(1, 2))
REPLICA = ReplicaStats("p-1", "p", "ready", 1, 2, 3, 4, 5.0, 6.0, (7,), ("e.f r1-1",), 8, 9, 0.5)
UNDERWAY = Underway(1, "r1", "root", "", "e.f", Phase.RUNNING, "p", 1, 2.0, None, "p-1", True)
FROM_CLIENT = [
    frames.Join(1, 7),
    frames.Start(1, 2, "r1", b"body", ("blob",), {"a": "b"}),
    frames.Attach(1, "r1"),
    frames.Abort(1, "why"),
    frames.AbortRun(1, "r1", "why", 3),
    frames.Ask(1, replicas=True),
    frames.AskActions(1, "r1", "e.f", "root", "running", "p", "p-1", 9, 10),
    frames.Find(1, b"query"),
    frames.Control(1, "p", "scale", 1, 2),
    frames.Shutdown(1.0),
    frames.Offer(1, "digest", "host:/project"),
    frames.Parcel(2, "digest", (frames.Piece("a.py", b"data"), frames.Piece("b", b"", True)), True),
]
TO_CLIENT = [
    frames.Joined(1, "/blobs", "process", 2.0),
    frames.Refuse("no"),
    frames.Running(1),
    frames.Ended(1, Phase.FAILED, b"body", ("blob",), FAILURE),
    frames.Attached(1, "e.f", True, "why"),
    frames.Ending(),
    frames.Aborting(1, True),
    frames.Line("e.f r1-1", "stdout", "text"),
    frames.Note("text"),
    frames.Standing(1, (POOL,), (REPLICA,)),
    frames.Actions(1, (UNDERWAY,), 9),
    frames.Found(1, b"page", "problem"),
    frames.Controlled(1, "p", "problem"),
    frames.Kept(1, True),
    frames.Kept(2, False, "no room"),
]


def test_every_frame_survives_the_wire() -> None:
    assert engine_session().receive(Session.send(FROM_CLIENT)) == FROM_CLIENT
    assert client_session().receive(Session.send(TO_CLIENT)) == TO_CLIENT
    assert engine_session().receive(Session.send(FROM_REPLICA)) == FROM_REPLICA
    assert replica_session().receive(Session.send(FROM_ENGINE)) == FROM_ENGINE
    assert engine_session().receive(Session.send(FROM_CLIENT)) == FROM_CLIENT
    assert client_session().receive(Session.send(TO_CLIENT)) == TO_CLIENT


@given(st.lists(st.integers(1, 400), max_size=30), st.integers(1, 5))
def test_any_chunking_gives_the_same_frames(cuts: list[int], batches: int) -> None:
    data = Session.send(FROM_REPLICA) * batches
    end, got = engine_session(), []
    for cut in cuts:
        got += end.receive(data[:cut])
        data = data[cut:]
    got += end.receive(data)
    assert got == FROM_REPLICA * batches


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_garbage_raises_protocol_errors_only(chunks: list[bytes]) -> None:
    end = engine_session()
    for chunk in chunks:
        try:
            end.receive(chunk)
        except ProtocolError:
            with pytest.raises(ProtocolError, match="failed before"):
                end.receive(b"")
            return


@given(st.binary(max_size=300), st.booleans())
def test_garbage_in_a_whole_batch(body: bytes, split: bool) -> None:
    data = len(body).to_bytes(4, "big") + body
    end = replica_session()
    with contextlib.suppress(ProtocolError):
        for part in (data[:3], data[3:]) if split else (data,):
            end.receive(part)


@given(st.integers(0, 5000), st.integers(0, 255))
def test_one_flipped_byte(at: int, byte: int) -> None:
    data = bytearray(Session.send(FROM_REPLICA))
    data[at % len(data)] = byte
    with contextlib.suppress(ProtocolError):
        engine_session().receive(bytes(data))


@pytest.mark.parametrize("before", [b"", b"\x91\x93\xa4done\x01", b"\x91\x96\xa4done\x01\xc4\x00\x90"])
@pytest.mark.parametrize("nest", [b"\x91", b"\x81\x01"])
def test_a_deep_nest_is_refused(before: bytes, nest: bytes) -> None:
    """As a batch, in a field, and in a field that nobody knows."""
    body = before + nest * 100_000 + b"\xc0"
    with pytest.raises(ProtocolError):
        engine_session().receive(len(body).to_bytes(4, "big") + body)


def test_a_batch_that_announces_more_frames_than_it_has_is_refused() -> None:
    body = b"\xdd\xff\xff\xff\xff\xc0"
    with pytest.raises(ProtocolError, match="does not decode"):
        engine_session().receive(len(body).to_bytes(4, "big") + body)


def test_an_absurd_length_is_refused_at_its_header() -> None:
    with pytest.raises(ProtocolError, match="announced"):
        engine_session().receive(b"\xff\xff\xff\xff")


def test_an_unfinished_batch_is_all_that_is_kept() -> None:
    end = engine_session()
    data = Session.send(FROM_REPLICA)
    for _ in range(100):
        end.receive(data[:10])
        assert end.receive(data[10:]) == FROM_REPLICA
    assert len(end._buffer) == 0


def test_many_frames_leave_in_several_batches() -> None:
    many = [frames.Withdraw(i) for i in range(session.BATCH_FRAMES * 3)]
    data = Session.send(many)
    assert int.from_bytes(data[:4], "big") < len(data) - 4
    assert engine_session().receive(data) == many


def test_batches_stay_below_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_BATCH", 1000)
    some = [frames.Done(i, b"x" * 600) for i in range(3)]
    assert engine_session().receive(Session.send(some)) == some
    with pytest.raises(ProtocolError, match="too large"):
        Session.send([frames.Done(1, b"x" * 2000)])


def test_frames_of_the_other_direction_are_refused() -> None:
    with pytest.raises(ProtocolError):
        engine_session().receive(Session.send([frames.Cancel(1)]))


def test_a_refusal_names_both_versions() -> None:
    said = frames.other_version(frames.VERSION + 1)
    assert f"protocol {frames.VERSION + 1} is spoken" in said
    assert f"speaks {frames.VERSION}" in said


def test_structs_are_arrays_on_the_wire() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(frames.Cancel(7))) == ["cancel", 7]
