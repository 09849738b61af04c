"""What a container engine is asked for, for one replica: as little as it needs, bounded, and labelled.

Called by the container driver; nothing here talks to anybody. Whatever an image or an environment says, a replica is
no root user, has no capability and can gain none, writes to bounded tmpfs alone and sees the user's code read-only.
"""

from __future__ import annotations

import contextlib
import glob
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from samovar.drivers import private
from samovar.errors import ReplicaStartError
from samovar.images.containerfile import HOME, TEMPORARY
from samovar.model import Bundle, Environment, Limits

ENGINE = "samovar.engine"
REPLICA = "samovar.replica"
ENVIRONMENT = "samovar.environment"
HOST = "samovar.host"  # where the lock is
LOCK = "samovar.lock"  # a file that is locked as long as the engine of this container lives
FOLDER = (
    "samovar.folder"  # in place of a lock: it is there as long as this container may be wanted, with or without one
)

CODE = "/opt/samovar-code"
"""Where a container has what a service has unpacked: the path of that may lead through a home that is closed there."""
SOCKETS = "/opt/samovar-engine"
"""Where it has the folder with the engine's socket, for the same reason."""
PIDS = 512
"""Processes and threads of a replica whose environment names no bound."""
TMP_BYTES = 1 << 30
"""What can be written to /tmp where the environment names no disk; it counts as memory of the replica."""
HOME_BYTES = 256 << 20
"""What can be written to the home directory, and to /var/tmp."""

_UNPRIVILEGED = 64198  # a user that no distribution gives out, where the engine's own is root
_TMPFS = "rw,exec,nosuid,nodev,mode=1777"  # exec: compiled caches are loaded from there
_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/sbin", "/sys")
_OWN = {
    *("/", "/home", HOME, "/opt", "/opt/samovar", "/opt/venv", "/run", "/tmp", "/usr", "/usr/bin", "/usr/lib"),
    *("/usr/local", "/usr/local/bin", "/usr/local/lib", "/var", "/var/tmp"),
}


@dataclass(frozen=True)
class User:
    """Who a replica is in its container, and whose container it is."""

    kind: str  # of the container engine: "podman" | "docker"
    ids: tuple[int, int]  # user, group
    shares_by_group: bool = False  # it is another one than the engine, which lets it reach things through its group
    user_namespace: str = ""

    @classmethod
    def for_engine(cls, kind: str, rootless: bool) -> User:
        """The engine's own user; somebody without rights where that is root."""
        own = (os.getuid(), os.getgid())
        if own[0] == 0:
            return cls(kind, (_UNPRIVILEGED, _UNPRIVILEGED), shares_by_group=True)
        if rootless and kind == "podman":
            return cls(kind, own, user_namespace="keep-id")
        return cls(kind, (0, 0) if rootless else own)  # rootless Docker has one user of ours: the one it calls root

    @property
    def owner(self) -> tuple[int, int] | None:
        """To whom files are given; None: they are ours, and so are its."""
        return self.ids if self.shares_by_group else None

    def can_read(self, path: str) -> bool:
        """Whether it can read this file, or enter this folder."""
        wanted = 0o5 if os.path.isdir(path) else 0o4
        return not self.shares_by_group or os.stat(path).st_mode & wanted == wanted

    def share(self, folder: str, writable: bool) -> None:
        """Let it enter this folder, read the files and use the sockets in it; ``writable``: make files as well.

        What is made in the folder from then on has its group; what others made before is given to it here.
        """
        if not self.shares_by_group:
            return
        group = self.ids[1]
        os.chown(folder, -1, group)
        os.chmod(folder, 0o2770 if writable else 0o750)
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):  # a blob may go at any time
                if entry.stat(follow_symlinks=False).st_gid != group:
                    os.chown(entry.path, -1, group, follow_symlinks=False)
                    if Path(entry.path).is_socket():
                        os.chmod(entry.path, 0o660)


@dataclass(frozen=True)
class Image:
    """What a container starts from."""

    id: str
    python: str  # path of the interpreter in it


@dataclass(frozen=True)
class Shared:
    """Folders of the engine that replicas reach."""

    folder: str = ""  # with the engine's socket; read-only, at SOCKETS
    blobs: str = ""  # at the same path

    def reached(self, boot: Mapping[str, str]) -> dict[str, str]:
        """The variables of a replica's start, with the engine's socket where a container has it."""
        address = boot.get("SAMOVAR_ENGINE", "")
        if not self.folder or os.path.dirname(address) != self.folder:
            return dict(boot)
        return {**boot, "SAMOVAR_ENGINE": f"{SOCKETS}/{os.path.basename(address)}"}


class File(NamedTuple):
    """What a replica is given of its own."""

    here: str
    there: str  # in the container
    writable: bool = False


def labels(replica: str, environment: Environment, engine: str) -> dict[str, str]:
    """By these a replica is found; a lock or a folder, which tells whether it is wanted, is the driver's to add."""
    return {
        ENGINE: engine,
        REPLICA: replica,
        ENVIRONMENT: environment.name,
        HOST: socket.gethostname(),
    }


def is_orphan(labels: Mapping[str, str]) -> bool:
    """Whether the container that is labelled so was left behind on this machine, and nobody will come for it."""
    if labels.get(HOST) != socket.gethostname():
        return False
    if FOLDER in labels:
        try:
            os.stat(labels[FOLDER])
        except FileNotFoundError:
            return True
        except OSError:  # somebody else's
            return False
        return False
    return not private.is_in_use(Path(labels.get(LOCK, "/")))


def config(environment: Environment, image: Image, user: User, shared: Shared, files: list[File]) -> dict[str, Any]:
    """All but the labels and the command."""
    limits = environment.limits
    mounts = [_bind(file.here, file.there, not file.writable) for file in files]
    mounts += [_bind(path, path, True) for path in code(environment.bundle)]
    mounts += [_bind(path, SOCKETS, True) for path in filter(None, [shared.folder])]
    mounts += [_bind(path, path, False) for path in filter(None, [shared.blobs])]
    mounts += [_bind(path, CODE, True) for path in filter(None, [environment.bundle.folder])]
    host: dict[str, Any] = {
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "LogConfig": {"Type": "none"},  # output goes to the driver alone, so nothing that it shows lies on a disk
        "Mounts": mounts,
        "Tmpfs": {
            **dict.fromkeys(TEMPORARY, f"{_TMPFS},size={HOME_BYTES}"),
            "/tmp": f"{_TMPFS},size={limits.disk or TMP_BYTES}",
        },
        **_bounds(limits, user.kind),
    }
    if environment.network:
        host["NetworkMode"] = environment.network
    if user.user_namespace:
        host["UsernsMode"] = user.user_namespace
    place = {"SAMOVAR_CODE": CODE} if environment.bundle.folder else {}
    variables = {"HOME": HOME, **place, **dict(environment.image.env_vars), **dict(environment.env_vars)}
    asked: dict[str, Any] = {
        "Image": image.id,
        "User": "{}:{}".format(*user.ids),
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "HostConfig": host,
    }
    if not any(step.kind == "workdir" for step in environment.image.steps):
        asked["WorkingDir"] = _directory(environment.bundle)
    return asked


def check(environment: Environment, user: User) -> None:
    """ReplicaStartError: what a container engine would not refuse, and a replica could not live with."""
    asked = environment.limits.gpu
    here = len(glob.glob("/dev/nvidia[0-9]*"))
    if asked and here < _gpus(asked):
        has = f"has {here}" if here else "has none that containers can use (no /dev/nvidia0)"
        raise ReplicaStartError(
            f"environment {environment.name!r} asks for gpu {asked!r}, but this machine {has}; "
            "ask for less with Resources(gpu=…), or run where there are more"
        )
    for path in code(environment.bundle):
        if not user.can_read(path):
            raise ReplicaStartError(
                f"environment {environment.name!r}: its replicas cannot read {path}: samovar runs as root and "
                f"they as user {user.ids[0]}; allow it (chmod -R o+rX {path}), or run samovar as an ordinary user"
            )


def code(bundle: Bundle) -> list[str]:
    """The folders, and the script, that the user's code is in: each once, none below another. Not what was unpacked.

    A folder that containers have themselves, such as /tmp, is left out; of a script in one only its file is there.
    """
    main = bundle.main
    wanted = [*bundle.sys_path, bundle.cwd, os.path.dirname(main)]
    if bundle.folder:
        main = ""  # a service runs what was unpacked, or else what lies where it is
        wanted = [path for path in wanted if path != bundle.folder and not path.startswith(f"{bundle.folder}/")]
    found = {os.path.normpath(path) for path in wanted if os.path.isabs(path) and os.path.exists(path)}
    kept = {path for path in found if not _is_of_container(path)}
    if main and os.path.exists(main):
        kept.add(os.path.normpath(main))
    return sorted(path for path in kept if not any(str(above) in kept for above in Path(path).parents))


def _is_of_container(path: str) -> bool:
    return path in _OWN or any(path == one or path.startswith(f"{one}/") for one in _SYSTEM)


def _directory(bundle: Bundle) -> str:
    """Where it starts: where the user did, if that is there, or where the code was unpacked."""
    there = code(bundle)
    cwd = os.path.normpath(bundle.cwd) if bundle.cwd else ""
    if any(path in there for path in (cwd, *map(str, Path(cwd).parents))):
        return cwd
    return CODE if bundle.folder else HOME


def _bounds(limits: Limits, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {"PidsLimit": limits.pids or PIDS}
    if limits.memory is not None:
        found |= {"Memory": limits.memory, "MemorySwap": limits.memory}  # memory and swap together: no swap
    if limits.cpu is not None:
        found["NanoCpus"] = int(min(limits.cpu, os.cpu_count() or 1) * 1e9)  # Docker refuses more than there are
    if limits.shm is not None:
        found["ShmSize"] = limits.shm
    if limits.gpu:
        found["DeviceRequests"] = [_gpu_request(_gpus(limits.gpu), kind)]
    return found


def _gpu_request(count: int, kind: str) -> dict[str, Any]:
    """Docker chooses by itself, Podman is told names of the Container Device Interface."""
    if kind == "podman":
        return {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={number}" for number in range(count)]}
    return {"Count": count, "Capabilities": [["gpu"]]}


def _gpus(asked: str) -> int:
    """Of "2" or "T4:2"."""
    return int(asked.rpartition(":")[2])


def _bind(here: str, there: str, read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": here, "Target": there, "ReadOnly": read_only}
