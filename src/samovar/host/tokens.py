"""Tokens: who may come in from another host. Whoever has one can do what the service's user can.

A token is 256 random bits. The file, 0600 below the state folder, has digests of them, so nobody can read one there;
as the bits are random a plain SHA-256 is enough. ``samovar token`` writes the file, a running service looks whether it
has changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from samovar.endpoint import TOKEN_PREFIX
from samovar.errors import InitializationError

KEPT = 90 * 86400.0
"""Seconds for which a token that is not good any more stays in the list."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Token(msgspec.Struct, frozen=True):
    """Times are seconds since the epoch."""

    name: str
    digest: str  # SHA-256, in hex
    created: float
    expires: float | None = None
    revoked: float | None = None

    def why_not(self, now: float) -> str:
        """Why it lets nobody in; "": it does."""
        if self.revoked is not None:
            return f"the token {self.name!r} was revoked"
        if self.expires is not None and self.expires <= now:
            return f"the token {self.name!r} has expired"
        return ""

    def ended(self) -> float:
        """When it ceases to be good, as far as is known."""
        return min(self.revoked or float("inf"), self.expires or float("inf"))


class Tokens:
    """The tokens in the file ``path``. InitializationError, from every method: it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[Token]:
        try:
            with open(self._path, "rb") as file:
                found = os.fstat(file.fileno())
                if found.st_uid != os.getuid() or found.st_mode & 0o022:
                    raise _wrong(
                        f"{self._path}: others can write to it, so it is not believed; chmod 600, or remove it"
                    )
                return msgspec.json.decode(file.read(), type=list[Token])
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise _wrong(f"{self._path} cannot be read as tokens: {error}") from error

    def make(self, name: str, seconds: float | None) -> str:
        """A new token; this is the only time that it can be seen. ``seconds``: how long it is good, None: for ever."""
        if not _NAME.fullmatch(name):
            raise _wrong(f"{name!r} cannot name a token: letters, digits, '.', '_' and '-', at most 64 of them")
        now = time.time()
        token = TOKEN_PREFIX + secrets.token_urlsafe(32)
        with self._changing() as known:
            for other in known:
                if other.name == name and not other.why_not(now):
                    raise _wrong(f"there is a token named {name!r}; choose another name, or revoke it first")
            known[:] = [other for other in known if other.name != name]
            known.append(Token(name, digest_of(token), now, None if seconds is None else now + seconds))
        return token

    def revoke(self, name: str) -> bool:
        """False: there is none of this name that is good."""
        now = time.time()
        with self._changing() as known:
            for at, token in enumerate(known):
                if token.name == name and not token.why_not(now):
                    known[at] = msgspec.structs.replace(token, revoked=now)
                    return True
        return False

    def mark(self) -> tuple[int, ...]:
        """Another one when the file has changed."""
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode

    @contextlib.contextmanager
    def _changing(self) -> Iterator[list[Token]]:
        """The list, written when the block ends well; one process at a time."""
        try:
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                known = self.all()
                yield known
                now = time.time()
                self._write([token for token in known if token.ended() > now - KEPT])
            finally:
                os.close(folder)
        except OSError as error:
            raise _wrong(f"{self._path} cannot be written: {error}") from error

    def _write(self, tokens: list[Token]) -> None:
        fd, draft = tempfile.mkstemp(prefix=".tokens-", dir=self._path.parent)  # 0600
        try:
            with open(fd, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(tokens)))
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self._path)
        except BaseException:
            os.unlink(draft)
            raise


class Watch:
    """What a running service knows of its tokens. A file that cannot be read lets nobody in."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._known: list[Token] = []
        self._mark: tuple[int, ...] = ()

    def look(self) -> None:
        """See what has changed. InitializationError, once for each change: the file cannot be read."""
        mark = self._tokens.mark()
        if mark != self._mark:
            self._mark = mark
            self._known = []
            self._known = self._tokens.all()

    def find(self, digest: str) -> Token | None:
        found = None
        for token in self._known:
            if hmac.compare_digest(token.digest, digest):  # all are compared: the time tells nothing
                found = token
        return found

    def why_not(self, digest: str) -> str:
        """Why whoever has shown a token of this digest may not be here; "": it may."""
        token = self.find(digest)
        return token.why_not(time.time()) if token is not None else "the token is not known here"


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _wrong(message: str) -> InitializationError:
    return InitializationError("InitializationError", message)
