"""The turn: one at a time, signals kept until it ends, and what is to follow it follows."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from samovar.engine.turn import Turn


class Signalled(BaseException):
    pass


def raise_it(_number: int, _frame: FrameType | None) -> None:
    raise Signalled


@pytest.fixture
def turn() -> Iterator[Turn]:
    before = signal.signal(signal.SIGHUP, raise_it)
    made = Turn()
    with made:
        assert signal.getsignal(signal.SIGHUP) is not raise_it
    yield made
    made.release_signals()
    assert signal.getsignal(signal.SIGHUP) is raise_it
    signal.signal(signal.SIGHUP, before)


def test_a_signal_waits_for_the_end_of_the_turn(turn: Turn) -> None:
    done = []

    def whole() -> None:
        with turn:
            turn.after.append(lambda: done.append("after"))
            os.kill(os.getpid(), signal.SIGHUP)
            done.append("whole")

    with pytest.raises(Signalled):
        whole()
    assert done == ["whole", "after"]


def test_outside_of_a_turn_a_signal_is_handled_at_once(turn: Turn) -> None:
    with pytest.raises(Signalled):
        os.kill(os.getpid(), signal.SIGHUP)


def test_a_turn_of_another_thread_keeps_no_signal(turn: Turn) -> None:
    inside, leave = threading.Event(), threading.Event()

    def elsewhere() -> None:
        with turn:
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert inside.wait(30)
    with pytest.raises(Signalled):
        os.kill(os.getpid(), signal.SIGHUP)
    leave.set()
    thread.join(30)


def test_a_handler_that_comes_later_is_kept_too(turn: Turn) -> None:
    heard = []
    signal.signal(signal.SIGHUP, lambda *_: heard.append("later"))
    with turn:
        os.kill(os.getpid(), signal.SIGHUP)
        assert heard == []
    assert heard == ["later"]
    signal.signal(signal.SIGHUP, raise_it)


def test_turns_that_alternate_stand_before_a_handler_once_each(turn: Turn) -> None:
    other = Turn()
    for _ in range(2000):
        for each in turn, other:
            with pytest.raises(Signalled), each:
                os.kill(os.getpid(), signal.SIGHUP)
    other.release_signals()


def test_of_two_signals_the_second_waits_for_the_next_turn_if_the_first_raises(turn: Turn) -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("second"))

    def both() -> None:
        with turn:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Signalled):
        both()
    assert heard == []
    with turn:
        pass
    assert heard == ["second"]
    signal.signal(signal.SIGTERM, before)


def test_it_is_told_before_anything_is_raised_outside_of_a_turn(turn: Turn) -> None:
    told = []
    turn.on_raise = lambda: told.append("told")
    with pytest.raises(Signalled):
        os.kill(os.getpid(), signal.SIGHUP)

    def whole() -> None:
        with turn:
            os.kill(os.getpid(), signal.SIGHUP)
            told.append("whole")

    with pytest.raises(Signalled):
        whole()
    assert told == ["told", "whole", "told"]


def test_ignored_signals_stay_ignored(turn: Turn) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with turn:
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    signal.signal(signal.SIGHUP, before)


def test_what_follows_a_turn_may_take_the_next(turn: Turn) -> None:
    done = []

    def follow() -> None:
        with turn:
            done.append("next")

    with turn:
        turn.after.append(follow)
    assert done == ["next"]
