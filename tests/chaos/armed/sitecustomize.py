"""Kills its process at one step of the protocol. It is on PYTHONPATH of every replica of a chaos test, so Python
imports it before anything else; other processes call ``arm`` when they are forked.

``CHAOS`` names the point: who, what happens, of which frame, the how manieth, and when. ``CHAOS_MARK`` is a file that
the first who gets there makes and writes its process id to, so only one dies of it, and whoever comes after it lives.
"""

import os
import signal
import sys
import threading
import time


def _role() -> str:
    if "SAMOVAR_REPLICA" in os.environ:
        return "replica"
    return {"serve": "service", "attach": "watcher"}.get(sys.orig_argv[3], "client")


class _Point:
    def __init__(self, text: str, mark: str) -> None:
        self.role, self.act, self.frame, number, self.when = text.split(":")
        self.left = int(number)
        self.mark = mark
        self.claimed = False

    def meets(self, names: list[str]) -> bool:
        """Whether it is now, and nobody was here before."""
        if self.claimed or self.frame not in names:
            return False
        self.left -= names.count(self.frame)
        if self.left > 0:
            return False
        self.claimed = True
        try:
            fd = os.open(self.mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return False
        os.write(fd, str(os.getpid()).encode())
        os.close(fd)
        return True


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_soon() -> None:
    def wait() -> None:
        time.sleep(0.002)  # it has left by then, or it has not: both are to be survived
        _die()

    threading.Thread(target=wait, daemon=True).start()


def _arm_frames(point: _Point) -> None:
    from samovar.wire.session import Session

    send, receive = Session.send, Session.receive

    def sending(frames):
        hit = point.act == "send" and point.meets([type(frame).__name__ for frame in frames])
        if hit and point.when == "before":
            _die()
        data = send(frames)
        if hit:
            _die_soon()
        return data[: len(data) // 2] if hit and point.when == "half" else data

    def receiving(self, data):
        frames = receive(self, data)
        if point.act == "receive" and point.meets([type(frame).__name__ for frame in frames]):
            _die() if point.when == "before" else _die_soon()
        return frames

    Session.send = staticmethod(sending)
    Session.receive = receiving


def _arm_commits(point: _Point) -> None:
    from samovar.journal.sql.store import SqlStore

    commit = SqlStore.commit

    def committing(self, group, number):
        hit = point.meets(["RunEnded" if getattr(entry, "actions", 0) else type(entry).__name__ for entry in group])
        if hit and point.when == "before":
            _die()
        commit(self, group, number)
        if hit:
            _die()

    SqlStore.commit = committing


def arm() -> None:
    if os.environ.get("CHAOS"):
        point = _Point(os.environ["CHAOS"], os.environ["CHAOS_MARK"])
        if point.role == _role():
            _arm_commits(point) if point.act == "commit" else _arm_frames(point)


if "SAMOVAR_REPLICA" in os.environ:
    arm()
