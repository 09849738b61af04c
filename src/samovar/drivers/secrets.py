"""Where the values of secrets come from: the engine's environment variables, or files below a folder of the user.

Called by every driver as it starts a replica. A value is read anew each time and kept nowhere; the ``SecretSpec``
that travels and is part of a version names it and never holds it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from samovar import config
from samovar.errors import ReplicaStartError
from samovar.model import Environment, SecretSpec


def as_variables(environment: Environment) -> dict[str, str]:
    """The secrets that are environment variables. ReplicaStartError: one is not there, or is no text."""
    found: dict[str, str] = {}
    for secret in environment.secrets:
        if not secret.mount:
            found[secret.variable] = _text(secret, _read(secret, environment), environment)
    return found


def as_files(environment: Environment) -> list[tuple[SecretSpec, bytes]]:
    """The secrets that are files, byte for byte. ReplicaStartError: one is not there."""
    return [(secret, _read(secret, environment)) for secret in environment.secrets if secret.mount]


def write_files(environment: Environment, root: Path) -> dict[str, str]:
    """Write the file secrets to where they would be if ``root`` were "/"; the variables that say where that is.

    For replicas that see the host's own files: only a container can have a file of its own at the mount itself.
    """
    variables: dict[str, str] = {}
    for secret, value in as_files(environment):
        file = root / secret.path.lstrip("/")
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.write_bytes(value)
            file.chmod(0o400)
        except OSError as error:
            message = f"{_need(secret, environment)} as a file, but it cannot be written: {error}"
            raise ReplicaStartError(message) from error
        variables[secret.variable] = str(file)
    return variables


def folder() -> Path:
    """The folder below which a file "key" or "group/key" is a secret."""
    if given := os.environ.get("SAMOVAR_SECRETS_DIR"):
        return Path(given)
    return config.folder() / "secrets"


def _read(secret: SecretSpec, environment: Environment) -> bytes:
    names = _variables_for(secret.key)
    for name in names:
        if name in os.environ:
            return os.environb[os.fsencode(name)]
    file = folder() / secret.key
    if _is_below(secret.key):
        try:
            return file.read_bytes()
        except FileNotFoundError:
            pass
        except OSError as error:
            message = f"{_need(secret, environment)}, but {file} cannot be read: {error.strerror}"
            raise ReplicaStartError(message) from error
    raise ReplicaStartError(
        f"{_need(secret, environment)}, but the engine does not have it; where the engine runs, "
        f"set the environment variable {' or '.join(names)}, or write it to the file {file}"
    )


def _variables_for(key: str) -> list[str]:
    """The names under which the engine's environment may have it: as it is, and as a shell would write it."""
    return list(dict.fromkeys((key, re.sub(r"\W", "_", key).upper())))


def _is_below(key: str) -> bool:
    """False for a key that would lead out of the folder."""
    path = PurePosixPath(key)
    return not path.is_absolute() and ".." not in path.parts


def _text(secret: SecretSpec, value: bytes, environment: Environment) -> str:
    """Without the newline that editors put at the end of a file."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ReplicaStartError(
            f"{_need(secret, environment)} as an environment variable, but it is no text; "
            f"give Secret({secret.key!r}) a mount, so that it becomes a file"
        )
    return text.removesuffix("\n").removesuffix("\r")


def _need(secret: SecretSpec, environment: Environment) -> str:
    return f"environment {environment.name!r} needs the secret {secret.key!r} (as {secret.variable})"
