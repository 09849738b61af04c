"""A private PostgreSQL server for tests: a cluster in a folder of its own, on a Unix socket, gone afterwards.

PostgreSQL refuses to run as root; there the server is somebody else's (SAMOVAR_TEST_POSTGRES_USER, or the user that its
package has made).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

SECONDS = 60  # the bound of every step

_DEBIAN = Path("/usr/lib/postgresql")


def missing() -> str:
    """Why there can be no server here; "" if there can."""
    if _programs() is None:
        return "no PostgreSQL server on this machine (initdb is not found)"
    if os.getuid() == 0 and _user() is None:
        return "no user to run PostgreSQL as, since root may not"
    return ""


class Server:
    """``stop`` and ``start`` let it go away and come back."""

    def __init__(self, folder: Path) -> None:
        programs = _programs()
        assert programs is not None
        self._programs = programs
        self._folder = folder
        self._user = _user()
        self._databases = 0
        if self._user is not None:
            shutil.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "--auth=trust", "--encoding=UTF8", "--no-locale", "--username=samovar", "--no-sync")

    def start(self) -> None:
        options = (
            f"-c listen_addresses='' -c unix_socket_directories='{self._folder}' -c max_connections=40 -c fsync=off"
        )
        self._run("pg_ctl", "start", "--wait", f"--options={options}", f"--log={self._folder / 'log'}")

    def stop(self, mode: str = "immediate") -> None:
        """``immediate`` is what a crash is to those who are connected."""
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It is there, and does not answer, to anybody."""
        first = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        found = [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]
        for process in found:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in found:
                os.kill(process, signal.SIGCONT)

    def database(self) -> str:
        """The URL of a new database."""
        self._databases += 1
        name = f"journal{self._databases}"
        self._run("createdb", f"--host={self._folder}", "--username=samovar", name)
        return f"postgresql://samovar@/{name}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        user = {} if self._user is None else {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        done = subprocess.run(
            command,
            env={"PGDATA": str(self._folder / "data"), "PATH": os.environ["PATH"], "LC_ALL": "C"},
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,  # the server would hold a pipe open
            timeout=SECONDS,
            **user,
        )
        if done.returncode:
            log = self._folder / "log"
            said = (done.stderr or b"").decode() or (log.read_text()[-2000:] if log.exists() else "")
            raise AssertionError(f"{program} ended with {done.returncode}: {said}")


@contextlib.contextmanager
def running() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="samovar-pg-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _programs() -> Path | None:
    """Where initdb is: on PATH, or where Debian keeps it, the newest."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


def _user() -> pwd.struct_passwd | None:
    if os.getuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(os.environ.get("SAMOVAR_TEST_POSTGRES_USER", "postgres"))
    return None
