"""The register: which replicas there are, and of which environment, on disk while they live.

Kept by the keeper of a service, so that the next engine knows whom to expect when this one is killed. One file a
replica, written before it is started. It belongs on a file system that ends with the machine, as replicas do.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from urllib.parse import quote, unquote

from samovar.light import msgspec
from samovar.model import Environment

_UNFINISHED = "%"  # no quoted name ends with it


class Register:
    """``folder`` is made where it is not there."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def enter(self, replica: str, environment: Environment) -> None:
        path = self._path(replica)
        new = f"{path}{_UNFINISHED}"
        with open(new, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(msgspec.msgpack.encode(environment))
        os.replace(new, path)

    def strike(self, replica: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(replica))

    def read(self) -> dict[str, Environment]:
        """The replicas that an engine before this one has not seen the end of."""
        found = {}
        for path in list(self._folder.iterdir()):
            try:
                environment = msgspec.msgpack.decode(path.read_bytes(), type=Environment)
            except msgspec.DecodeError:  # of another version of samovar
                environment = None
            if environment is None or path.name.endswith(_UNFINISHED):  # written before anything was started
                path.unlink()
            else:
                found[unquote(path.name)] = environment
        return found

    def _path(self, replica: str) -> Path:
        return self._folder / quote(replica, safe="")
